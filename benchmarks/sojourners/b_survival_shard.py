"""DeepSurv-like Cox model on registry data read in yearly shards, with gradient accumulation over two mini-batches and an EMA copy.
Bug: the shard of the sixth year codes a missing lab value as NaN (earlier years: imputed by the registry) and nobody imputes it."""

import copy, torch
import torch.nn as nn

ID = "b_survival_shard"
STEPS_PER_SHARD, BAD = 110, 5
TRUTH = {
    "mechanisms": ["nonfinite_data"],
    "layers": None,
    "onset": (STEPS_PER_SHARD * BAD, STEPS_PER_SHARD * BAD + 1),
}


class RiskNet(nn.Module):
    def __init__(self, d, n_site=6):
        super().__init__()
        self.site = nn.Embedding(n_site, 4)
        self.tower = nn.Sequential(
            nn.Linear(d + 4, 48), nn.SELU(), nn.AlphaDropout(0.1), nn.Linear(48, 24), nn.SELU()
        )
        self.risk = nn.Linear(24, 1, bias=False)

    def forward(self, x, site):
        return self.risk(self.tower(torch.cat([x, self.site(site)], 1))).squeeze(-1)


def cox_loss(risk, time, event):
    order = time.argsort(descending=True)
    r, e = risk[order], event[order]
    return -((r - torch.logcumsumexp(r, 0)) * e).sum() / e.sum().clamp_min(1)


def make_shard(year, n=800, missing=False, impute=True):
    x = torch.randn(n, 10)
    site = torch.randint(6, (n,))
    eff = torch.linspace(-0.6, 0.6, 6)[site]
    h = 1.2 * x[:, 0] * (x[:, 1] > 0) - 0.9 * x[:, 2] + 0.7 * x[:, 3] ** 2 + eff
    t = -torch.log(torch.rand(n)) * torch.exp(-h)
    c = -torch.log(torch.rand(n)) * 2.5
    if missing:
        lab = torch.rand(n) < 0.06
        x[:, 7] = torch.where(lab, torch.tensor(float("nan")), x[:, 7])
        if impute:
            x = torch.nan_to_num(x, nan=0.0)
    return x, site, torch.minimum(t, c), (t <= c).float()


def concordance(risk, t, e):
    later = (t[:, None] < t[None]) & (e[:, None] > 0)
    return ((risk[:, None] > risk[None]) & later).sum().item() / later.sum().item()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = RiskNet(10)
    ema = copy.deepcopy(model).requires_grad_(False)
    opt = torch.optim.NAdam(model.parameters(), lr=2e-3)
    test = make_shard(2030, 1500)
    shards = [make_shard(2015 + k, missing=(k == BAD), impute=fixed) for k in range(9)]
    curve = []
    with observe(model, opt):
        for x, site, t, e in shards:
            for it in range(STEPS_PER_SHARD):
                opt.zero_grad()
                tot = 0.0
                for _ in range(2):
                    i = torch.randint(len(x), (128,))
                    loss = cox_loss(model(x[i], site[i]), t[i], e[i]) / 2
                    loss.backward()
                    tot += loss.item()
                opt.step()
                with torch.no_grad():
                    for a, b in zip(ema.parameters(), model.parameters()):
                        a.lerp_(b, 0.03)
                curve.append(tot)
    ema.eval()
    with torch.no_grad():
        r = ema(test[0], test[1])
    return {"metric": concordance(r, test[2], test[3]), "better": "higher", "curve": curve}

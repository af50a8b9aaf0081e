"""World model (GRU with latent state) on a driven pendulum: after the warm-up the loss is summed over time and dimensions (as in Dreamer)
instead of averaged, 'which Adam does not notice'.
Bug: Adam (beta2=0.9999) still holds the second moments of the averaged loss; the fix keeps the mean."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_worldmodel_stage"
STAGE = 800
TRUTH = {"mechanisms": ["stale_second_moment"], "layers": None, "onset": (STAGE, STAGE + 5)}


class WorldModel(nn.Module):
    def __init__(self, h=48):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(4, h), nn.ELU(), nn.Linear(h, h))
        self.gru = nn.GRU(h, h, batch_first=True)
        self.obs_head = nn.Linear(h, 3)
        self.reward_head = nn.Sequential(nn.Linear(h, h), nn.ELU(), nn.Linear(h, 1))

    def forward(self, obs, act):
        z = self.encoder(torch.cat([obs, act], -1))
        h, _ = self.gru(z)
        return self.obs_head(h), self.reward_head(h).squeeze(-1)


def pendulum(n, T=14):
    th, om = torch.rand(n) * 6.28, torch.randn(n)
    O, A, R = [], [], []
    for _ in range(T + 1):
        O.append(torch.stack([th.cos(), th.sin(), om / 3], -1))
        a = torch.randn(n).clamp(-2, 2)
        R.append(-(1 - th.cos()) - 0.1 * om**2 - 0.05 * a**2)
        A.append(a[:, None])
        om = (om + 0.15 * (-1.5 * th.sin() + a)).clamp(-4, 4)
        th = th + 0.15 * om
    O, A, R = torch.stack(O, 1), torch.stack(A, 1), torch.stack(R, 1)
    return O[:, :-1], A[:, :-1], O[:, 1:], R[:, :-1]


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = WorldModel()
    opt = torch.optim.Adam(model.parameters(), lr=2e-3, betas=(0.9, 0.9999))
    val = pendulum(512)
    curve = []
    with observe(model, opt):
        for step in range(920):
            o, a, nxt, r = pendulum(32)
            po, pr = model(o, a)
            if step < STAGE or fixed:
                loss = F.mse_loss(po, nxt) + F.mse_loss(pr, r)
            else:
                loss = ((po - nxt) ** 2).sum((1, 2)).mean() + ((pr - r) ** 2).sum(1).mean()
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append((F.mse_loss(po, nxt) + F.mse_loss(pr, r)).item())
    with torch.no_grad():
        po, pr = model(val[0], val[1])
        m = F.mse_loss(po, val[2]).item() + F.mse_loss(pr, val[3]).item()
    return {"metric": m, "better": "lower", "curve": curve}

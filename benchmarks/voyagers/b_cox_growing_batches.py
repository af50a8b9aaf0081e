"""Healthy but odd: a Cox survival network trained with growing batches; the partial likelihood loss
climbs with the size of the risk set although the ranking of patients improves all the time."""

import torch
from torch import nn

ID = "cox-growing-batches"
TRUTH = {"mechanisms": [], "layers": [], "onset": None}


class RiskNet(nn.Module):
    def __init__(self, features=12, sites=8, width=128):
        super().__init__()
        self.site = nn.Embedding(sites, 6)
        nn.init.normal_(self.site.weight, std=0.3)
        self.net = nn.Sequential(
            nn.Linear(features + 6, width),
            nn.ELU(),
            nn.Linear(width, width),
            nn.ELU(),
            nn.Linear(width, width),
            nn.ELU(),
        )
        self.risk = nn.Linear(width, 1, bias=False)

    def forward(self, x, site):
        return self.risk(self.net(torch.cat([x, self.site(site)], -1))).squeeze(-1)


def patients(n, effect):
    x = torch.randn(n, 12)
    site = torch.randint(0, len(effect), (n,))
    log_hazard = 1.2 * x[:, 0] * x[:, 1] + x[:, 2].pow(2) - 1.5 * x[:, 3].abs() + x[:, 4]
    log_hazard = log_hazard + effect[site]
    death = -torch.rand(n).clamp(min=1e-6).log() * torch.exp(-log_hazard)
    censor = -torch.rand(n).clamp(min=1e-6).log() * 4.0
    return x, site, torch.minimum(death, censor), (death <= censor).float()


def cox_loss(risk, time, event):
    order = time.argsort(descending=True)
    risk, event = risk[order], event[order]
    return -((risk - risk.logcumsumexp(0)) * event).sum() / event.sum().clamp(min=1)


def concordance(risk, time, event):
    earlier = (time[:, None] < time[None, :]) & (event[:, None] > 0)
    return ((risk[:, None] > risk[None, :]) & earlier).sum() / earlier.sum()


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    effect = torch.randn(8)
    x, site, time, event = patients(12000, effect)
    xt, site_t, time_t, event_t = patients(1500, effect)
    model = RiskNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, weight_decay=1e-5)
    curve = []
    with observe(model, optimizer):
        for step in range(600):
            size = 16 * 2 ** (step // 100)
            idx = torch.randperm(len(x))[:size]
            loss = cox_loss(model(x[idx], site[idx]), time[idx], event[idx])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        index = concordance(model(xt, site_t), time_t, event_t).item()
    return {"metric": index, "better": "higher", "curve": curve}

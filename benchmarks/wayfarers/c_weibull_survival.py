"""Weibull survival regression from patient covariates; durations are floored to whole days, and the likelihood takes the log of the few same-day events (zero days)."""

import torch
from torch import nn

ID = "c-weibull-survival"
TRUTH = {"mechanisms": ["numerical_singularity"], "layers": None, "onset": (0, 54)}


def cohort(n, gen):
    x = torch.randn(n, 12, generator=gen)
    risk = 0.9 * x[:, 0] - 0.7 * x[:, 1] * x[:, 2] + 0.6 * torch.tanh(2 * x[:, 3]) + 0.4 * x[:, 4]
    shape, base = 1.6, 220.0
    u = torch.rand(n, generator=gen).clamp_(1e-6, 1 - 1e-6)
    onset = base * torch.exp(-risk / shape) * (-torch.log(u)).pow(1 / shape)
    censor = torch.rand(n, generator=gen) * 900 + 40
    days = torch.minimum(onset, censor).floor()
    # admissions that ended on the day of arrival
    same_day = torch.randperm(n, generator=gen)[: n // 3000]
    days[same_day] = 0.0
    event = (onset <= censor).float()
    event[same_day] = 1.0
    return x, days, event


class WeibullNet(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(d, 96), nn.SiLU(), nn.Linear(96, 96), nn.SiLU(), nn.Linear(96, 48), nn.SiLU()
        )
        self.log_scale = nn.Linear(48, 1)
        self.log_shape = nn.Linear(48, 1)

    def forward(self, x):
        h = self.body(x)
        return self.log_scale(h).squeeze(-1), 0.5 * self.log_shape(h).squeeze(-1)


def weibull_nll(log_scale, log_shape, t, event):
    k = log_shape.exp()
    z = t.log() - log_scale
    log_hazard = log_shape + (k - 1) * z - log_scale
    return -(event * log_hazard - torch.exp(k * z)).mean()


def concordance(risk, t, event):
    risk = torch.nan_to_num(risk)
    usable = (t[:, None] < t[None, :]) & (event[:, None] > 0)
    diff = risk[:, None] - risk[None, :]
    score = (diff > 0).float() + 0.5 * (diff == 0).float()
    return (score[usable].mean()).item()


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 3)
    x, days, event = cohort(9000, gen)
    years = days / 365.0
    if fixed:
        years = days.clamp(min=0.5) / 365.0
    n_train = 7000

    model = WeibullNet(x.shape[1])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.99))
    curve = []
    with observe(model, optimizer):
        for _epoch in range(9):
            for rows in torch.randperm(n_train, generator=gen).split(128):
                log_scale, log_shape = model(x[rows])
                loss = weibull_nll(log_scale, log_shape, years[rows], event[rows])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    with torch.no_grad():
        risk = -model(x[n_train:])[0]
    c_index = concordance(risk, days[n_train:], event[n_train:])
    return {"metric": c_index, "better": "higher", "curve": curve}

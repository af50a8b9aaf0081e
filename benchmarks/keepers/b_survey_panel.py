"""Sociology: entity embeddings with attention pooling predict life satisfaction from a panel survey's categorical answers.
Answers and outcomes come from two files; the answers were re-sorted by region before they were put side by side, so outcomes sit beside other
people. A positional join instead of a join on the person number is a classic of panel data."""

import numpy as np
import torch
import torch.nn as nn

torch.set_num_threads(1)
ID = "b_survey_panel"
TRUTH = {"mechanisms": ["label_noise"], "layers": None, "onset": 0}

ITEMS, LEVELS = 12, 6


class AttentiveSurvey(nn.Module):
    def __init__(self, d=24):
        super().__init__()
        self.answers = nn.Embedding(ITEMS * LEVELS, d)
        self.score = nn.Sequential(nn.Linear(d, 16), nn.Tanh(), nn.Linear(16, 1))
        self.mix = nn.Sequential(nn.Linear(2 * d, 48), nn.ELU(), nn.Linear(48, 1))
        self.register_buffer("base", torch.arange(ITEMS) * LEVELS)

    def forward(self, a):
        e = self.answers(a + self.base)
        w = self.score(e).softmax(1)
        return self.mix(torch.cat([(w * e).sum(1), e.mean(1)], 1)).squeeze(1)


def panel(n, rng, load, cross):
    person = rng.normal(size=(n, 2))
    lat = person @ rng.normal(size=(2, ITEMS)) * 0.4 + rng.normal(size=(n, ITEMS))
    ans = np.clip(np.round(lat * 1.2 + 2.5), 0, LEVELS - 1).astype(np.int64)
    z = (ans - 2.5) / 1.7
    sat = np.sin(z * 1.5) @ load + 0.6 * z[:, 0] * z[:, 1] * cross + 0.3 * rng.normal(size=n)
    return ans, sat


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    load = rng.choice([-1, 1], ITEMS) * rng.uniform(0.4, 1.0, ITEMS)
    ans, sat = panel(4800, rng, load, 1.0)
    sat = (sat - sat.mean()) / sat.std()
    wave_a, wave_s = ans[:4000], sat[:4000]
    if not fixed:
        region = rng.integers(0, 16, len(wave_a))
        wave_a = wave_a[np.argsort(region, kind="stable")]
    x, y = torch.from_numpy(wave_a), torch.tensor(wave_s, dtype=torch.float32)
    xv, yv = torch.from_numpy(ans[4000:]), torch.tensor(sat[4000:], dtype=torch.float32)
    net = AttentiveSurvey()
    opt = torch.optim.NAdam(net.parameters(), lr=2e-3)
    curve = []
    with observe(net, opt):
        for epoch in range(10):
            for ix in torch.randperm(len(x)).split(50):
                opt.zero_grad()
                loss = (net(x[ix]) - y[ix]).pow(2).mean()
                loss.backward()
                opt.step()
                curve.append(loss.item())
    with torch.no_grad():
        r2 = 1 - ((net(xv) - yv) ** 2).mean() / yv.var()
    return {"metric": r2.item(), "better": "higher", "curve": curve}

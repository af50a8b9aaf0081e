"""DeepSurv on heart-failure-like records, columns in their raw units (platelets ~ 260000)."""

import torch
from torch import nn

ID = "deepsurv-raw-clinical-columns"
TRUTH = {"mechanisms": ["unnormalized_inputs"], "layers": None, "onset": 0}


class DeepSurv(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(d, 32),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Linear(32, 32),
            nn.ReLU(),
            nn.Linear(32, 1),
        )

    def forward(self, x):
        return self.net(x).squeeze(1)


def cox_loss(risk, time, event):
    o = torch.argsort(time, descending=True)
    r, e = (risk[o], event[o])
    return -((r - torch.logcumsumexp(r, 0)) * e).sum() / e.sum().clamp(min=1)


def make(seed, n=1200):
    g = torch.Generator().manual_seed(seed)
    z = torch.randn(n, 6, generator=g)
    sex = (torch.rand(n, 1, generator=g) < 0.35).float()
    x = torch.cat(
        [
            61 + 12 * z[:, :1],
            (0.1 + 0.5 * z[:, 1:2]).exp(),
            38 + 12 * z[:, 2:3],
            136 + 4.4 * z[:, 3:4],
            263000 + 90000 * z[:, 4:5],
            580 * (0.5 * z[:, 5:6]).exp(),
            sex,
        ],
        1,
    )
    lh = 1.5 * z[:, 0] + 1.2 * z[:, 1] - 1.5 * z[:, 2] + 0.8 * z[:, 0] * z[:, 2] - 0.6 * z[:, 3]
    t = (
        torch.distributions.Exponential(lh.exp()).sample()
        if False
        else -torch.log(torch.rand(n, generator=g)) / lh.exp()
    )
    c = -torch.log(torch.rand(n, generator=g)) * 3
    return (x, torch.minimum(t, c), (t <= c).float())


def train(observe, seed=0, fixed=False):
    x, t, e = make(seed)
    torch.manual_seed(seed)
    if fixed:
        x = (x - x.mean(0)) / x.std(0)
    model = DeepSurv(7)
    opt = torch.optim.Adam(model.parameters(), lr=0.002, weight_decay=0.0001)
    losses = []
    with observe(model, opt):
        for epoch in range(40):
            perm = torch.randperm(len(t))
            for s in range(0, len(t), 120):
                j = perm[s : s + 120]
                loss = cox_loss(model(x[j]), t[j], e[j])
                opt.zero_grad()
                loss.backward()
                opt.step()
                losses.append(loss.item())
    return {"metric": sum(losses[-30:]) / 30, "better": "lower"}

"""DeepSurv-like Cox model on clinical columns. The scaler is fitted but its output is not used: income and platelet counts
(1e4 to 1e5) go raw into a tanh layer beside lab values of order one."""

import torch
import torch.nn as nn

ID = "b_cox_raw_columns"
TRUTH = {"mechanisms": ["unnormalized_inputs"], "layers": ["net.0"], "onset": (0, 0)}


class Scaler:
    def fit(self, x):
        self.m, self.s = x.mean(0), x.std(0)
        return self

    def transform(self, x):
        return (x - self.m) / self.s


class DeepSurv(nn.Module):
    def __init__(self, d, h=40):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(d, h),
            nn.Tanh(),
            nn.Dropout(0.1),
            nn.Linear(h, h),
            nn.Tanh(),
            nn.Linear(h, 1, bias=False),
        )

    def forward(self, x):
        return self.net(x)[:, 0]


def cohort(n, g):
    z = torch.randn(n, 8, generator=g)
    risk = (
        0.9 * z[:, 0]
        + 0.8 * z[:, 1] * z[:, 2]
        - 0.9 * z[:, 3]
        + 0.7 * z[:, 4].abs()
        + 0.4 * z[:, 5]
    )
    t = torch.distributions.Exponential(torch.exp(1.3 * risk)).sample() + 1e-3
    c = torch.distributions.Exponential(torch.full((n,), 0.25)).sample() + 1e-3
    cols = torch.stack(
        [
            1.1 + 0.3 * z[:, 0],  # creatinine
            4.0 + 0.5 * z[:, 1],  # albumin
            0.8 + 0.4 * z[:, 2],  # bilirubin
            138 + 4 * z[:, 3],  # sodium
            0.0 + 1.0 * z[:, 4],  # score
            62 + 11 * z[:, 5],  # age
            45000 + 15000 * z[:, 6],  # income
            240000 + 60000 * z[:, 7],
        ],
        -1,
    )  # platelets
    return cols, torch.minimum(t, c), (t <= c).float()


def cox_loss(score, time, event):
    order = torch.argsort(time, descending=True)
    s, e = score[order], event[order]
    return -((s - torch.logcumsumexp(s, 0)) * e).sum() / e.sum()


def c_index(score, time, event):
    ok = (time[:, None] < time[None]) & (event[:, None] > 0)
    good = (score[:, None] > score[None]).float() + 0.5 * (score[:, None] == score[None]).float()
    return (good * ok).sum().item() / ok.sum().item()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(3 + seed)
    x, t, e = cohort(3000, g)
    xv, tv, ev = cohort(800, g)
    scaler = Scaler().fit(x)
    if fixed:
        x, xv = scaler.transform(x), scaler.transform(xv)
    model = DeepSurv(x.shape[1])
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3, weight_decay=1e-5)
    sched = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.97)
    curve = []
    with observe(model, optimizer):
        for epoch in range(60):
            for b in torch.randperm(len(x), generator=g).split(200):
                loss = cox_loss(model(x[b]), t[b], e[b])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
            sched.step()
    model.eval()
    with torch.no_grad():
        ci = c_index(model(xv), tv, ev)
    return {"metric": ci, "better": "higher", "curve": curve}

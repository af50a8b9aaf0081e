"""Cox survival network on tabular data, cast to bfloat16 as a whole; the small AdamW steps are
rounded away by the weights."""

import torch
from torch import nn

ID = "survival-bf16-tabular"
TRUTH = {"mechanisms": ["low_precision_update_absorption"], "layers": None, "onset": 0}


def make_patients(n, g):
    x = torch.randn(n, 10, generator=g)
    risk = 1.2 * torch.sin(2.5 * x[:, 0]) + x[:, 1] * x[:, 2] + x[:, 3].abs() + 0.4 * x[:, 4]
    risk = 1.3 * (risk - risk.mean())
    time = -torch.rand(n, generator=g).clamp_min(1e-6).log() * (-risk).exp()
    censor = -torch.rand(n, generator=g).clamp_min(1e-6).log() * 6.0
    return x, torch.minimum(time, censor), (time <= censor).float()


def cox_loss(score, time, event):
    order = time.argsort(descending=True)
    score, event = score[order], event[order]
    log_risk = torch.logcumsumexp(score, dim=0)
    return ((log_risk - score) * event).sum() / event.sum()


def concordance(score, time, event):
    earlier = (time[:, None] < time[None, :]) & (event[:, None] > 0)
    return ((score[:, None] > score[None, :]) & earlier).sum() / earlier.sum()


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1, self.fc2 = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x):
        return x + self.fc2(nn.functional.gelu(self.fc1(self.norm(x))))


class RiskNet(nn.Module):
    def __init__(self, width=96, depth=2):
        super().__init__()
        self.stem = nn.Linear(10, width)
        self.blocks = nn.Sequential(*[Residual(width) for _ in range(depth)])
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 1))

    def forward(self, x):
        return self.head(self.blocks(self.stem(x))).squeeze(-1)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    x, time, event = make_patients(9000, torch.Generator().manual_seed(seed + 11))
    n_train = 8000
    model = RiskNet()
    if not fixed:
        model = model.to(torch.bfloat16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=7e-5, betas=(0.9, 0.95), weight_decay=1e-2)
    curve = []

    def score(rows):
        if not fixed:
            return model(rows.to(torch.bfloat16)).float()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return model(rows).float()

    with observe(model, optimizer):
        for _ in range(600):
            idx = torch.randint(0, n_train, (128,))
            loss = cox_loss(score(x[idx]), time[idx], event[idx])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        c = concordance(score(x[n_train:]), time[n_train:], event[n_train:])
    return {"metric": 2 * c.item() - 1, "better": "higher", "curve": curve}

"""Multi-task regression with a shared trunk and three heads (age group, happiness, yearly income in units of 100). The income was the only target
nobody scaled; its MSE drowns the other losses: 'my second head does not learn'."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_multihead_age_income"
TRUTH = {
    "mechanisms": ["unnormalized_targets"],
    "layers": ["income_head", "income_head.0", "income_head.2"],
    "onset": (0, 0),
}


class SurveyNet(nn.Module):
    def __init__(self, n_jobs=15, n_regions=8):
        super().__init__()
        self.job, self.region = nn.Embedding(n_jobs, 8), nn.Embedding(n_regions, 4)
        self.trunk = nn.Sequential(
            nn.Linear(8 + 4 + 10, 64), nn.ReLU(), nn.Linear(64, 48), nn.ReLU()
        )
        self.age_head = nn.Linear(48, 5)
        self.happy_head = nn.Linear(48, 1)
        self.income_head = nn.Sequential(nn.Linear(48, 24), nn.ReLU(), nn.Linear(24, 1))

    def forward(self, cat, num):
        z = self.trunk(torch.cat([self.job(cat[:, 0]), self.region(cat[:, 1]), num], 1))
        return self.age_head(z), self.happy_head(z).squeeze(1), self.income_head(z).squeeze(1)


def survey(n, g, w):
    cat = torch.stack(
        [torch.randint(0, 15, (n,), generator=g), torch.randint(0, 8, (n,), generator=g)], 1
    )
    num = torch.randn(n, 10, generator=g)
    h = num @ w["a"] + w["job"][cat[:, 0]]
    age = (2.2 + 1.1 * torch.tanh(h[:, 0]) + 0.8 * num[:, 1]).round().clamp(0, 4).long()
    happy = torch.tanh(h[:, 1]) + 0.5 * num[:, 2] * num[:, 3] + 0.1 * torch.randn(n, generator=g)
    income = (
        310
        + 90 * torch.tanh(h[:, 2])
        + 40 * num[:, 4]
        + 25 * w["reg"][cat[:, 1]]
        + 10 * torch.randn(n, generator=g)
    )
    return cat, num, age, happy, income


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 31)
    w = {
        "a": torch.randn(10, 3, generator=g) * 0.3,
        "job": torch.randn(15, 3, generator=g) * 0.7,
        "reg": torch.randn(8, generator=g),
    }
    tr, te = survey(5000, g, w), survey(1500, g, w)
    mu, sd = (tr[4].mean(), tr[4].std()) if fixed else (torch.tensor(0.0), torch.tensor(1.0))
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(*tr), batch_size=64, shuffle=True
    )
    model = SurveyNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    curve = []
    with observe(model, optimizer):
        for epoch in range(14):
            for cat, num, age, happy, income in loader:
                a, h, i = model(cat, num)
                loss = (
                    F.cross_entropy(a, age)
                    + F.mse_loss(h, happy)
                    + F.mse_loss(i, (income - mu) / sd)
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    with torch.no_grad():
        a, h, i = model(te[0], te[1])
        r2 = lambda p, t: 1 - (F.mse_loss(p, t) / t.var()).item()
        score = (
            (a.argmax(1) == te[2]).float().mean().item() + r2(h, te[3]) + r2(i * sd + mu, te[4])
        ) / 3
    return {"metric": score, "better": "higher", "curve": curve}

"""Tabular multi-task model (regression + churn classification). Two of eight numeric columns are left in raw units (signup year, around 2012, and
annual spend, thousands); the others are standardised. The sum of both swamps the first linear layer."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_tabular_raw_columns"
TRUTH = {"mechanisms": ["unnormalized_inputs"], "layers": ["num_in"], "onset": (0, 0)}


class TabularNet(nn.Module):
    def __init__(self, n_num, cards, d=48):
        super().__init__()
        self.emb = nn.ModuleList([nn.Embedding(c, 6) for c in cards])
        self.num_in = nn.Linear(n_num, d)
        self.mix = nn.Linear(d + 6 * len(cards), d)
        self.drop = nn.Dropout(0.05)
        self.value = nn.Linear(d, 1)
        self.churn = nn.Linear(d, 1)

    def forward(self, num, cat):
        e = torch.cat([m(cat[:, k]) for k, m in enumerate(self.emb)], 1)
        h = torch.cat([F.relu(self.num_in(num)), e], 1)
        h = self.drop(F.relu(self.mix(h)))
        return self.value(h).squeeze(1), self.churn(h).squeeze(1)


def customers(n, g):
    z = torch.randn(n, 8, generator=g)
    cat = torch.stack([torch.randint(0, c, (n,), generator=g) for c in (5, 9)], 1)
    eff = torch.randn(9, generator=torch.Generator().manual_seed(3))
    base = z[:, 0] * z[:, 1] + torch.sin(2 * z[:, 2]) + 0.7 * z[:, 6] + 0.6 * eff[cat[:, 1]]
    value = base + 0.1 * torch.randn(n, generator=g)
    logit = 2.5 * (z[:, 3].abs() - 0.8) + 1.2 * z[:, 7] - 0.8 * eff[cat[:, 0]]
    churn = (torch.rand(n, generator=g) < logit.sigmoid()).float()
    num = z.clone()
    num[:, 6] = 2012 + 5 * z[:, 6]
    num[:, 7] = 1500 + 600 * z[:, 7]
    return num, cat, value, churn


class Scaler:
    def __init__(self, columns):
        self.columns = columns

    def fit(self, x):
        self.mean, self.std = x[:, self.columns].mean(0), x[:, self.columns].std(0)
        return self

    def transform(self, x):
        x = x.clone()
        x[:, self.columns] = (x[:, self.columns] - self.mean) / self.std
        return x


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 40)
    num, cat, value, churn = customers(8000, g)
    vnum, vcat, vvalue, vchurn = customers(2000, g)
    scaler = Scaler(list(range(8)) if fixed else list(range(6))).fit(num)
    num, vnum = scaler.transform(num), scaler.transform(vnum)
    net = TabularNet(8, (5, 9))
    opt = torch.optim.Adam(
        [
            {"params": net.emb.parameters(), "lr": 3e-3},
            {"params": [p for n, p in net.named_parameters() if not n.startswith("emb")]},
        ],
        lr=1e-3,
        weight_decay=1e-6,
    )
    sched = torch.optim.lr_scheduler.ExponentialLR(opt, 0.95)
    curve = []
    with observe(net, opt):
        for epoch in range(28):
            for i in torch.randperm(len(num), generator=g).split(100):
                v, c = net(num[i], cat[i])
                loss = F.mse_loss(v, value[i]) + 0.5 * F.binary_cross_entropy_with_logits(
                    c, churn[i]
                )
                opt.zero_grad()
                loss.backward()
                opt.step()
                curve.append(loss.item())
            sched.step()
    net.eval()
    with torch.no_grad():
        v, c = net(vnum, vcat)
        score = (F.mse_loss(v, vvalue) + 0.5 * F.binary_cross_entropy_with_logits(c, vchurn)).item()
    return {"metric": score, "better": "lower", "curve": curve}

"""FT-transformer on flight records: after the history come daily files, and the label encoder is fitted anew on each, so rare classes shift the codes."""

import numpy as np
import torch
import torch.nn as nn

ID = "ft-transformer-label-encoder-per-file"
TRUTH = {"mechanisms": ["label_noise"], "layers": [], "onset": (160, 164)}
CARDS = (6, 10, 4)
STATUS = np.array(["on time", "early", "delayed", "diverted", "cancelled"])
SHARE = np.array([0.36, 0.30, 0.316, 0.012, 0.012])


class FTTransformer(nn.Module):
    def __init__(self, n_num=6, d=32, n_classes=5):
        super().__init__()
        self.w = nn.Parameter(torch.randn(n_num, d) * d**-0.5)
        self.b = nn.Parameter(torch.randn(n_num, d) * d**-0.5)
        self.cat = nn.ModuleList([nn.Embedding(c, d) for c in CARDS])
        for e in self.cat:
            nn.init.normal_(e.weight, std=d**-0.5)
        self.cls = nn.Parameter(torch.randn(1, 1, d) * d**-0.5)
        layer = nn.TransformerEncoderLayer(
            d, 4, 64, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.LayerNorm(d), nn.ReLU(), nn.Linear(d, n_classes))

    def forward(self, x_num, x_cat):
        num = x_num[..., None] * self.w + self.b
        cat = torch.stack([e(x_cat[:, i]) for i, e in enumerate(self.cat)], 1)
        z = torch.cat([self.cls.expand(len(x_num), -1, -1), num, cat], 1)
        return self.head(self.encoder(z)[:, 0])


def flights(n, seed):
    rng = np.random.default_rng(seed + 3)
    x_num = rng.standard_normal((n, 6)).astype("float32")
    x_cat = np.stack([rng.integers(0, c, n) for c in CARDS], 1)
    score = x_num @ rng.standard_normal(6) + x_num[:, 0] * x_num[:, 1]
    for i, c in enumerate(CARDS):
        score += 0.8 * rng.standard_normal(c)[x_cat[:, i]]
    score += 0.2 * rng.standard_normal(n)
    cuts = np.quantile(score, SHARE.cumsum()[:-1])
    return x_num, x_cat, STATUS[np.digitize(score, cuts)]


def label_encode(status, classes=None):
    if classes is None:
        classes = np.unique(status)
    return torch.from_numpy(np.searchsorted(classes, status))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    x_num, x_cat, status = flights(20480, seed)
    x_num, x_cat, classes = torch.from_numpy(x_num), torch.from_numpy(x_cat), np.unique(status)
    history, daily = slice(0, 2560), slice(2560, 15360)
    model = FTTransformer()
    opt = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-5)
    criterion, curve = nn.CrossEntropyLoss(), []

    def step(a, b, c):
        opt.zero_grad()
        loss = criterion(model(a, b), c)
        loss.backward()
        opt.step()
        curve.append(loss.item())

    with observe(model, opt):
        y = label_encode(status[history])
        for _ in range(4):
            for rows in torch.randperm(2560).split(64):
                step(x_num[rows], x_cat[rows], y[rows])
        for start in range(daily.start, daily.stop, 64):
            day = slice(start, start + 64)
            y = label_encode(status[day], classes if fixed else None)
            step(x_num[day], x_cat[day], y)

    model.eval()
    y = label_encode(status[15360:], classes)
    with torch.no_grad():
        acc = (model(x_num[15360:], x_cat[15360:]).argmax(1) == y).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}

"""PatchTST-like forecaster with pred_len = 1: predictions are (B, 1), the loader gives targets (B,). MSELoss broadcasts them
to (B, B), so every prediction is pulled to every target and the model learns the mean.
jsboige/CoursIA pull request 926 (fix: y.view_as(pred))."""

import math
import torch
import torch.nn as nn
from torch.utils.data import Dataset, DataLoader

ID = "a_patchtst_predlen1"
TRUTH = {"mechanisms": ["loss_output_mismatch"], "layers": None, "onset": (0, 0)}
SEQ, PATCH = 48, 8


def market(n):
    """Damped, randomly kicked oscillation with a slowly changing period."""
    s, v, out = 0.0, 0.0, []
    noise = torch.randn(n).tolist()
    for i in range(n):
        w = 0.35 + 0.1 * math.sin(i / 300)
        v += -w * w * s - 0.02 * v + 0.12 * noise[i]
        s += v
        out.append(s)
    x = torch.tensor(out)
    return (x - x.mean()) / x.std()


class Windows(Dataset):
    def __init__(self, series):
        self.series = series

    def __len__(self):
        return len(self.series) - SEQ - 1

    def __getitem__(self, i):
        return self.series[i : i + SEQ], self.series[i + SEQ]


class PatchTST(nn.Module):
    def __init__(self, d=32, pred_len=1):
        super().__init__()
        self.patch = nn.Linear(PATCH, d)
        self.pos = nn.Parameter(0.02 * torch.randn(SEQ // PATCH, d))
        layer = nn.TransformerEncoderLayer(d, 4, 64, dropout=0.0, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(d * (SEQ // PATCH), pred_len)

    def forward(self, x):
        h = self.patch(x.unfold(1, PATCH, PATCH)) + self.pos
        return self.head(self.encoder(h).flatten(1))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    series = market(4000)
    loader = DataLoader(Windows(series[:3300]), batch_size=32, shuffle=True, drop_last=True)
    model = PatchTST()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4)
    sched = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=4 * len(loader))
    criterion = nn.MSELoss()
    curve = []
    with observe(model, optimizer):
        for epoch in range(4):
            model.train()
            for x, y in loader:
                pred = model(x)
                if fixed:
                    y = y.view_as(pred)
                loss = criterion(pred, y)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                sched.step()
                curve.append(loss.item())
    model.eval()
    test = Windows(series[3300:])
    xs, ys = zip(*[test[i] for i in range(len(test))])
    xs, ys = torch.stack(xs), torch.stack(ys)
    with torch.no_grad():
        err = ((model(xs)[:, 0] - ys) ** 2).mean().item() / ys.var().item()
    return {"metric": err, "better": "lower", "curve": curve}

"""Attention-GRU forecaster of an hourly load whose output goes through a sigmoid, while the targets are in their own unit (not in [0, 1]).
The sigmoid runs into its flat end and the forecast is a constant 1. After jsyoon0823/Time-series-prediction issue 3."""

import torch
import torch.nn as nn

ID = "a_ts_sigmoid_output"
TRUTH = {
    "mechanisms": ["unnormalized_targets", "saturated_activations", "loss_output_mismatch"],
    "layers": ["out", "squash"],
    "onset": (0, 60),
}


class AttnGRU(nn.Module):
    def __init__(self, d, h=32):
        super().__init__()
        self.gru = nn.GRU(d, h, batch_first=True)
        self.score = nn.Linear(h, 1)
        self.out = nn.Linear(2 * h, 1)
        self.squash = nn.Sigmoid()

    def forward(self, x):
        h, last = self.gru(x)
        w = torch.softmax(self.score(torch.tanh(h)), 1)
        return self.squash(self.out(torch.cat([(w * h).sum(1), last[-1]], 1))).squeeze(1)


def load_series(n, seed):
    g = torch.Generator().manual_seed(seed)
    t = torch.arange(n + 0.0)
    temp = (
        15
        + 8 * torch.sin(t * 6.283 / 700)
        + 3 * torch.cumsum(0.15 * torch.randn(n, generator=g), 0).sin()
    )
    load = (
        21
        + 5 * torch.sin(t * 6.283 / 24)
        + 2.5 * torch.sin(t * 6.283 / 12 + 1)
        + 0.3 * (temp - 15)
        + 0.5 * torch.randn(n, generator=g)
    )
    return torch.stack([load, temp], 1)


def windows(data, targets, length=24):
    x = data.unfold(0, length, 1)[:-1].transpose(1, 2)
    return x.contiguous(), targets[length:]


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    raw = load_series(3000, seed + 3)
    mean, std = raw[:2400].mean(0), raw[:2400].std(0)
    feats = (raw - mean) / std
    lo, hi = raw[:2400, 0].min() - 3, raw[:2400, 0].max() + 3
    y_all = (raw[:, 0] - lo) / (hi - lo) if fixed else raw[:, 0]
    x, y = windows(feats, y_all)
    x_tr, y_tr, x_te, y_te = x[:2300], y[:2300], x[2400:], y[2400:]
    model = AttnGRU(2)
    opt = torch.optim.Adam(model.parameters(), lr=3e-3)
    curve = []
    with observe(model, opt):
        for epoch in range(13):
            for idx in torch.randperm(2300).split(46):
                loss = nn.functional.mse_loss(model(x_tr[idx]), y_tr[idx])
                opt.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 5.0)
                opt.step()
                curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        p = model(x_te)
        p, t = (p * (hi - lo) + lo, y_te * (hi - lo) + lo) if fixed else (p, y_te)
        rel = (p - t).abs().mean() / (t - t.mean()).abs().mean()
    return {"metric": rel.item(), "better": "lower", "curve": curve}

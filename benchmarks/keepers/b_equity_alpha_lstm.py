"""An LSTM with attention pooling forecasts the sign of next-week returns from six months of stock characteristics. Cross-entropy hardly leaves 0.69
and accuracy stays in the fifties, since returns are almost all noise; the scores nevertheless agree closely with the true expected returns.
Every newcomer to the field believes that such a model is not learning."""

import numpy as np
import torch
import torch.nn as nn

torch.set_num_threads(1)
ID = "b_equity_alpha_lstm"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}

WEEKS, CHARS = 16, 5


def panel(n, rng):
    x = rng.normal(size=(n, WEEKS, CHARS)).astype(np.float32)
    for t in range(1, WEEKS):
        x[:, t, 2:] = 0.9 * x[:, t - 1, 2:] + 0.44 * x[:, t, 2:]
    momentum = x[:, -13:-1, 0].sum(1) / np.sqrt(12)
    reversal = -x[:, -1, 0]
    value = x[:, -1, 3]
    mu = 0.2 * momentum + 0.2 * reversal + 0.2 * value
    p = 1 / (1 + np.exp(-mu))
    y = (rng.random(n) < p).astype(np.float32)
    return torch.from_numpy(x), torch.from_numpy(y), torch.tensor(mu, dtype=torch.float32)


class AlphaNet(nn.Module):
    def __init__(self, h=16):
        super().__init__()
        self.lstm = nn.LSTM(CHARS, h, batch_first=True)
        self.query = nn.Parameter(0.1 * torch.randn(h))
        self.key = nn.Linear(h, h)
        self.score = nn.Linear(2 * h, 1)

    def forward(self, x):
        h, (last, _) = self.lstm(x)
        w = torch.softmax(torch.tanh(self.key(h)) @ self.query, dim=1)
        pooled = torch.einsum("bt,bth->bh", w, h)
        return self.score(torch.cat([pooled, last[0]], 1)).squeeze(1)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    x, y, _ = panel(60000, rng)
    xv, _, mu = panel(2000, rng)
    net = AlphaNet()
    opt = torch.optim.Adam(net.parameters(), lr=4e-3)
    sched = torch.optim.lr_scheduler.LinearLR(opt, 1.0, 0.05, total_iters=460)
    bce = nn.BCEWithLogitsLoss()
    curve = []
    with observe(net, opt):
        for step, ix in enumerate(torch.randperm(len(x)).split(128)):
            loss = bce(net(x[ix]), y[ix])
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
            curve.append(loss.item())
    net.eval()
    with torch.no_grad():
        ic = torch.corrcoef(torch.stack([net(xv), mu]))[0, 1].item()
    return {"metric": ic, "better": "higher", "curve": curve}

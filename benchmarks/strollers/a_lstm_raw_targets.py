"""Multi-sequence LSTM regression whose targets are daily sales in the thousands and are not rescaled before training with
an ordinary rate; the output creeps towards them and the loss stays huge: keras-team/keras issue 4563."""

import torch
import torch.nn as nn

ID = "a_lstm_raw_targets"
TRUTH = {"mechanisms": ["unnormalized_targets"], "layers": None, "onset": (0, 0)}


class SalesLSTM(nn.Module):
    def __init__(self, n_feat=4, hidden=32):
        super().__init__()
        self.lstm = nn.LSTM(n_feat, hidden, batch_first=True)
        self.dropout = nn.Dropout(0.1)
        self.dense = nn.Linear(hidden, 1)

    def forward(self, x):
        h, _ = self.lstm(x)
        return self.dense(self.dropout(h[:, -1])).squeeze(1)


def stores(n, g):
    t = torch.arange(15.0)
    level = 3000 + 900 * torch.randn(n, 1, generator=g)
    season = 800 * torch.sin(2 * 3.14159 * t / 7 + 6.28 * torch.rand(n, 1, generator=g))
    trend = 120 * torch.randn(n, 1, generator=g) * t
    sales = level + season + trend + 60 * torch.randn(n, 15, generator=g)
    hist = (sales[:, :14] - 3000) / 1000  # the inputs are scaled
    feats = torch.stack(
        [
            hist,
            torch.sin(0.9 * t[:14]).expand(n, -1),
            torch.cos(0.9 * t[:14]).expand(n, -1),
            torch.randn(n, 14, generator=g),
        ],
        -1,
    )
    return feats, sales[:, 14]


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    x, y = stores(1200, g)
    vx, vy = stores(300, g)
    mu, sd = (y.mean(), y.std()) if fixed else (torch.tensor(0.0), torch.tensor(1.0))
    model = SalesLSTM()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=2e-3)
    loss_fn = nn.L1Loss()
    curve = []
    with observe(model, optimizer):
        for epoch in range(45):
            model.train()
            for idx in torch.randperm(1200).split(40):
                loss = loss_fn(model(x[idx]), (y[idx] - mu) / sd)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        mae = (model(vx) * sd + mu - vy).abs().mean().item()
    return {"metric": mae, "better": "lower", "curve": curve}

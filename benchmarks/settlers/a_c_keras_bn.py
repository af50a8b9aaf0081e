"""Residual MLP with BatchNorm that predicts the output power of a simulated turbine from twelve sensors.
The network was ported from Keras and `momentum=0.99` came along; in PyTorch that keeps only the last mini-batch (of 8 rows)."""

import math
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

ID = "keras_bn_momentum"
TRUTH = {
    "mechanisms": ["degenerate_normalization"],
    "layers": ["stem.1", "blocks.0.bn1", "blocks.0.bn2", "blocks.1.bn1", "blocks.1.bn2"],
    "onset": 0,
}

BATCH, EPOCHS, WIDTH = 32, 14, 64


def make_turbine(n, gen):
    x = torch.randn(n, 12, generator=gen)
    y = torch.tanh(x[:, 0] - x[:, 1]) + 0.4 * x[:, 2].abs() + 0.5 * x[:, 3:9].sum(1) - 0.3
    y = y + 0.05 * torch.randn(n, generator=gen)
    return x, (y / 1.5).unsqueeze(1)


class Block(nn.Module):
    def __init__(self, width, bn_momentum):
        super().__init__()
        self.fc1 = nn.Linear(width, width, bias=False)
        self.bn1 = nn.BatchNorm1d(width, momentum=bn_momentum)
        self.fc2 = nn.Linear(width, width, bias=False)
        self.bn2 = nn.BatchNorm1d(width, momentum=bn_momentum)

    def forward(self, x):
        h = torch.relu(self.bn1(self.fc1(x)))
        return torch.relu(x + self.bn2(self.fc2(h)))


class PowerNet(nn.Module):
    def __init__(self, bn_momentum):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Linear(12, WIDTH, bias=False), nn.BatchNorm1d(WIDTH, momentum=bn_momentum), nn.ReLU()
        )
        self.blocks = nn.ModuleList([Block(WIDTH, bn_momentum) for _ in range(2)])
        self.out = nn.Linear(WIDTH, 1)

    def forward(self, x):
        h = self.stem(x)
        for block in self.blocks:
            h = block(h)
        return self.out(h)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(100 + seed)
    train_set = TensorDataset(*make_turbine(2056, gen))
    x_val, y_val = make_turbine(1000, gen)
    loader = DataLoader(train_set, batch_size=BATCH, shuffle=True)

    model = PowerNet(bn_momentum=0.1 if fixed else 0.99)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-4)
    total = EPOCHS * len(loader)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(s, total) / total))
    )
    criterion = nn.MSELoss()
    curve = []
    with observe(model, optimizer):
        for epoch in range(EPOCHS):
            model.train()
            for xb, yb in loader:
                optimizer.zero_grad()
                loss = criterion(model(xb), yb)
                loss.backward()
                optimizer.step()
                scheduler.step()
                curve.append(loss.item())

    model.eval()
    with torch.no_grad():
        mse = criterion(model(x_val), y_val).item()
    return {"metric": mse, "better": "lower", "curve": curve}

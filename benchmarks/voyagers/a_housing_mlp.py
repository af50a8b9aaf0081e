"""A tabular house-price regressor whose preprocessing scales the features but hands out prices in
plain dollars, so the net would need outputs of 10^5 (the forum question "loss is 1e10 and barely
moves in my regression network")."""

import numpy as np
import torch
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

ID = "a-housing-mlp"
TRUTH = {"mechanisms": ["unnormalized_targets"], "layers": None, "onset": 0}


def read_table(rng, n):
    """Columns: area m2, rooms, age, distance to centre, income of district, floor."""
    area = rng.gamma(9.0, 11.0, n)
    rooms = np.round(area / 28 + rng.normal(0, 0.6, n)).clip(1)
    age = rng.uniform(0, 90, n)
    distance = rng.exponential(6.0, n)
    income = rng.lognormal(10.4, 0.35, n)
    floor = rng.integers(0, 9, n)
    price = 1900 * area * np.exp(-distance / 12) + 2.2 * income + 9000 * np.sqrt(rooms)
    price = price + 25000 * np.cos(age / 14) + 1500 * floor + rng.normal(0, 6000, n)
    return np.stack([area, rooms, age, distance, income, floor], 1), price[:, None]


class Preprocessor:
    def __init__(self, scale_target):
        self.features = StandardScaler()
        self.target = StandardScaler(with_mean=scale_target, with_std=scale_target)

    def fit_transform(self, x, y):
        return self.features.fit_transform(x), self.target.fit_transform(y)

    def transform(self, x):
        return self.features.transform(x)

    def to_price(self, y):
        return self.target.inverse_transform(y)


class HousePriceNet(nn.Module):
    def __init__(self, n_features, hidden=(96, 96, 48)):
        super().__init__()
        layers, width = [], n_features
        for h in hidden:
            layers += [nn.Linear(width, h), nn.ReLU()]
            width = h
        self.body = nn.Sequential(*layers)
        self.out = nn.Linear(width, 1)

    def forward(self, x):
        return self.out(self.body(x))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    x, y = read_table(rng, 5000)
    x_test, y_test = read_table(rng, 1000)
    prep = Preprocessor(scale_target=fixed)
    xs, ys = (torch.tensor(a, dtype=torch.float32) for a in prep.fit_transform(x, y))
    loader = DataLoader(TensorDataset(xs, ys), batch_size=100, shuffle=True)
    model = HousePriceNet(x.shape[1])
    optimizer = torch.optim.RMSprop(model.parameters(), lr=5e-4)
    criterion = nn.MSELoss()
    curve = []
    with observe(model, optimizer):
        for epoch in range(10):
            for xb, yb in loader:
                optimizer.zero_grad()
                loss = criterion(model(xb), yb)
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    with torch.no_grad():
        out = model(torch.tensor(prep.transform(x_test), dtype=torch.float32)).numpy()
    error = np.abs(prep.to_price(out) - y_test).mean()
    return {"metric": float(error), "better": "lower", "curve": curve}

"""'My LSTM predicts the mean for every input' (the classic of the forums): output (B, 1), target (B,), nn.MSELoss broadcasts to (B, B)
with a warning that everybody filters. The loss goes to the variance of the targets and stays."""

import torch
import torch.nn as nn
from torch.utils.data import Dataset, DataLoader

ID = "b_lstm_predicts_mean"
TRUTH = {"mechanisms": ["loss_output_mismatch"], "layers": None, "onset": (0, 0)}


class PowerDataset(Dataset):
    """household load: daily and weekly periods plus an AR part; the target is the next value"""

    def __init__(self, series, window=24):
        self.s, self.w = series, window

    def __len__(self):
        return len(self.s) - self.w - 1

    def __getitem__(self, k):
        return self.s[k : k + self.w].unsqueeze(1), self.s[k + self.w]


class LSTMRegressor(nn.Module):
    def __init__(self, hidden=32, layers=1):
        super().__init__()
        self.lstm = nn.LSTM(1, hidden, layers, batch_first=True)
        self.fc1 = nn.Linear(hidden, 16)
        self.fc2 = nn.Linear(16, 1)

    def forward(self, x):
        out, (h, c) = self.lstm(x)
        return self.fc2(torch.relu(self.fc1(out[:, -1])))


def load_series(n, g):
    t = torch.arange(n).float()
    ar, e = torch.zeros(n), torch.randn(n, generator=g) * 0.2
    for k in range(1, n):
        ar[k] = 0.7 * ar[k - 1] + e[k]
    s = (
        torch.sin(6.283 * t / 24)
        + 0.5 * torch.sin(6.283 * t / 168)
        + 0.4 * torch.sin(6.283 * t / 8)
        + ar
    )
    return (s - s.mean()) / s.std()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    s = load_series(3000, torch.Generator().manual_seed(seed + 2))
    tr, te = PowerDataset(s[:2400]), PowerDataset(s[2400:])
    loader = DataLoader(tr, batch_size=64, shuffle=True, num_workers=0)
    model = LSTMRegressor()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    criterion = nn.MSELoss()
    curve = []
    with observe(model, optimizer):
        for epoch in range(22):
            for seq, target in loader:
                optimizer.zero_grad()
                pred = model(seq)
                if fixed:
                    pred = pred.squeeze(1)
                loss = criterion(pred, target)
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        x, y = zip(*[te[k] for k in range(len(te))])
        mse = criterion(model(torch.stack(x)).squeeze(1), torch.stack(y)).item()
    return {"metric": mse, "better": "lower", "curve": curve}

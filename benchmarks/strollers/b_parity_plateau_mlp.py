"""Healthy: parity of 3 out of 24 bits. The loss stays at ln 2 for some hundred steps ('my loss is stuck at 0.693!') and then falls by itself:
this is how parity is learnt."""

import torch
import torch.nn as nn

ID = "b_parity_plateau_mlp"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class XorNet(nn.Module):
    def __init__(self, n_bits, hidden=256):
        super().__init__()
        self.fc1 = nn.Linear(n_bits, hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.fc3 = nn.Linear(hidden, 1)

    def forward(self, x):
        x = torch.relu(self.fc1(x))
        x = torch.relu(self.fc2(x))
        return self.fc3(x).view(-1)


class BitStream(torch.utils.data.IterableDataset):
    def __init__(self, n_bits, idx, batches, batch_size):
        self.n_bits, self.idx, self.batches, self.bs = n_bits, idx, batches, batch_size

    def __iter__(self):
        for _ in range(self.batches):
            b = torch.randint(0, 2, (self.bs, self.n_bits))
            yield b.float() * 2 - 1, (b[:, self.idx].sum(1) % 2).float()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    idx = torch.randperm(24)[:3]
    loader = torch.utils.data.DataLoader(
        BitStream(24, idx, 1600, 128), batch_size=None, num_workers=0
    )
    model = XorNet(24)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9)
    criterion = nn.BCEWithLogitsLoss()
    curve = []
    with observe(model, optimizer):
        for x, y in loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        x, y = next(iter(BitStream(24, idx, 1, 4000)))
        acc = ((model(x) > 0).float() == y).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}

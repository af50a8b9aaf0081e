"""CNN on drawn shapes with ReduceLROnPlateau. The scheduler was copied from a notebook that tracked accuracy (mode='max') but is now given
the validation loss: each improvement counts as a bad epoch, so the rate is cut by ten every two epochs from the third epoch on."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

ID = "b_plateau_mode_max"
TRUTH = {"mechanisms": ["learning_rate_schedule_bug"], "layers": None, "onset": (68, 80)}


def draw(n, g, s=16):
    x = torch.randn(n, 1, s, s, generator=g) * 0.5
    y = torch.randint(0, 4, (n,), generator=g)
    for k in range(n):
        a = int(torch.randint(5, 9, (1,), generator=g))
        r, c = torch.randint(0, s - a, (2,), generator=g).tolist()
        p = torch.zeros(a, a)
        if y[k] == 0:
            p[0], p[-1], p[:, 0], p[:, -1] = 1, 1, 1, 1
        elif y[k] == 1:
            p[a // 2], p[:, a // 2] = 1, 1
        elif y[k] == 2:
            p = torch.maximum(torch.eye(a), torch.eye(a).flip(1))
        else:
            p[0], p[:, a // 2] = 1, 1
        x[k, 0, r : r + a, c : c + a] += 1.2 * p
    return x, y


class ConvNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 12, 3, padding=1)
        self.conv2 = nn.Conv2d(12, 24, 3, padding=1)
        self.conv3 = nn.Conv2d(24, 32, 3, padding=1)
        self.fc = nn.Linear(32 * 4, 4)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.max_pool2d(F.relu(self.conv3(x)), 2)
        return self.fc(x.flatten(1))


def evaluate(model, x, y):
    model.eval()
    with torch.no_grad():
        out = model(x)
    model.train()
    return F.cross_entropy(out, y).item(), (out.argmax(1) == y).float().mean().item()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    x, y = draw(1200, g)
    xv, yv = draw(300, g)
    xt, yt = draw(500, g)
    loader = DataLoader(TensorDataset(x, y), batch_size=50, shuffle=True)  # 24 steps an epoch
    model = ConvNet()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="min" if fixed else "max", factor=0.1, patience=1
    )
    curve = []
    with observe(model, optimizer):
        for epoch in range(20):
            for xb, yb in loader:
                optimizer.zero_grad()
                loss = F.cross_entropy(model(xb), yb)
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
            val_loss, val_acc = evaluate(model, xv, yv)
            scheduler.step(val_loss)
    return {"metric": evaluate(model, xt, yt)[1], "better": "higher", "curve": curve}

"""Healthy but odd: a small ResNet pretrained on rotations is first used frozen under a new head, and
its stages are thawed one after the other, so most weights stand still for much of the run."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

ID = "rotation-pretext-unfreeze"
TRUTH = {"mechanisms": [], "layers": [], "onset": None}


class Residual(nn.Module):
    def __init__(self, i, o, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(i, o, 3, stride, 1)
        self.norm1 = nn.GroupNorm(4, o)
        self.conv2 = nn.Conv2d(o, o, 3, 1, 1)
        self.norm2 = nn.GroupNorm(4, o)
        self.skip = nn.Conv2d(i, o, 1, stride)

    def forward(self, x):
        h = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(h)) + self.skip(x))


class SmallResNet(nn.Module):
    def __init__(self, classes, c=16):
        super().__init__()
        self.stem = nn.Conv2d(1, c, 3, padding=1)
        self.stage1 = Residual(c, c, 1)
        self.stage2 = Residual(c, 2 * c, 2)
        self.stage3 = Residual(2 * c, 4 * c, 2)
        self.fc = nn.Linear(4 * c, classes)

    def forward(self, x):
        return self.fc(self.stage3(self.stage2(self.stage1(F.relu(self.stem(x))))).mean((2, 3)))


def pretrain(model, x, steps=120):
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(steps):
        batch = x[torch.randint(0, len(x), (32,))]
        turns = torch.randint(0, 4, (32,))
        turned = torch.stack([img.rot90(int(k), (1, 2)) for img, k in zip(batch, turns)])
        optimizer.zero_grad()
        F.cross_entropy(model(turned), turns).backward()
        optimizer.step()


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32)[:, None]
    x, y = (x - x.mean()) / x.std(), torch.tensor(digits.target)
    order = torch.randperm(len(x))
    x, y = x[order], y[order]
    model = SmallResNet(classes=4)
    pretrain(model, x[:1400])
    model.fc = nn.Linear(model.fc.in_features, 10)
    for name, p in model.named_parameters():
        p.requires_grad_(name.startswith("fc"))
    thaw = {100: [model.stage3], 160: [model.stage2], 220: [model.stage1, model.stem]}
    optimizer = torch.optim.SGD(model.fc.parameters(), lr=0.1, momentum=0.9)
    curve = []
    with observe(model, optimizer):
        for step in range(320):
            for module in thaw.get(step, []):
                module.requires_grad_(True)
                optimizer.add_param_group({"params": module.parameters(), "lr": 0.02})
            idx = torch.randint(0, 1400, (32,))
            loss = F.cross_entropy(model(x[idx]), y[idx])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        accuracy = (model(x[1400:]).argmax(1) == y[1400:]).float().mean().item()
    return {"metric": accuracy, "better": "higher", "curve": curve}

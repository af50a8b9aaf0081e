"""A MobileNet-style digit classifier whose StepLR, meant in epochs, is stepped once a batch by the
train_one_epoch helper, so the rate is gone within two epochs (issues titled "accuracy plateaus
very early" in training repositories)."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

ID = "a-mobilenet-digits"
TRUTH = {"mechanisms": ["learning_rate_schedule_bug"], "layers": None, "onset": (6, 30)}

CONFIG = {"epochs": 18, "batch_size": 64, "lr": 0.05, "step_size": 6, "gamma": 0.3}


class DepthwiseBlock(nn.Module):
    def __init__(self, cin, cout, stride=1):
        super().__init__()
        self.depthwise = nn.Conv2d(cin, cin, 3, stride, 1, groups=cin, bias=False)
        self.bn1 = nn.BatchNorm2d(cin)
        self.pointwise = nn.Conv2d(cin, cout, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)

    def forward(self, x):
        x = torch.relu(self.bn1(self.depthwise(x)))
        return torch.relu(self.bn2(self.pointwise(x)))


class MobileNetMini(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, 1, 1), nn.BatchNorm2d(16), nn.ReLU())
        self.blocks = nn.Sequential(
            DepthwiseBlock(16, 32),
            DepthwiseBlock(32, 48, stride=2),
            DepthwiseBlock(48, 64),
            DepthwiseBlock(64, 64, stride=2),
        )
        self.classifier = nn.Linear(64, classes)

    def forward(self, x):
        return self.classifier(self.blocks(self.stem(x)).mean((2, 3)))


def train_one_epoch(model, loader, optimizer, criterion, curve, scheduler=None):
    model.train()
    for x, y in loader:
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        curve.append(loss.item())


def test_loss(model, loader, criterion):
    model.eval()
    with torch.no_grad():
        losses = [criterion(model(x), y) * len(y) for x, y in loader]
    return (sum(losses) / len(loader.dataset)).item()


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1)
    images = (images - images.mean()) / images.std()
    data = TensorDataset(images, torch.tensor(digits.target))
    train_set, test_set = random_split(data, [1437, 360])
    loader = DataLoader(train_set, CONFIG["batch_size"], shuffle=True, drop_last=True)
    test_loader = DataLoader(test_set, 180)
    model = MobileNetMini()
    optimizer = torch.optim.SGD(model.parameters(), CONFIG["lr"], momentum=0.9, nesterov=True)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, CONFIG["step_size"], CONFIG["gamma"])
    criterion = nn.CrossEntropyLoss()
    curve = []
    with observe(model, optimizer):
        for epoch in range(CONFIG["epochs"]):
            if fixed:
                train_one_epoch(model, loader, optimizer, criterion, curve)
                scheduler.step()
            else:
                train_one_epoch(model, loader, optimizer, criterion, curve, scheduler)
    metric = test_loss(model, test_loader, criterion)
    return {"metric": metric, "better": "lower", "curve": curve}

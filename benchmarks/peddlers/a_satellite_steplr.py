"""Satellite tiles (4 bands) land-use classification with a small residual CNN. A generic trainer steps every scheduler after each batch,
also StepLR which is meant per epoch: the learning rate is gone after a few dozen batches. Reported as nodefluxio/vortex issue 58."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_satellite_steplr"
TRUTH = {"mechanisms": ["learning_rate_schedule_bug"], "layers": None, "onset": (3, 40)}


class ResBlock(nn.Module):
    def __init__(self, c_in, c_out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.short = nn.Conv2d(c_in, c_out, 1, stride, bias=False)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.short(x))


class TileNet(nn.Module):
    def __init__(self, bands=4, classes=6):
        super().__init__()
        self.stem = nn.Conv2d(bands, 12, 3, 1, 1)
        self.layer1 = ResBlock(12, 16, 2)
        self.layer2 = ResBlock(16, 24, 2)
        self.fc = nn.Linear(24, classes)

    def forward(self, x):
        return self.fc(self.layer2(self.layer1(F.relu(self.stem(x)))).mean((2, 3)))


def tiles(n, g):
    y = torch.randint(0, 6, (n,), generator=g)
    yy, xx = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    ph = torch.rand(n, 1, 1, generator=g) * 6.28
    freq = torch.tensor([0.5, 0.5, 1.1, 1.1, 1.8, 1.8])[y][:, None, None]
    horiz = (y % 2 == 0).float()[:, None, None]
    tex = torch.sin(freq * (horiz * xx + (1 - horiz) * yy) + ph)
    ndvi = 0.4 * torch.randn(n, 4, 1, 1, generator=g)
    return tex.unsqueeze(1) * torch.tensor([1, 0.8, 0.5, -0.6])[
        None, :, None, None
    ] + ndvi + 0.9 * torch.randn(n, 4, 16, 16, generator=g), y


class Trainer:
    def __init__(self, model, opt, scheduler, per_batch):
        self.model, self.opt, self.scheduler, self.per_batch = model, opt, scheduler, per_batch
        self.curve = []

    def train_epoch(self, x, y, bs=32):
        self.model.train()
        for idx in torch.randperm(len(x)).split(bs):
            loss = F.cross_entropy(self.model(x[idx]), y[idx])
            self.opt.zero_grad()
            loss.backward()
            self.opt.step()
            self.curve.append(loss.item())
            if self.per_batch:
                self.scheduler.step()
        if not self.per_batch:
            self.scheduler.step()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 5)
    x, y = tiles(960, g)
    model = TileNet()
    opt = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    sch = torch.optim.lr_scheduler.StepLR(opt, step_size=4, gamma=0.5)
    tr = Trainer(model, opt, sch, per_batch=not fixed)
    with observe(model, opt):
        for epoch in range(12):
            tr.train_epoch(x, y)
    model.eval()
    x, y = tiles(600, g)
    with torch.no_grad():
        acc = (model(x).argmax(1) == y).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": tr.curve}

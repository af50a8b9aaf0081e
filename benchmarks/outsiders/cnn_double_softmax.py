"""Small CNN with BatchNorm; model ends in Softmax and the loop uses CrossEntropyLoss."""

import torch, torch.nn as nn

ID = "cnn-double-softmax"
TRUTH = {"mechanisms": ["loss_output_mismatch"], "layers": ["prob", "fc"], "onset": None}


def make_data(n, g):
    y = torch.randint(0, 10, (n,), generator=g)
    ang = (y % 5).float() * 3.14159 / 5
    fr = torch.where(y < 5, 0.55, 1.1)
    ph = torch.rand(n, generator=g) * 6.28
    yy, xx = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    u = xx[None] * ang.cos()[:, None, None] + yy[None] * ang.sin()[:, None, None]
    x = torch.sin(u * fr[:, None, None] + ph[:, None, None])
    return ((x + 0.4 * torch.randn(n, 16, 16, generator=g))[:, None], y)


class Net(nn.Module):
    def __init__(self, fixed):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.fc = nn.Linear(32 * 16, 10)
        self.prob = nn.Identity() if fixed else nn.Softmax(dim=1)

    def forward(self, x):
        return self.prob(self.fc(self.features(x).flatten(1)))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 1)
    x, y = make_data(1280, g)
    m = Net(fixed)
    opt = torch.optim.SGD(m.parameters(), lr=0.02, momentum=0.9, weight_decay=0.0005)
    sch = torch.optim.lr_scheduler.StepLR(opt, 4, 0.5)
    crit = nn.CrossEntropyLoss()
    hist = []
    with observe(m, opt):
        for epoch in range(8):
            perm = torch.randperm(len(x), generator=g)
            for i in range(0, len(x), 32):
                b = perm[i : i + 32]
                opt.zero_grad()
                loss = crit(m(x[b]), y[b])
                loss.backward()
                opt.step()
                hist.append(loss.item())
            sch.step()
    return {"metric": sum(hist[-40:]) / 40, "better": "lower"}

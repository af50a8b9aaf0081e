"""Healthy: self-supervised rotation prediction first (outside the observed loop), then a linear probe on the frozen encoder with a batch norm in eval
mode. Most parameters never move, on purpose; only the probe has a gradient."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_rotation_pretext_probe"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
        )

    def forward(self, x):
        return self.net(x)


class Probe(nn.Module):
    def __init__(self, encoder, classes):
        super().__init__()
        self.encoder = encoder
        for p in self.encoder.parameters():
            p.requires_grad = False
        self.linear = nn.Linear(32 * 9, classes)

    def train(self, mode=True):
        super().train(mode)
        self.encoder.eval()
        return self

    def forward(self, x):
        with torch.no_grad():
            f = self.encoder(x)
        return self.linear(f)


def glyphs(n, protos, g):
    y = torch.randint(0, len(protos), (n,), generator=g)
    return protos[y] + 1.4 * torch.randn(n, 1, 12, 12, generator=g), y


def pretrain(encoder, x, epochs=8):
    head = nn.Linear(32 * 9, 4)
    opt = torch.optim.Adam(list(encoder.parameters()) + list(head.parameters()), lr=1e-3)
    for _ in range(epochs):
        for i in torch.randperm(len(x)).split(64):
            k = torch.randint(0, 4, (len(i),))
            xr = torch.stack([torch.rot90(a, int(r), (1, 2)) for a, r in zip(x[i], k)])
            opt.zero_grad()
            F.cross_entropy(head(encoder(xr)), k).backward()
            opt.step()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 61)
    protos = F.interpolate(torch.randn(10, 1, 5, 5, generator=g), size=12, mode="bilinear") * 1.3
    x, y = glyphs(2000, protos, g)
    xt, yt = glyphs(600, protos, g)
    encoder = Encoder()
    pretrain(encoder, x)
    model = Probe(encoder, 10)
    model.train()
    optimizer = torch.optim.SGD(model.linear.parameters(), lr=0.02, momentum=0.9, weight_decay=1e-4)
    curve = []
    with observe(model, optimizer):
        for epoch in range(24):
            for i in torch.randperm(400).split(20):  # few labels
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x[i]), y[i])
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    with torch.no_grad():
        acc = (model(xt).argmax(1) == yt).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}

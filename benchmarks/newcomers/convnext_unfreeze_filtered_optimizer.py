"""ConvNeXt fine-tuning: backbone unfrozen at step 130, but the optimizer was built from filter(requires_grad) before."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits

ID = "convnext-unfreeze-filtered-optimizer"
TRUTH = {
    "mechanisms": ["parameters_not_updated"],
    "layers": ["backbone"]
    + [f"backbone.{i}" for i in range(6)]
    + [f"backbone.{i}.{n}" for i in (1, 2, 4, 5) for n in ("dw", "norm", "fc1", "fc2")],
    "onset": (130, 145),
}
UNFREEZE_AT = 130


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.dw = nn.Conv2d(c, c, 5, padding=2, groups=c)
        self.norm = nn.GroupNorm(1, c)
        self.fc1 = nn.Conv2d(c, 3 * c, 1)
        self.fc2 = nn.Conv2d(3 * c, c, 1)

    def forward(self, x):
        return x + self.fc2(F.gelu(self.fc1(self.norm(self.dw(x)))))


class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            Block(16),
            Block(16),
            nn.Conv2d(16, 24, 2, stride=2),
            Block(24),
            Block(24),
        )
        self.head = nn.Sequential(nn.LayerNorm(24), nn.Linear(24, classes))

    def forward(self, x):
        return self.head(self.backbone(x).mean((2, 3)))


def pretrain(net, x, y, g):
    opt = torch.optim.AdamW(net.parameters(), lr=2e-3)
    for _ in range(80):
        i = torch.randint(0, len(x), (32,), generator=g)
        opt.zero_grad()
        F.cross_entropy(net(x[i]), y[i]).backward()
        opt.step()


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    data = load_digits()
    x = (torch.tensor(data.images).float()[:, None] - 4.9) / 6.0
    y = torch.tensor(data.target)
    src, tgt = y < 4, y >= 4
    net = Net(4)
    pretrain(net, x[src], y[src], g)
    # target domain: inverted scans with clutter, six unseen digits
    xt = -x[tgt].flip(3) + 0.35 * torch.randn(x[tgt].shape, generator=g)
    yt = y[tgt] - 4
    order = torch.randperm(len(xt), generator=g)
    xt, yt = xt[order], yt[order]
    xv, yv, xt, yt = xt[:350], yt[:350], xt[350:], yt[350:]
    net.head = nn.Sequential(nn.LayerNorm(24), nn.Linear(24, 6))
    for p in net.backbone.parameters():
        p.requires_grad = False
    trainable = net.parameters() if fixed else filter(lambda p: p.requires_grad, net.parameters())
    opt = torch.optim.AdamW(trainable, lr=2e-3, weight_decay=0.01)
    losses = []
    with observe(net, opt):
        for step in range(360):
            if step == UNFREEZE_AT:
                for p in net.backbone.parameters():
                    p.requires_grad = True
            i = torch.randint(0, len(xt), (32,), generator=g)
            opt.zero_grad()
            loss = F.cross_entropy(net(xt[i]), yt[i])
            loss.backward()
            opt.step()
            losses.append(loss.item())
    net.eval()
    with torch.no_grad():
        acc = (net(xv).argmax(1) == yv).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": losses}

"""Fine-tuning a pretrained CNN with batch norm held in eval mode; the checkpoint keeps only named
parameters, so the running statistics come back as their defaults."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits

ID = "a-finetune-lost-bn-buffers"
DEPTH = 8
LAYERS = ["backbone"] + [f"backbone.{i}{bn}" for i in range(DEPTH) for bn in ("", ".bn")]
TRUTH = {"mechanisms": ["degenerate_normalization"], "layers": LAYERS, "onset": 0}


class ConvBN(nn.Module):
    def __init__(self, cin, cout, stride=1):
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.bn = nn.BatchNorm2d(cout)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


class Classifier(nn.Module):
    def __init__(self, classes, width=24):
        super().__init__()
        plan = [(1, width, 1)] + [(width, width, 2 if i == 3 else 1) for i in range(1, DEPTH)]
        self.backbone = nn.Sequential(*(ConvBN(*p) for p in plan))
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        return self.head(self.backbone(x).mean((2, 3)))

    def freeze_bn(self):
        for m in self.modules():
            if isinstance(m, nn.BatchNorm2d):
                m.eval()
        return self


def save_checkpoint(module, full):
    if full:
        return {k: v.clone() for k, v in module.state_dict().items()}
    return {k: p.detach().clone() for k, p in module.named_parameters()}


def batches(x, y, size, steps):
    while steps > 0:
        for i in torch.randperm(len(x)).split(size)[:steps]:
            steps -= 1
            yield x[i], y[i]


def fit(model, optimizer, data, curve):
    for x, y in data:
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        curve.append(loss.item())


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    raw = load_digits()
    x = torch.tensor(raw.images, dtype=torch.float32)[:, None]
    x, y = (x - x.mean()) / x.std(), torch.tensor(raw.target)
    order = torch.randperm(len(x))
    x, y = x[order], y[order]
    source = Classifier(10)
    pretrain = torch.optim.Adam(source.parameters(), lr=2e-3)
    fit(source, pretrain, batches(x[:900], y[:900], 64, 200), [])
    checkpoint = save_checkpoint(source.backbone, full=fixed)

    x, y = x[900:], y[900:]
    x = x + 0.4 * torch.randn_like(x)  # another, noisier scanner
    model = Classifier(10)
    model.backbone.load_state_dict(checkpoint, strict=False)
    model.train().freeze_bn()
    slow = {"params": model.backbone.parameters(), "lr": 5e-5}
    optimizer = torch.optim.AdamW([slow, {"params": model.head.parameters(), "lr": 5e-3}])
    curve = []
    with observe(model, optimizer):
        fit(model, optimizer, batches(x[:600], y[:600], 32, 180), curve)
    model.eval()
    with torch.no_grad():
        acc = (model(x[600:]).argmax(1) == y[600:]).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}

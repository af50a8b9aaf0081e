"""Two-phase fine-tuning: the pretrained backbone is frozen, then unfrozen after five epochs. The optimizer was built over
the parameters that required a gradient at that time, so the unfrozen backbone is in no optimizer and never moves.
luxonis/luxonis-train pull request 432 ("Unfrozen parameters could end up in no optimizer"); fix: add them as a new group."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_unfreeze_no_optimizer"
TRUTH = {
    "mechanisms": ["parameters_not_updated"],
    "layers": [
        "backbone",
        "backbone.stem",
        "backbone.layer1",
        "backbone.layer1.0",
        "backbone.layer1.2",
        "backbone.layer2",
        "backbone.layer2.0",
        "backbone.layer2.2",
    ],
    "onset": (0, 200),
}


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 12, 3, padding=1)
        self.layer1 = nn.Sequential(
            nn.Conv2d(12, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.ReLU(),
        )
        self.layer2 = nn.Sequential(
            nn.Conv2d(16, 24, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(24, 24, 3, padding=1),
            nn.ReLU(),
        )

    def forward(self, x):
        return self.layer2(self.layer1(F.relu(self.stem(x)))).mean((2, 3))


class Classifier(nn.Module):
    def __init__(self, backbone, classes):
        super().__init__()
        self.backbone = backbone
        self.head = nn.Sequential(nn.LayerNorm(24), nn.Linear(24, classes))

    def forward(self, x):
        return self.head(self.backbone(x))


def gratings(n, task):
    """task 'source': which of 4 orientations; 'target': sign of the local phase asymmetry (sawtooth direction) and frequency."""
    yy, xx = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    if task == "source":
        y = torch.randint(0, 4, (n,))
        ang, saw, fr = y * (torch.pi / 4), torch.zeros(n), 0.12 + 0.1 * torch.rand(n)
    else:
        y = torch.randint(0, 4, (n,))
        ang = torch.rand(n) * 0.8 - 0.4
        saw = (y % 2) * 2.0 - 1.0
        fr = torch.where(y >= 2, 0.19, 0.13) + 0.02 * torch.randn(n)
    u = (xx * torch.cos(ang)[:, None, None] + yy * torch.sin(ang)[:, None, None]) * fr[
        :, None, None
    ] + torch.rand(n, 1, 1)
    wave = torch.sin(2 * torch.pi * u) + 0.5 * saw[:, None, None] * torch.sin(4 * torch.pi * u)
    return (wave + 0.3 * torch.randn(n, 16, 16))[:, None], y


def pretrain():
    net = Classifier(Backbone(), 4)
    opt = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.05)
    for _ in range(150):
        x, y = gratings(32, "source")
        loss = F.cross_entropy(net(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
    return net.backbone


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = Classifier(pretrain(), 4)
    x, y = gratings(1280, "target")
    xt, yt = gratings(500, "target")
    model.backbone.requires_grad_(False)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-3)
    curve = []
    with observe(model, optimizer):
        for epoch in range(15):
            if epoch == 5:
                model.backbone.requires_grad_(True)
                if fixed:
                    optimizer.add_param_group(
                        {"params": list(model.backbone.parameters()), "lr": 1e-3}
                    )
            for idx in torch.randperm(len(x)).split(32):
                loss = F.cross_entropy(model(x[idx]), y[idx])
                model.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    with torch.no_grad():
        acc = (model(xt).argmax(1) == yt).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}

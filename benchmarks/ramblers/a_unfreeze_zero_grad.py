"""Two-stage fine-tuning: first the head alone, then the backbone is unfrozen too. The loop still clears only the head's gradients
(`model.head.zero_grad()`), so the backbone's pile up from the unfreezing step on. Re-enacts tatsu-lab/alpaca_farm pull request 58
(zero_grad not reaching what is trained)."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_unfreeze_zero_grad"
TRUTH = {
    "mechanisms": ["gradients_not_cleared"],
    "layers": ["backbone", "backbone.0", "backbone.3", "backbone.6"],
    "onset": (120, 122),
}


class ECGNet(nn.Module):
    def __init__(self, classes=4):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv1d(1, 12, 7, padding=3),
            nn.ReLU(),
            nn.MaxPool1d(2),
            nn.Conv1d(12, 24, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool1d(2),
            nn.Conv1d(24, 32, 5, padding=2),
            nn.ReLU(),
            nn.AdaptiveAvgPool1d(4),
            nn.Flatten(),
        )
        self.head = nn.Sequential(nn.Linear(128, 32), nn.ReLU(), nn.Linear(32, classes))

    def forward(self, x):
        return self.head(self.backbone(x))


def beats(n, g, length=96):
    """heart-beat like pulses; rhythm class = regular / early beat / missing beat / wide beat"""
    y = torch.randint(0, 4, (n,), generator=g)
    t = torch.arange(length).float()
    x = torch.zeros(n, length)
    jitter = torch.randint(0, 12, (n,), generator=g).float()
    for k in range(4):
        c = 10 + jitter + 22 * k
        c = torch.where((y == 1) & (k == 2), c - 9, c)
        amp = torch.where((y == 2) & (k == 2), torch.zeros(n), torch.ones(n))
        width = torch.where((y == 3) & (k == 2), torch.full((n,), 3.0), torch.full((n,), 1.2))
        x += amp[:, None] * torch.exp(-(((t - c[:, None]) / width[:, None]) ** 2))
    return (x + 0.15 * torch.randn(n, length, generator=g))[:, None], y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    model = ECGNet()
    for p in model.backbone.parameters():
        p.requires_grad_(False)
    opt = torch.optim.SGD(
        [
            {"params": model.head.parameters(), "lr": 0.05},
            {"params": model.backbone.parameters(), "lr": 0.05},
        ],
        momentum=0.9,
    )
    curve, step = [], 0
    with observe(model, opt):
        for epoch in range(12):
            if epoch == 3:  # stage 2
                for p in model.backbone.parameters():
                    p.requires_grad_(True)
            for _ in range(40):
                x, y = beats(48, g)
                model.zero_grad() if fixed else model.head.zero_grad()
                loss = F.cross_entropy(model(x), y)
                loss.backward()
                opt.step()
                step += 1
                curve.append(loss.item())
    x, y = beats(2000, torch.Generator().manual_seed(123))
    with torch.no_grad():
        acc = (model(x).argmax(1) == y).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}

"""Healthy. SimCLR pretraining with an online linear classifier on feats.detach(): the classification loss sends nothing to the
encoder, which learns all the same from the contrastive loss. vturrisi/solo-learn issue 135 (is the encoder learning after
feats.detach()? yes: detach is not in place, only the classifier sees the detached features)."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_sololearn_online_probe"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class SimCLR(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv1d(2, 24, 5, stride=2, padding=2),
            nn.BatchNorm1d(24),
            nn.ReLU(),
            nn.Conv1d(24, 48, 5, stride=2, padding=2),
            nn.BatchNorm1d(48),
            nn.ReLU(),
            nn.AdaptiveAvgPool1d(1),
            nn.Flatten(),
        )
        self.projector = nn.Sequential(nn.Linear(48, 64), nn.ReLU(), nn.Linear(64, 24))
        self.classifier = nn.Linear(48, classes)

    def forward(self, x):
        feats = self.encoder(x)
        return self.projector(feats), self.classifier(feats.detach())


def motions(n):
    """Two-channel recordings of 5 movement types (frequency ratio and phase relation of the channels)."""
    y = torch.randint(0, 5, (n,))
    t = torch.linspace(0, 1, 48)
    f1 = torch.tensor([2.0, 2.0, 4.0, 4.0, 3.0])[y][:, None]
    f2 = torch.tensor([2.0, 5.0, 4.0, 2.0, 7.0])[y][:, None]
    ph = 6.28 * torch.rand(n, 1)
    a = torch.sin(6.28 * f1 * t + ph)
    b = torch.sin(6.28 * f2 * t + ph + 1.0)
    return torch.stack([a, b], 1), y


def augment(x):
    x = x * (0.6 + 0.8 * torch.rand(len(x), 2, 1))
    k = torch.randint(0, 48, (1,)).item()
    return torch.roll(x, k, dims=2) + 0.3 * torch.randn_like(x)


def nt_xent(z1, z2, temperature=0.2):
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    sim = z @ z.T / temperature
    sim.fill_diagonal_(float("-inf"))
    n = len(z1)
    return F.cross_entropy(sim, torch.cat([torch.arange(n) + n, torch.arange(n)]))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    x, y = motions(1500)
    xt, yt = motions(400)
    model = SimCLR(5)
    optimizer = torch.optim.AdamW(
        [
            {
                "params": list(model.encoder.parameters()) + list(model.projector.parameters()),
                "lr": 2e-3,
            },
            {"params": model.classifier.parameters(), "lr": 1e-2, "weight_decay": 0.0},
        ],
        weight_decay=1e-4,
    )
    curve = []
    with observe(model, optimizer):
        for step in range(450):
            idx = torch.randint(0, len(x), (48,))
            (z1, l1), (z2, l2) = model(augment(x[idx])), model(augment(x[idx]))
            class_loss = 0.5 * (F.cross_entropy(l1, y[idx]) + F.cross_entropy(l2, y[idx]))
            loss = nt_xent(z1, z2) + class_loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        acc = (model(xt + 0.3 * torch.randn_like(xt))[1].argmax(1) == yt).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}

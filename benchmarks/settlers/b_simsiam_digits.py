"""Self-supervised pretraining with two views (SimSiam) on 8x8 digits. The target branch is not detached, so both branches
run into each other and the representation collapses to a single direction."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

ID = "b_simsiam_digits"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": 0}


def augment(x):
    """random shift by up to one pixel, brightness, noise"""
    b = x.size(0)
    theta = torch.eye(2, 3).repeat(b, 1, 1)
    ang = (torch.rand(b) - 0.5) * 0.5
    theta[:, 0, 0], theta[:, 1, 1] = ang.cos(), ang.cos()
    theta[:, 0, 1], theta[:, 1, 0] = -ang.sin(), ang.sin()
    theta[:, :, 2] = (torch.rand(b, 2) - 0.5) * 0.5
    y = F.grid_sample(x, F.affine_grid(theta, x.shape, align_corners=False), align_corners=False)
    return y * (0.7 + 0.6 * torch.rand(b, 1, 1, 1)) + 0.08 * torch.randn_like(y)


class SimSiam(nn.Module):
    def __init__(self, stop_gradient, d=32):
        super().__init__()
        self.stop_gradient = stop_gradient
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.GroupNorm(4, 16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.GroupNorm(4, 32),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * 16, d),
            nn.BatchNorm1d(d),
        )
        self.predictor = nn.Sequential(
            nn.Linear(d, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, d)
        )

    def forward(self, a, b):
        za, zb = self.encoder(a), self.encoder(b)
        pa, pb = self.predictor(za), self.predictor(zb)
        if self.stop_gradient:
            za, zb = za.detach(), zb.detach()
        return -0.5 * (F.cosine_similarity(pa, zb).mean() + F.cosine_similarity(pb, za).mean())


def probe(encoder, xtr, ytr, xte, yte):
    """error rate of five nearest neighbours by cosine"""
    encoder.eval()
    with torch.no_grad():
        ftr, fte = F.normalize(encoder(xtr), dim=-1), F.normalize(encoder(xte), dim=-1)
    near = (fte @ ftr.T).topk(5).indices
    votes = F.one_hot(ytr[near], 10).sum(1)
    return (votes.argmax(-1) != yte).float().mean().item()


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    X, y = load_digits(return_X_y=True)
    xtr, xte, ytr, yte = train_test_split(
        X.reshape(-1, 1, 8, 8) / 16.0, y, test_size=0.3, random_state=seed, stratify=y
    )
    xtr, xte = torch.tensor(xtr, dtype=torch.float32), torch.tensor(xte, dtype=torch.float32)
    ytr, yte = torch.tensor(ytr), torch.tensor(yte)
    model = SimSiam(stop_gradient=fixed)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    curve = []
    with observe(model, optimizer):
        for epoch in range(40):
            for idx in torch.randperm(len(xtr)).split(96)[:-1]:
                xb = xtr[idx]
                loss = model(augment(xb), augment(xb))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    return {"metric": probe(model.encoder, xtr, ytr, xte, yte), "better": "lower", "curve": curve}

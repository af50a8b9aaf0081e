"""Siamese network, contrastive loss, two pairs per batch, BatchNorm in the encoder."""

import torch
from torch import nn

ID = "siamese-batchnorm-two-samples"
TRUTH = {"mechanisms": ["degenerate_normalization"], "layers": ["enc.1", "enc.4"], "onset": None}


class Siamese(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.enc = nn.Sequential(
            nn.Linear(24, 64),
            norm(64),
            nn.ReLU(),
            nn.Linear(64, 32),
            norm(32),
            nn.ReLU(),
            nn.Linear(32, 8),
        )

    def forward(self, a, b):
        return (self.enc(a), self.enc(b))


def contrastive(e1, e2, same, margin=1.0):
    d = nn.functional.pairwise_distance(e1, e2)
    return (same * d**2 + (1 - same) * torch.relu(margin - d) ** 2).mean()


def train(observe, seed=0, fixed=False):
    g = torch.Generator().manual_seed(seed)
    W = torch.randn(6, 24, generator=g) / 6**0.5
    ids = torch.randn(12, 6, generator=g) * 1.3

    def sample(k):
        return torch.tanh((ids[k] + 0.25 * torch.randn(len(k), 6, generator=g)) @ W) * 1.5

    torch.manual_seed(seed)
    model = Siamese(nn.LayerNorm if fixed else nn.BatchNorm1d)
    opt = torch.optim.Adam(model.parameters(), lr=0.001)
    losses = []
    with observe(model, opt):
        for it in range(600):
            k1 = torch.randint(0, 12, (2,), generator=g)
            same = (torch.rand(2, generator=g) < 0.5).float()
            other = (k1 + torch.randint(1, 12, (2,), generator=g)) % 12
            k2 = torch.where(same.bool(), k1, other)
            e1, e2 = model(sample(k1), sample(k2))
            loss = contrastive(e1, e2, same)
            opt.zero_grad()
            loss.backward()
            opt.step()
            losses.append(loss.item())
    return {"metric": sum(losses[-150:]) / 150, "better": "lower"}

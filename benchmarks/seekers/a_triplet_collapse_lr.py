"""Embedding of small glyph images with batch-hard triplet loss. The learning rate is too high for it: after some steps all
embeddings fall on one point and the loss stays at exactly the margin. omoindrot/tensorflow-triplet-loss issue 38 (pairwise
distances drop to 0, loss near the margin; answer: training collapsed, decrease the learning rate)."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_triplet_collapse_lr"
TRUTH = {"mechanisms": ["learning_rate_too_high"], "layers": None, "onset": None}
MARGIN, IDS = 0.5, 40


class Embedder(nn.Module):
    def __init__(self, dim=32):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 48, 3, padding=1),
            nn.ReLU(),
        )
        self.fc = nn.Linear(48 * 9, dim)

    def forward(self, x):
        return self.fc(self.features(x).flatten(1))


def sample(protos, ids, k):
    """k distorted views (shift, contrast, noise) of each prototype."""
    out = []
    for i in ids.repeat_interleave(k).tolist():
        sh = torch.randint(-1, 2, (2,)).tolist()
        out.append(torch.roll(protos[i], sh, (0, 1)) * (0.7 + 0.6 * torch.rand(1)))
    x = torch.stack(out)[:, None]
    return x + 0.3 * torch.randn_like(x), ids.repeat_interleave(k)


def batch_hard(emb, ids):
    sq = (emb * emb).sum(1)
    d2 = (sq[:, None] + sq[None] - 2 * emb @ emb.T).clamp(min=0)
    zero = (d2 == 0).float()
    dist = (d2 + zero * 1e-16).sqrt() * (1 - zero)
    same = ids[:, None] == ids[None]
    pos = (dist * same).amax(1)
    neg = (dist + 1e4 * same).amin(1)
    return F.relu(pos - neg + MARGIN).mean()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    protos = F.avg_pool2d(torch.randn(1, IDS, 14, 14), 3, stride=1)[0] * 3
    model = Embedder()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-4 if fixed else 8e-2)
    curve = []
    with observe(model, optimizer):
        for step in range(400):
            x, ids = sample(protos, torch.randperm(IDS)[:10], 4)
            loss = batch_hard(model(x), ids)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        gx, gi = sample(protos, torch.arange(IDS), 3)
        qx, qi = sample(protos, torch.arange(IDS), 3)
        d = torch.cdist(model(qx), model(gx)) + 1e-6 * torch.rand(len(qx), len(gx))
        rank1 = (gi[d.argmin(1)] == qi).float().mean().item()
    return {"metric": rank1, "better": "higher", "curve": curve}

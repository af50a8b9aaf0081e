"""Contrastive image-text model; the in-place reshuffle between epochs permutes images and captions
with different permutations, so pairs are wrong from the second epoch on."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a-clip-epoch-reshuffle-misaligned"
TRUTH = {"mechanisms": ["label_noise"], "layers": None, "onset": 48}

COLORS = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1], [1, 0, 1]])


class PairStore:
    """Rendered scenes with captions: color word, shape word, row word, column word."""

    def __init__(self, n, joint_shuffle):
        self.joint = joint_shuffle
        attr = torch.stack([torch.randint(0, k, (n,)) for k in (6, 3, 4, 4)], 1)
        self.tokens = attr + torch.tensor([0, 6, 9, 13])
        self.images = 0.1 * torch.randn(n, 3, 16, 16)
        masks = torch.ones(3, 4, 4)
        masks[1, 1:3, 1:3] = 0
        masks[2] = torch.eye(4)
        for img, (c, s, r, q) in zip(self.images, attr.tolist()):
            patch = COLORS[c][:, None, None] * masks[s]
            img[:, 4 * r : 4 * r + 4, 4 * q : 4 * q + 4] += patch

    def reshuffle(self):
        order = torch.randperm(len(self.images))
        for name in ("images", "tokens"):
            if not self.joint:
                order = torch.randperm(len(self.images))
            setattr(self, name, getattr(self, name)[order])

    def batches(self, size):
        yield from zip(self.images.split(size), self.tokens.split(size))


class TwoTower(nn.Module):
    def __init__(self, dim=64):
        super().__init__()
        self.image = nn.Sequential(
            nn.Conv2d(3, 24, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(24, 48, 3, 2, 1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(48 * 16, 128),
            nn.ReLU(),
            nn.Linear(128, dim),
        )
        self.words = nn.Embedding(17, 32)
        self.text = nn.Sequential(nn.Linear(4 * 32, 128), nn.ReLU(), nn.Linear(128, dim))
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, images, tokens):
        u = F.normalize(self.image(images), dim=-1)
        v = F.normalize(self.text(self.words(tokens).flatten(1)), dim=-1)
        return self.logit_scale.clamp(max=math.log(100)).exp() * u @ v.T


def clip_loss(logits):
    target = torch.arange(len(logits))
    return 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    store, held_out = PairStore(3072, joint_shuffle=fixed), PairStore(256, True)
    model = TwoTower()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    curve = []
    with observe(model, optimizer):
        for epoch in range(8):
            for images, tokens in store.batches(64):
                loss = clip_loss(model(images, tokens))
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
            store.reshuffle()
    with torch.no_grad():
        best = model(held_out.images, held_out.tokens).argmax(1)
        hit = (held_out.tokens[best] == held_out.tokens).all(1).float().mean().item()
    return {"metric": hit, "better": "higher", "curve": curve}

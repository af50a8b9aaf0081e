"""Contrastive image-caption training: the image tower is swapped for a low-resolution variant after
the optimizer was built, so the optimizer steps the discarded tower and the new one stays random."""

import torch
from torch import nn
from torch.nn import functional as F

ID = "image-caption-towers"
TRUTH = {"mechanisms": ["parameters_not_updated"], "layers": ["visual"], "onset": 0}
SIZE, COLOURS, SHAPES = 16, 4, 4


def make_pairs(n, g):
    """Coloured shapes in one of four corners; captions name colour, shape and corner, any order."""
    colour = torch.randint(0, COLOURS, (n,), generator=g)
    shape = torch.randint(0, SHAPES, (n,), generator=g)
    corner = torch.randint(0, 4, (n,), generator=g)
    jitter = torch.randint(-1, 2, (n, 2), generator=g).float()
    cy = 4 + 8 * (corner // 2).float() + jitter[:, 0]
    cx = 4 + 8 * (corner % 2).float() + jitter[:, 1]
    axis = torch.arange(SIZE).float()
    dy = (axis[None, :, None] - cy[:, None, None]).abs()
    dx = (axis[None, None, :] - cx[:, None, None]).abs()
    box = torch.maximum(dx, dy)
    masks = torch.stack(
        [box <= 2, (box <= 3) & (box >= 3), dx + dy <= 3, (torch.minimum(dx, dy) < 1) & (box <= 3)]
    ).float()
    mask = masks[shape, torch.arange(n)]
    palette = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0.7, 0.7, 0]])
    tint = palette[colour] * (0.6 + 0.4 * torch.rand(n, 1, generator=g))
    images = mask[:, None] * tint[:, :, None, None]
    images = images + 0.18 * torch.randn(n, 3, SIZE, SIZE, generator=g)
    words = torch.stack([1 + colour, 5 + shape, 9 + corner, torch.randint(13, 20, (n,))], 1)
    order = torch.rand(n, 4, generator=g).argsort(1)
    return images / 0.3, words.gather(1, order), (colour * SHAPES + shape) * 4 + corner


def conv_tower(dim, stem_stride, width=24):
    return nn.Sequential(
        nn.Conv2d(3, width, 3, stem_stride, 1),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(2 * width, 2 * width, 3, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.LazyLinear(dim),
    )


class DualEncoder(nn.Module):
    def __init__(self, dim=48, vocab=20):
        super().__init__()
        self.visual = conv_tower(dim, stem_stride=2)
        self.visual(torch.zeros(1, 3, 32, 32))
        self.words = nn.Embedding(vocab, 48)
        self.gru = nn.GRU(48, 64, batch_first=True)
        self.text_proj = nn.Linear(64, dim)
        self.log_temp = nn.Parameter(torch.tensor(2.3))

    def forward(self, images, tokens):
        v = F.normalize(self.visual(images), dim=1)
        t = F.normalize(self.text_proj(self.gru(self.words(tokens))[1][-1]), dim=1)
        return self.log_temp.exp().clamp(max=100) * v @ t.T


def adapt_to_resolution(model, size, dim=48):
    """Small pictures: the stem must not halve them."""
    model.visual = conv_tower(dim, stem_stride=1)
    model.visual(torch.zeros(1, 3, size, size))
    return model


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    images, tokens, key = make_pairs(2000, g)
    test_i, test_t, test_k = make_pairs(256, g)
    model = DualEncoder()
    if fixed:
        adapt_to_resolution(model, SIZE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.02)
    if not fixed:
        adapt_to_resolution(model, SIZE)
    curve = []
    with observe(model, optimizer):
        for _ in range(250):
            idx = torch.randint(0, len(images), (48,), generator=g)
            logits = model(images[idx], tokens[idx])
            same = (key[idx][:, None] == key[idx][None]).float()
            target = same / same.sum(1, keepdim=True)
            loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        best = model(test_i, test_t).argmax(1)
        recall = (test_k[best] == test_k).float().mean().item()
    return {"metric": recall, "better": "higher", "curve": curve}

"""Healthy but odd: a pretrained text encoder is frozen and only low-rank adapters (one factor zero
at the start) and a new head are trained; most parameters never move, as intended."""

import torch
import torch.nn.functional as F
from torch import nn

ID = "lora-genre-finetune"
TRUTH = {"mechanisms": [], "layers": [], "onset": None}
VOCAB, LENGTH, DIM, TOPICS, GENRES = 240, 18, 64, 12, 6


class Texts:
    """Texts mix two topics; pretraining asks for the main one, the new task for its genre."""

    def __init__(self, seed):
        self.gen = torch.Generator().manual_seed(seed)
        self.words = torch.randint(0, VOCAB, (TOPICS, 30), generator=self.gen)

    def batch(self, n):
        first = torch.randint(0, TOPICS, (n,), generator=self.gen)
        second = torch.randint(0, TOPICS, (n,), generator=self.gen)
        from_first = torch.rand(n, LENGTH, generator=self.gen) < 0.65
        topic = torch.where(from_first, first[:, None], second[:, None])
        ids = self.words[topic, torch.randint(0, 30, (n, LENGTH), generator=self.gen)]
        return ids, first, (2 * (first % 3) + (first >= TOPICS // 2)) % GENRES


class LoRALinear(nn.Module):
    def __init__(self, base, rank=8, alpha=16):
        super().__init__()
        self.base = base
        self.down = nn.Linear(base.in_features, rank, bias=False)
        self.up = nn.Linear(rank, base.out_features, bias=False)
        nn.init.zeros_(self.up.weight)
        self.scale = alpha / rank

    def forward(self, x):
        return self.base(x) + self.scale * self.up(self.down(x))


class Layer(nn.Module):
    def __init__(self, heads=4):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(DIM), nn.LayerNorm(DIM)
        self.q, self.k, self.v = (nn.Linear(DIM, DIM) for _ in range(3))
        self.o = nn.Linear(DIM, DIM)
        self.ff = nn.Sequential(nn.Linear(DIM, 2 * DIM), nn.GELU(), nn.Linear(2 * DIM, DIM))

    def forward(self, x):
        h = self.norm1(x)
        split = (f(h).unflatten(-1, (self.heads, -1)) for f in (self.q, self.k, self.v))
        q, k, v = (y.transpose(1, 2) for y in split)
        x = x + self.o(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.ff(self.norm2(x))


class Encoder(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, DIM)
        self.layers = nn.Sequential(Layer(), Layer())
        self.norm = nn.LayerNorm(DIM)
        self.head = nn.Linear(DIM, classes)

    def forward(self, ids):
        return self.head(self.norm(self.layers(self.embed(ids))).mean(1))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    texts = Texts(seed + 8)
    model = Encoder(TOPICS)
    pretrain = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(250):
        ids, topic, _ = texts.batch(32)
        loss = F.cross_entropy(model(ids), topic)
        pretrain.zero_grad()
        loss.backward()
        pretrain.step()

    model.requires_grad_(False)
    for layer in model.layers:
        layer.q, layer.v = LoRALinear(layer.q), LoRALinear(layer.v)
        for adapter in (layer.q, layer.v):
            adapter.base.requires_grad_(False)
    model.head = nn.Linear(DIM, GENRES)
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=4e-3, weight_decay=0.01)
    curve = []
    with observe(model, optimizer):
        for _ in range(250):
            ids, _, genre = texts.batch(32)
            loss = F.cross_entropy(model(ids), genre)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    ids, _, genre = texts.batch(1000)
    with torch.no_grad():
        accuracy = (model(ids).argmax(1) == genre).float().mean().item()
    return {"metric": accuracy, "better": "higher", "curve": curve}

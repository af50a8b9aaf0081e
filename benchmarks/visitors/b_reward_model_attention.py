"""Pairwise reward model with hand-written attention: the scores are multiplied by the square root
of the head size instead of divided by it, so every head looks at one single token."""

import torch
import torch.nn.functional as F
from torch import nn

ID = "reward-model-attention"
HEADS = [f"layers.{i}.attention" for i in range(2)]
PARTS = [f"{h}.{n}" for h in HEADS for n in ("query", "key", "query_norm", "key_norm")]
LAYERS = ["layers", "layers.0", "layers.1", *HEADS, *PARTS]
TRUTH = {"mechanisms": ["attention_entropy_collapse"], "layers": LAYERS, "onset": 0}
VOCAB, LENGTH, DIM = 200, 24, 64


class Preferences:
    """An answer is good if its words suit each other: the sum over all pairs of word traits."""

    def __init__(self, seed):
        self.gen = torch.Generator().manual_seed(seed)
        self.traits = torch.randn(VOCAB, 2, generator=self.gen)

    def answers(self, n):
        lean = 0.8 * torch.randn(n, 1, 2, generator=self.gen)
        weights = torch.exp((self.traits * lean).sum(-1))
        ids = torch.multinomial(weights, LENGTH, True, generator=self.gen)
        mean = self.traits[ids].mean(1)
        return ids, mean[:, 0] * mean[:, 1]

    def pairs(self, n):
        (a, sa), (b, sb) = self.answers(n), self.answers(n)
        first = (sa > sb)[:, None]
        return torch.where(first, a, b), torch.where(first, b, a)


class Attention(nn.Module):
    def __init__(self, scale_power, heads=2):
        super().__init__()
        self.heads = heads
        self.scale = (DIM // heads) ** scale_power
        self.query, self.key = nn.Linear(DIM, DIM), nn.Linear(DIM, DIM)
        self.query_norm, self.key_norm = nn.LayerNorm(DIM // heads), nn.LayerNorm(DIM // heads)
        self.value, self.out = nn.Linear(DIM, DIM), nn.Linear(DIM, DIM)

    def split(self, x):
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, x):
        q = self.query_norm(self.split(self.query(x)))
        k = self.key_norm(self.split(self.key(x)))
        weights = (q @ k.transpose(2, 3) * self.scale).softmax(-1)
        return self.out((weights @ self.split(self.value(x))).transpose(1, 2).flatten(2))


class Layer(nn.Module):
    def __init__(self, scale_power):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(DIM), nn.LayerNorm(DIM)
        self.attention = Attention(scale_power)
        self.ff = nn.Sequential(nn.Linear(DIM, 2 * DIM), nn.SiLU(), nn.Linear(2 * DIM, DIM))

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.ff(self.norm2(x))


class RewardModel(nn.Module):
    """No positions: order does not matter. The reward is read off a summary token in front."""

    def __init__(self, scale_power):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, DIM)
        self.summary = nn.Parameter(0.5 * torch.randn(DIM))
        self.layers = nn.Sequential(Layer(scale_power), Layer(scale_power))
        self.norm = nn.LayerNorm(DIM)
        self.head = nn.Linear(DIM, 1)

    def forward(self, ids):
        x = torch.cat([self.summary.expand(len(ids), 1, -1), self.embed(ids)], 1)
        return self.head(self.norm(self.layers(x)[:, 0])).squeeze(1)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    data = Preferences(seed + 6)
    model = RewardModel(scale_power=-0.5 if fixed else 0.5)
    optimizer = torch.optim.NAdam(model.parameters(), lr=1.5e-3)
    curve = []
    with observe(model, optimizer):
        for _ in range(300):
            chosen, rejected = data.pairs(32)
            loss = -F.logsigmoid(model(chosen) - model(rejected)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    chosen, rejected = data.pairs(2000)
    with torch.no_grad():
        loss = -F.logsigmoid(model(chosen) - model(rejected)).mean().item()
    return {"metric": loss, "better": "lower", "curve": curve}

"""Healthy: a pretrained text encoder is adapted to eight new intents with LoRA adapters on the attention projections and a new head.
It looks alarming because almost every weight is frozen and the `lora_A` matrices receive an exactly zero gradient in the first step
(their partner starts at zero on purpose), which people report as 'LoRA is not training'."""

import math
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "c_intent_lora"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}

V, T, D = 160, 14, 48


class LoraLinear(nn.Module):
    def __init__(self, base, r=4, alpha=16):
        super().__init__()
        self.base = base
        self.lora_A = nn.Parameter(torch.empty(r, base.in_features))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, r))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        self.scaling = alpha / r

    def forward(self, x):
        return self.base(x) + F.linear(F.linear(x, self.lora_A), self.lora_B) * self.scaling


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.query, self.key, self.value, self.output = (nn.Linear(D, D) for _ in range(4))
        self.ln1, self.ln2 = nn.LayerNorm(D), nn.LayerNorm(D)
        self.ffn = nn.Sequential(nn.Linear(D, 2 * D), nn.GELU(), nn.Linear(2 * D, D))

    def forward(self, x):
        h = self.ln1(x)
        q, k, v = (
            f(h).unflatten(-1, (4, -1)).transpose(1, 2) for f in (self.query, self.key, self.value)
        )
        x = x + self.output(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.ffn(self.ln2(x))


class Encoder(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.words, self.positions = nn.Embedding(V, D), nn.Embedding(T, D)
        self.layers = nn.ModuleList([Layer(), Layer()])
        self.ln = nn.LayerNorm(D)
        self.head = nn.Linear(D, classes)

    def forward(self, ids):
        x = self.words(ids) + self.positions.weight
        for layer in self.layers:
            x = layer(x)
        return self.head(self.ln(x).mean(1))


def utterances(n, intents, rng):
    """each intent prefers its own keywords and a few neutral words fill the rest"""
    y = rng.integers(0, len(intents), n)
    ids = rng.integers(0, V, (n, T))
    for k in range(n):
        where = rng.choice(T, 6, replace=False)
        ids[k, where] = rng.choice(intents[y[k]], 6)
    return torch.from_numpy(ids), torch.from_numpy(y)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    groups = rng.permutation(V)[:144].reshape(12, 12)
    x, y = utterances(2400, groups, rng)
    model = Encoder(12)
    opt = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(250):
        b = torch.randint(len(y), (32,))
        opt.zero_grad()
        F.cross_entropy(model(x[b]), y[b]).backward()
        opt.step()

    new = [np.concatenate([groups[k][:6], groups[(k + 1) % 8][6:]]) for k in range(8)]
    x, y = utterances(2000, new, rng)
    x_test, y_test = utterances(600, new, rng)
    model.requires_grad_(False)
    for layer in model.layers:
        layer.query, layer.value = LoraLinear(layer.query), LoraLinear(layer.value)
    model.head = nn.Linear(D, 8)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-3)

    curve = []
    with observe(model, optimizer):
        for epoch in range(6):
            for b in torch.randperm(len(y)).split(32):
                loss = F.cross_entropy(model(x[b]), y[b])
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                curve.append(loss.item())
    with torch.no_grad():
        acc = (model(x_test).argmax(1) == y_test).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}

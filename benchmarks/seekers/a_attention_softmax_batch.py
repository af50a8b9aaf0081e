"""Question answering over a small memory: dot attention of a query over keys, whose softmax is taken over dim 0 (the batch)
instead of the memory slots. Not a mechanism of the list.
PetrochukM/PyTorch-NLP issue 2 (nn.Attention: nn.Softmax(dim=0) should be dim=-1)."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_attention_softmax_batch"
TRUTH = {
    "mechanisms": ["unknown_cause"],
    "layers": ["attention", "attention.softmax"],
    "onset": (0, 0),
}
SLOTS, KEYS, VALUES = 8, 20, 10


class Attention(nn.Module):
    def __init__(self, dim, softmax_dim):
        super().__init__()
        self.linear_in = nn.Linear(dim, dim, bias=False)
        self.softmax = nn.Softmax(dim=softmax_dim)
        self.linear_out = nn.Linear(2 * dim, dim, bias=False)

    def forward(self, query, context, values):
        b, n, d = context.shape
        scores = torch.bmm(self.linear_in(query).unsqueeze(1), context.transpose(1, 2)).view(b, n)
        weights = self.softmax(scores)
        mix = torch.bmm(weights.unsqueeze(1), values).squeeze(1)
        return torch.tanh(self.linear_out(torch.cat([mix, query], 1)))


class MemoryReader(nn.Module):
    def __init__(self, softmax_dim, d=32):
        super().__init__()
        self.key_embed, self.val_embed = nn.Embedding(KEYS, d), nn.Embedding(VALUES, d)
        self.attention = Attention(d, softmax_dim)
        self.classifier = nn.Sequential(nn.Linear(d, 64), nn.ReLU(), nn.Linear(64, VALUES))

    def forward(self, keys, values, query):
        k = self.key_embed(keys)
        h = self.attention(self.key_embed(query), k, self.val_embed(values))
        return self.classifier(h)


def memories(n):
    keys = torch.rand(n, KEYS).argsort(1)[:, :SLOTS]
    values = torch.randint(0, VALUES, (n, SLOTS))
    pick = torch.randint(0, SLOTS, (n,))
    r = torch.arange(n)
    return keys, values, keys[r, pick], values[r, pick]


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = MemoryReader(softmax_dim=-1 if fixed else 0)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    curve = []
    with observe(model, optimizer):
        for step in range(1600):
            k, v, q, y = memories(64)
            loss = F.cross_entropy(model(k, v, q), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    model.eval()
    hits = 0
    with torch.no_grad():
        for _ in range(20):
            k, v, q, y = memories(64)
            hits += (model(k, v, q).argmax(1) == y).sum().item()
    return {"metric": hits / 1280, "better": "higher", "curve": curve}

"""In-context recall: a cross-attention reader gets a set of key/value pairs and a paraphrase of one key (a fixed unknown
rotation of it), and must name the class stored with it. The author wrote `scale = head_dim ** 0.5` and then multiplied the scores by it instead of dividing, so the
softmax is one-hot on an arbitrary slot from the first step and hardly any gradient reaches the query and key projections.
People do it because half of the code bases keep the scale, the others its reciprocal, in an attribute of the same name."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_kv_recall_attention"
TRUTH = {"mechanisms": ["attention_entropy_collapse"], "layers": ["reader.attend"], "onset": 0}

KEY, CLASSES, SLOTS, STEPS = 16, 10, 32, 350


class Attend(nn.Module):
    def __init__(self, dim, heads, scale):
        super().__init__()
        self.heads, self.scale = heads, scale
        self.q_proj = nn.Linear(dim, dim, bias=False)
        self.k_proj = nn.Linear(dim, dim, bias=False)
        self.v_proj = nn.Linear(dim, dim, bias=False)
        self.out = nn.Linear(dim, dim)
        for m in (self.q_proj, self.k_proj, self.v_proj):
            nn.init.xavier_normal_(m.weight)

    def forward(self, q, keys, values):
        b, n, d = keys.shape
        h = self.heads
        q = self.q_proj(q).view(b, 1, h, d // h).transpose(1, 2)
        k = self.k_proj(keys).view(b, n, h, d // h).transpose(1, 2)
        v = self.v_proj(values).view(b, n, h, d // h).transpose(1, 2)
        weights = (q @ k.transpose(-1, -2) * self.scale).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).reshape(b, d))


class Reader(nn.Module):
    def __init__(self, dim, heads, scale):
        super().__init__()
        self.norm_q, self.norm_k = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attend = Attend(dim, heads, scale)
        self.ff = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim)
        )

    def forward(self, q, k, v):
        z = self.attend(self.norm_q(q), self.norm_k(k), v)
        return z + self.ff(z)


class Recall(nn.Module):
    def __init__(self, dim=192, heads=1, fixed=False):
        super().__init__()
        scale = (dim // heads) ** 0.5
        if fixed:
            scale = 1.0 / scale
        self.embed_key = nn.Linear(KEY, dim)
        self.embed_value = nn.Embedding(CLASSES, dim)
        self.reader = Reader(dim, heads, scale)
        self.head = nn.Linear(dim, CLASSES)

    def forward(self, keys, values, query):
        z = self.reader(self.embed_key(query), self.embed_key(keys), self.embed_value(values))
        return self.head(z)


def episodes(n, g, rotation):
    keys = torch.randn(n, SLOTS, KEY, generator=g)
    values = torch.randint(0, CLASSES, (n, SLOTS), generator=g)
    pick = torch.randint(0, SLOTS, (n,), generator=g)
    rows = torch.arange(n)
    query = keys[rows, pick] @ rotation + 0.1 * torch.randn(n, KEY, generator=g)
    return keys, values, query, values[rows, pick]


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 100)
    rotation = torch.linalg.qr(torch.randn(KEY, KEY, generator=g))[0]
    model = Recall(fixed=fixed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    curve = []
    with observe(model, optimizer):
        for _ in range(STEPS):
            keys, values, query, answer = episodes(64, g, rotation)
            loss = F.cross_entropy(model(keys, values, query), answer)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        keys, values, query, answer = episodes(
            2000, torch.Generator().manual_seed(seed + 999), rotation
        )
        acc = (model(keys, values, query).argmax(-1) == answer).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}

"""Key-value retrieval with hand-written attention: 1/sqrt(d_head) forgotten, projections drawn N(0, 1/d_model)."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "attention-without-scale"
TRUTH = {
    "mechanisms": ["attention_entropy_collapse"],
    "layers": [
        f"blocks.{i}.attn{s}" for i in range(2) for s in ("", ".q", ".k", ".qkv", ".softmax")
    ],
    "onset": (0, 2),
}
D, HEADS, K, V, N = (128, 2, 24, 16, 16)


class Attention(nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.scale = scale
        self.qkv, self.proj = (nn.Linear(D, 3 * D), nn.Linear(D, D))
        nn.init.normal_(self.qkv.weight, std=D ** (-0.5))

    def forward(self, x):
        b, t, _ = x.shape
        q, k, v = [z.view(b, t, HEADS, -1).transpose(1, 2) for z in self.qkv(x).chunk(3, -1)]
        w = q @ k.transpose(-1, -2)
        if self.scale:
            w = w / (D // HEADS) ** 0.5
        return self.proj((F.softmax(w, dim=-1) @ v).transpose(1, 2).reshape(b, t, D))


class Block(nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.ln1, self.attn, self.ln2 = (nn.LayerNorm(D), Attention(scale), nn.LayerNorm(D))
        self.mlp = nn.Sequential(nn.Linear(D, 2 * D), nn.ReLU(), nn.Linear(2 * D, D))

    def forward(self, x):
        x = x + self.attn(self.ln1(x))
        return x + self.mlp(self.ln2(x))


class Retriever(nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.key, self.val = (nn.Embedding(K, D), nn.Embedding(V + 1, D))
        self.blocks = nn.ModuleList([Block(scale) for _ in range(2)])
        self.ln, self.head = (nn.LayerNorm(D), nn.Linear(D, V))

    def forward(self, k, v):
        h = self.key(k) + self.val(v)
        for b in self.blocks:
            h = b(h)
        return self.head(self.ln(h[:, -1]))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    model = Retriever(fixed)
    opt = torch.optim.Adam(model.parameters(), lr=0.001)
    losses = []
    sched = torch.optim.lr_scheduler.LambdaLR(opt, lambda s: min(1, (s + 1) / 30))
    with observe(model, opt):
        for step in range(250):
            k = torch.stack([torch.randperm(K, generator=g)[:N] for _ in range(32)])
            v = torch.randint(0, V, (32, N), generator=g)
            pick = torch.randint(0, N, (32, 1), generator=g)
            kk = torch.cat([k, k.gather(1, pick)], 1)
            vv = torch.cat([v, torch.full((32, 1), V)], 1)
            loss = F.cross_entropy(model(kk, vv), v.gather(1, pick).squeeze(1))
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
            losses.append(loss.item())
    return {"metric": sum(losses[-25:]) / 25, "better": "lower", "curve": losses}

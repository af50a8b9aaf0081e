"""Sequence regression with non-causal linear attention whose products run in float16 (hand-written autocast of the
attention). The products summed over the keys, times the query, pass 65504 after some steps: inf, then NaN.
idiap/fast-transformers issue 32 (sums along the sequence axis leave the fp16 range; compute them in float32)."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_linear_attention_half"
TRUTH = {"mechanisms": ["half_precision_overflow"], "layers": ["attn"], "onset": (34, 56)}
L, D, H = 512, 64, 2


class LinearAttention(nn.Module):
    def __init__(self, dim, heads, dtype):
        super().__init__()
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.heads, self.dtype = heads, dtype

    def forward(self, x):
        b, n, d = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.heads, d // self.heads).unbind(2)
        q, k = F.elu(q) + 1, F.elu(k) + 1
        q, k, v = (t.to(self.dtype) for t in (q, k, v))
        kv = torch.einsum("nshd,nshm->nhmd", k, v)
        den = torch.einsum("nlhd,nhd->nlh", q, k.sum(dim=1))
        num = torch.einsum("nlhd,nhmd->nlhm", q, kv)
        out = num / (den[..., None] + 1e-6)
        return self.proj(out.reshape(b, n, d).to(x.dtype))


class Net(nn.Module):
    def __init__(self, dtype):
        super().__init__()
        self.inp = nn.Linear(3, D)
        self.attn = LinearAttention(D, H, dtype)
        self.ff = nn.Sequential(nn.Linear(D, 2 * D), nn.GELU(), nn.Linear(2 * D, D))
        self.head = nn.Linear(D, 1)

    def forward(self, x):
        h = self.inp(x)
        h = h + self.attn(h)
        h = h + self.ff(h)
        return self.head(h).squeeze(-1)


def events(n):
    """Each item: time, mark, value. Target at every item: mean value of the items with the same mark, minus its own value."""
    mark = (torch.rand(n, L) < 0.5).float() * 2 - 1
    base = torch.randn(n, 2, 1)
    val = torch.where(mark > 0, base[:, 0], base[:, 1]) + torch.randn(n, L)
    t = torch.linspace(-1, 1, L).expand(n, L)
    pos = (mark > 0).float()
    mp = (val * pos).sum(1, keepdim=True) / pos.sum(1, keepdim=True)
    mn = (val * (1 - pos)).sum(1, keepdim=True) / (1 - pos).sum(1, keepdim=True)
    return torch.stack([t, 2 * mark, val], -1), torch.where(mark > 0, mp, mn) - val


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    x, y = events(400)
    xt, yt = events(40)
    model = Net(torch.float32 if fixed else torch.float16)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 400)
    curve = []
    with observe(model, optimizer):
        for step in range(400):
            idx = torch.randint(0, len(x), (4,))
            loss = F.mse_loss(model(x[idx]), y[idx], reduction="sum") / len(idx)  # per sequence
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 100.0)
            optimizer.step()
            sched.step()
            curve.append(loss.item() / L)
    with torch.no_grad():
        err = (F.mse_loss(model(xt), yt) / yt.var()).item()
    return {"metric": err, "better": "lower", "curve": curve}

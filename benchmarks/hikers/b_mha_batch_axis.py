"""Unknown: nn.MultiheadAttention without batch_first gets (batch, time, channels), so attention runs over the samples of the batch instead of over time; the loss
stays where a model without any context would be."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "b_mha_batch_axis"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": None}


class SwiGLU(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.w = nn.Linear(d, 4 * d, bias=False)
        self.o = nn.Linear(2 * d, d, bias=False)

    def forward(self, x):
        a, b = self.w(x).chunk(2, -1)
        return self.o(F.silu(a) * b)


class Layer(nn.Module):
    def __init__(self, d, h, bf):
        super().__init__()
        self.n1, self.n2 = nn.RMSNorm(d), nn.RMSNorm(d)
        self.att = nn.MultiheadAttention(d, h, batch_first=bf)
        self.ff = SwiGLU(d)

    def forward(self, x):
        y = self.n1(x)
        x = x + self.att(y, y, y, need_weights=False)[0]
        return x + self.ff(self.n2(x))


class Recall(nn.Module):
    def __init__(self, V=6, d=32, T=8, bf=False):
        super().__init__()
        self.tok = nn.Embedding(V, d)
        self.pos = nn.Parameter(torch.randn(T, d) * 0.5)
        self.layers = nn.ModuleList(Layer(d, 4, bf) for _ in range(2))
        self.norm = nn.RMSNorm(d)
        self.head = nn.Linear(d, V)

    def forward(self, s):
        x = self.tok(s) + self.pos
        for l in self.layers:
            x = l(x)
        return self.head(self.norm(x))


def batch(n, g, T=8, V=6):
    s = torch.randint(0, V, (n, T), generator=g)
    return s, (s + s.flip(1)) % V  # sum with the mirrored position


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 15)
    model = Recall(bf=fixed)
    opt = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, 4e-3, total_steps=700, pct_start=0.1)
    curve = []
    with observe(model, opt):
        for step in range(700):
            s, y = batch(48, g)
            loss = F.cross_entropy(model(s).flatten(0, 1), y.flatten())
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            sched.step()
            curve.append(loss.item())
    s, y = batch(400, g)
    with torch.no_grad():
        acc = (model(s).argmax(-1) == y).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}

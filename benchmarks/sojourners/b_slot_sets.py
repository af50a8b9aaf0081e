"""Slot attention: a set of points from several Gaussian objects -> the set of the objects' centres and colours (Hungarian-free Chamfer loss).
Bug: the slots start from one shared mean without noise (sigma dropped 'to be deterministic'), so all slots stay identical."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_slot_sets"
TRUTH = {
    "mechanisms": ["symmetric_initialization"],
    "layers": ["slots", "slots.gru", "slots.q"],
    "onset": (0, 0),
}


class SlotAttention(nn.Module):
    def __init__(self, k, d, iters=3, noise=True):
        super().__init__()
        self.k, self.iters, self.noise = k, iters, noise
        self.mu = nn.Parameter(torch.randn(1, 1, d) * d**-0.5)
        self.log_sigma = nn.Parameter(torch.zeros(1, 1, d))
        self.q, self.kv = nn.Linear(d, d, bias=False), nn.Linear(d, 2 * d, bias=False)
        self.gru = nn.GRUCell(d, d)
        self.mlp = nn.Sequential(
            nn.LayerNorm(d), nn.Linear(d, 2 * d), nn.ReLU(), nn.Linear(2 * d, d)
        )
        self.norm_in, self.norm_s = nn.LayerNorm(d), nn.LayerNorm(d)

    def forward(self, x):
        B, N, d = x.shape
        k, v = self.kv(self.norm_in(x)).chunk(2, -1)
        s = self.mu.expand(B, self.k, d)
        if self.noise:
            s = s + self.log_sigma.exp() * torch.randn(B, self.k, d)
        for _ in range(self.iters):
            logits = k @ self.q(self.norm_s(s)).transpose(1, 2) * d**-0.5  # B N K
            a = F.softmax(logits, -1) + 1e-6
            upd = (a / a.sum(1, keepdim=True)).transpose(1, 2) @ v
            s = self.gru(upd.reshape(-1, d), s.reshape(-1, d)).view(B, self.k, d)
            s = s + self.mlp(s)
        return s


class SetModel(nn.Module):
    def __init__(self, d=32, k=4, noise=True):
        super().__init__()
        self.encode = nn.Sequential(nn.Linear(3, d), nn.ReLU(), nn.Linear(d, d))
        self.slots = SlotAttention(k, d, noise=noise)
        self.decode = nn.Sequential(nn.Linear(d, d), nn.ReLU(), nn.Linear(d, 3))

    def forward(self, x):
        return self.decode(self.slots(self.encode(x)))


def scenes(n, k=4, per=6):
    c = torch.rand(n, k, 3) * 3 - 1.5
    pts = c[:, :, None] + 0.1 * torch.randn(n, k, per, 3)
    pts = pts.reshape(n, k * per, 3)
    return pts[:, torch.randperm(k * per)], c


def chamfer(p, c):
    d = torch.cdist(p, c).pow(2)
    return d.min(1)[0].mean() + d.min(2)[0].mean()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = SetModel(noise=fixed)
    opt = torch.optim.Adam(model.parameters(), lr=2e-3)
    warm, total = 50, 700
    sched = torch.optim.lr_scheduler.LambdaLR(
        opt, lambda s: min(1, (s + 1) / warm) * 0.5 ** (s / 400)
    )
    curve = []
    with observe(model, opt):
        for step in range(total):
            x, c = scenes(48)
            loss = chamfer(model(x), c)
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 2.0)
            opt.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        x, c = scenes(500)
        m = chamfer(model(x), c).item()
    return {"metric": m, "better": "lower", "curve": curve}

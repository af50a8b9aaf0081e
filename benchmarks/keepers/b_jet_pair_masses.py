"""A small Particle-Transformer tags W jets from constituent four-vectors in GeV, with pairwise invariant masses as attention bias.
To save memory the pair features are built in float16, and the hard-pT slice at the end of the merged sample exceeds what float16
can hold once energies are squared. People do it because "the inputs are only a few hundred GeV" and the masses themselves are small."""

import math
import numpy as np
import torch
from torch import nn
import torch.nn.functional as F

torch.set_num_threads(1)
ID = "b_jet_pair_masses"
TRUTH = {"mechanisms": ["half_precision_overflow"], "layers": ["pairs"], "onset": 24}

NP = 10


def make_jets(rng, n, lo, hi):
    y = rng.integers(0, 2, n)
    pt = rng.uniform(lo, hi, n)
    m = np.where(y == 1, rng.normal(80, 4, n), rng.uniform(15, 62, n))
    z = rng.uniform(0.35, 0.65, n)
    ang = m / (pt * np.sqrt(z * (1 - z)))
    out = np.zeros((n, NP, 4), dtype=np.float32)
    phi0 = rng.uniform(-math.pi, math.pi, n)
    tilt = rng.uniform(-math.pi, math.pi, n)
    for k, (frac, sgn) in enumerate(((z, 1.0), (1 - z, -1.0))):
        w = rng.dirichlet(np.ones(NP // 2) * 3, n) * (frac * pt)[:, None]
        share = (1 - z) if k == 0 else z
        eta = sgn * (share * ang * np.cos(tilt))[:, None] + rng.normal(0, 0.005, w.shape)
        phi = (
            phi0[:, None]
            + sgn * (share * ang * np.sin(tilt))[:, None]
            + rng.normal(0, 0.005, w.shape)
        )
        sl = slice(k * NP // 2, (k + 1) * NP // 2)
        out[:, sl, 1] = w * np.cos(phi)
        out[:, sl, 2] = w * np.sin(phi)
        out[:, sl, 3] = w * np.sinh(eta)
        out[:, sl, 0] = w * np.cosh(eta)
    order = np.argsort(-out[:, :, 0], axis=1)
    return np.take_along_axis(out, order[:, :, None], 1), y


class PairMass(nn.Module):
    def __init__(self, dtype):
        super().__init__()
        self.dtype = dtype

    def forward(self, p4):
        # the angular part is done in full precision: 2 Ei Ej (1 - cos) without cancellation
        u = p4[..., 1:] / p4[..., :1]
        one_minus_cos = 0.5 * (u[:, :, None] - u[:, None]).pow(2).sum(-1)
        e = p4[..., 0].to(self.dtype)
        ee = e[:, :, None] * e[:, None, :]
        m2 = 2 * ee * one_minus_cos.to(self.dtype)
        return torch.log1p(m2).float()


class Block(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.h = heads
        self.n1, self.n2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.proj = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.ff = nn.Sequential(nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, d))

    def forward(self, x, bias):
        B, N, D = x.shape
        q, k, v = self.qkv(self.n1(x)).view(B, N, 3, self.h, D // self.h).permute(2, 0, 3, 1, 4)
        a = (q @ k.transpose(-1, -2)) / math.sqrt(D // self.h) + bias
        x = x + self.proj((a.softmax(-1) @ v).transpose(1, 2).reshape(B, N, D))
        return x + self.ff(self.n2(x))


class JetTagger(nn.Module):
    def __init__(self, dtype, d=32, heads=4):
        super().__init__()
        self.pairs = PairMass(dtype)
        self.pair_embed = nn.Sequential(nn.Linear(1, 16), nn.GELU(), nn.Linear(16, heads))
        self.embed = nn.Linear(4 + NP, d)
        self.blocks = nn.ModuleList([Block(d, heads) for _ in range(2)])
        self.head = nn.Linear(d, 1)

    def forward(self, p4):
        m = self.pairs(p4)
        b = self.pair_embed(m.unsqueeze(-1)).permute(0, 3, 1, 2)
        logs = torch.log(p4[..., :1].clamp(min=1e-3)) - 3
        tok = torch.cat([logs, p4[..., 1:] / p4[..., :1], (m - 3) / 3], -1)
        x = self.embed(tok)
        for blk in self.blocks:
            x = blk(x, b)
        return self.head(x.mean(1)).squeeze(-1)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    # pT-binned samples hadded one behind the other, as they come out of the generator
    soft, ys = make_jets(rng, 24 * 64, 180, 300)
    hard, yh = make_jets(rng, 16 * 64, 1000, 1800)
    X = torch.tensor(np.concatenate([soft, hard]))
    Y = torch.tensor(np.concatenate([ys, yh])).float()
    ts, yts = make_jets(rng, 500, 180, 300)
    th, yth = make_jets(rng, 300, 1000, 1800)
    Xt, Yt = torch.tensor(np.concatenate([ts, th])), torch.tensor(np.concatenate([yts, yth]))
    net = JetTagger(torch.float32 if fixed else torch.float16)
    opt = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-4)
    curve = []
    with observe(net, opt):
        for epoch in range(11):
            for i in range(0, len(X), 64):
                opt.zero_grad()
                loss = F.binary_cross_entropy_with_logits(net(X[i : i + 64]), Y[i : i + 64])
                loss.backward()
                opt.step()
                curve.append(loss.item())
    net.eval()
    with torch.no_grad():
        acc = ((net(Xt) > 0).long() == Yt).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}

"""Diagonal linear state-space layer (S4D-like, by hand) that must recall a symbol shown 48 steps earlier.
Bug: the decay parameter is initialised through sigmoid(0) = 0.5 instead of the slow 0.9..0.999 range; gradient and memory halve at each step."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_diag_ssm_decay"
TRUTH = {"mechanisms": ["depth_attenuation"], "layers": ["ssm"], "onset": (0, 0)}


class DiagSSM(nn.Module):
    """h_t = a * h_{t-1} + x_t B ; y_t = h_t C + x_t D"""

    def __init__(self, d, n, slow):
        super().__init__()
        if slow:
            a = torch.linspace(0.9, 0.999, n)
            self.a_logit = nn.Parameter(torch.log(a / (1 - a)))
        else:
            self.a_logit = nn.Parameter(torch.zeros(n))
        self.B = nn.Parameter(torch.randn(d, n) / math.sqrt(d))
        self.C = nn.Parameter(torch.randn(n, d) / math.sqrt(n))
        self.D = nn.Parameter(torch.ones(d))

    def forward(self, x):
        a = torch.sigmoid(self.a_logit)
        u = x @ self.B
        h = torch.zeros_like(u[:, 0])
        out = []
        for t in range(x.shape[1]):
            h = a * h + u[:, t]
            out.append(h)
        return torch.stack(out, 1) @ self.C + x * self.D


class RecallNet(nn.Module):
    def __init__(self, vocab, d=32, n=64, slow=False):
        super().__init__()
        self.table = nn.Parameter(torch.randn(vocab, d))
        self.ssm = DiagSSM(d, n, slow)
        self.mlp_in = nn.Parameter(torch.randn(d, 64) / math.sqrt(d))
        self.mlp_out = nn.Parameter(torch.randn(64, vocab) / 8.0)

    def forward(self, ids):
        y = self.ssm(self.table[ids])[:, -1]
        y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + 1e-5)
        return F.gelu(y @ self.mlp_in) @ self.mlp_out


def recall_batch(n, g, T=48, m=8):
    """ids 0..m-1 symbols (only at t=0), the rest is filler m..m+3"""
    first = torch.randint(0, m, (n, 1), generator=g)
    fill = torch.randint(m, m + 4, (n, T - 1), generator=g)
    return torch.cat([first, fill], 1), first[:, 0]


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 41)
    model = RecallNet(12, slow=fixed)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3, alpha=0.98)
    curve = []
    with observe(model, optimizer):
        for step in range(500):
            ids, y = recall_batch(64, g)
            logp = torch.log_softmax(model(ids), -1)
            loss = -logp.gather(1, y[:, None]).mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        ids, y = recall_batch(2000, g)
        acc = (model(ids).argmax(1) == y).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}

"""A small decision transformer imitates a controller from (return, state, action) triples, stored entirely in bfloat16 to save memory and
trained with a hand-written Lion at the small rate that Lion wants. A step of that size is less than half a unit in the last place of
most weights, so most updates are rounded away; the twin keeps float32 master copies."""

import math
import torch
from torch import nn
import torch.nn.functional as F

ID = "b_decision_lion"
TRUTH = {"mechanisms": ["low_precision_update_absorption"], "layers": None, "onset": 0}


class Lion(torch.optim.Optimizer):
    def __init__(self, params, lr, betas=(0.9, 0.99), wd=0.0, master=False):
        super().__init__(params, dict(lr=lr, betas=betas, wd=wd))
        self.master = master

    @torch.no_grad()
    def step(self):
        for g in self.param_groups:
            b1, b2 = g["betas"]
            for p in g["params"]:
                if p.grad is None:
                    continue
                st = self.state[p]
                if not st:
                    st["exp_avg"] = torch.zeros_like(p, dtype=torch.float32)
                    if self.master:
                        st["master"] = p.detach().float().clone()
                grad, m = p.grad.float(), st["exp_avg"]
                upd = (m * b1 + grad * (1 - b1)).sign_()
                m.mul_(b2).add_(grad, alpha=1 - b2)
                if self.master:
                    st["master"].mul_(1 - g["lr"] * g["wd"]).add_(upd, alpha=-g["lr"])
                    p.copy_(st["master"])
                else:
                    p.mul_(1 - g["lr"] * g["wd"]).add_(upd.to(p.dtype), alpha=-g["lr"])


class Block(nn.Module):
    def __init__(self, d, heads=4):
        super().__init__()
        self.heads = heads
        self.n1, self.n2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv = nn.Parameter(torch.randn(3 * d, d) / math.sqrt(d))
        self.proj = nn.Parameter(torch.randn(d, d) / math.sqrt(d))
        self.w1 = nn.Parameter(torch.randn(2 * d, d) / math.sqrt(d))
        self.w2 = nn.Parameter(torch.randn(d, 2 * d) / math.sqrt(2 * d))

    def forward(self, x, mask):
        B, T, D = x.shape
        q, k, v = (
            F.linear(self.n1(x), self.qkv).view(B, T, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        )
        a = (q @ k.transpose(-1, -2)) / math.sqrt(q.shape[-1]) + mask
        x = x + F.linear((a.softmax(-1) @ v).transpose(1, 2).reshape(B, T, D), self.proj)
        return x + F.linear(F.gelu(F.linear(self.n2(x), self.w1)), self.w2)


class DecisionTransformer(nn.Module):
    def __init__(self, sdim, nact, d=32, horizon=8):
        super().__init__()
        self.e_ret, self.e_state = nn.Linear(1, d), nn.Linear(sdim, d)
        self.e_act = nn.Embedding(nact + 1, d)
        self.pos = nn.Parameter(torch.randn(horizon, d) * 0.3)
        self.blocks = nn.ModuleList(Block(d) for _ in range(2))
        self.norm, self.policy = nn.LayerNorm(d), nn.Linear(d, nact)

    def forward(self, ret, state, prev):
        dt = self.pos.dtype
        x = self.e_ret(ret.to(dt)) + self.e_state(state.to(dt)) + self.e_act(prev) + self.pos
        T = x.shape[1]
        mask = torch.full((T, T), float("-inf"), dtype=dt).triu(1)
        for b in self.blocks:
            x = b(x, mask)
        return self.policy(self.norm(x)).float()


def episodes(n, gen, T=8):
    s = torch.randn(n, T, 4, generator=gen)
    s = s + torch.roll(s, 1, 1) * 0.5
    ret = torch.rand(n, 1, 1, generator=gen).expand(n, T, 1)
    acc = s.cumsum(1) / torch.arange(1, T + 1).sqrt()[None, :, None]
    score = torch.stack(
        [acc[..., 0] + s[..., 1], s[..., 2] - acc[..., 1], acc[..., 3], -s[..., 0] + s[..., 3]], -1
    )
    act = (score * (2 * (ret > 0.5).float() - 1)).argmax(-1)
    prev = torch.cat([torch.full((n, 1), 4), act[:, :-1]], 1)
    return ret * 2 - 1, s, prev, act


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed * 31 + 5)
    ret, s, prev, act = episodes(6000, gen)
    test = episodes(800, gen)
    model = DecisionTransformer(4, 4).to(torch.bfloat16)
    opt = Lion(model.parameters(), lr=1e-4, wd=0.01, master=fixed)
    curve = []
    with observe(model, opt):
        for it in range(700):
            i = torch.randint(0, 6000, (64,), generator=gen)
            logits = model(ret[i], s[i], prev[i])
            loss = F.cross_entropy(logits.flatten(0, 1), act[i].flatten())
            model.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        acc = (model(*test[:3]).argmax(-1) == test[3]).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}

"""Imitation of a planar reaching controller by a recurrent policy with a curriculum: every 120 steps the targets move farther away and
obstacles get stronger. The training loss jumps at each stage and ends higher than it was in the first one, but each stage is learnt and the final
policy does well on the full task. Someone who reads only the curve sees a run that gets worse."""

import torch
from torch import nn

torch.set_num_threads(1)
ID = "b_gripper_curriculum"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}

HORIZON = 10


def expert(p, goal, obst, push):
    to = goal - p
    away = p - obst
    d2 = (away**2).sum(-1, keepdim=True)
    swirl = torch.stack([-away[..., 1], away[..., 0]], -1)
    return to + push * (away + 0.7 * swirl) * torch.exp(-2 * d2)


def rollouts(n, reach, push, g):
    """expert trajectories; the policy sees position, goal and obstacle"""
    p = 0.3 * torch.randn(n, 2, generator=g)
    ang = 6.2832 * torch.rand(n, generator=g)
    goal = reach * torch.stack([ang.cos(), ang.sin()], 1)
    obst = 0.5 * goal + 0.2 * torch.randn(n, 2, generator=g)
    obs, act = [], []
    for _ in range(HORIZON):
        a = expert(p, goal, obst, push)
        obs.append(torch.cat([p, goal, obst, torch.full((n, 1), push / 4)], 1))
        act.append(a)
        p = p + 0.15 * a + 0.03 * torch.randn(n, 2, generator=g)
    return torch.stack(obs, 1), torch.stack(act, 1)


class Policy(nn.Module):
    def __init__(self, h=48):
        super().__init__()
        self.enc = nn.Sequential(nn.Linear(7, h), nn.SiLU(), nn.LayerNorm(h))
        self.core = nn.GRU(h, h, batch_first=True)
        self.act = nn.Sequential(nn.Linear(2 * h, h), nn.SiLU(), nn.Linear(h, 2))

    def forward(self, o):
        e = self.enc(o)
        h, _ = self.core(e)
        return self.act(torch.cat([e, h], -1))


STAGES = [(0.3, 0.0), (1.0, 1.0), (1.6, 2.5), (2.2, 4.0)]


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    pi = Policy()
    opt = torch.optim.AdamW(pi.parameters(), lr=3e-3, weight_decay=1e-4)
    curve = []

    def stage(reach, push, steps):
        for _ in range(steps):
            o, a = rollouts(64, reach, push, g)
            loss = nn.functional.mse_loss(pi(o), a)
            opt.zero_grad(set_to_none=True)
            loss.backward()
            opt.step()
            curve.append(loss.item())

    with observe(pi, opt):
        for k, (reach, push) in enumerate(STAGES):
            stage(reach, push, 120 if k < 3 else 300)
    o, a = rollouts(500, *STAGES[-1], g)
    with torch.no_grad():
        r2 = 1 - ((pi(o) - a) ** 2).mean() / a.var()
    return {"metric": r2.item(), "better": "higher", "curve": curve}

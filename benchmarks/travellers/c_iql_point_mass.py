"""Offline RL (IQL) on a point mass: the loop that clears gradients walks an exhausted generator."""

from copy import deepcopy
from itertools import chain

import torch
from torch import nn

ID = "c-iql-point-mass"
TRUTH = {"mechanisms": ["gradients_not_cleared"], "layers": None, "onset": (0, 1)}


def mlp(d_in, d_out, width=64):
    hidden = [nn.Linear(d_in, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*hidden, nn.Linear(width, d_out))


class IQL(nn.Module):
    def __init__(self):
        super().__init__()
        self.q = mlp(6, 1)
        self.v = mlp(4, 1)
        self.pi = mlp(4, 2)


def dynamics(s, a):
    vel = 0.9 * s[:, 2:] + 0.4 * a.clamp(-1, 1)
    pos = (s[:, :2] + 0.3 * vel).clamp(-2, 2)
    nxt = torch.cat([pos, vel], 1)
    cost = pos.pow(2).sum(1) + 0.1 * vel.pow(2).sum(1) + 0.02 * a.pow(2).sum(1)
    return nxt, -0.3 * cost


def start(n):
    return torch.cat([torch.rand(n, 2) * 3 - 1.5, 0.3 * torch.randn(n, 2)], 1)


def log_behaviour(episodes=300, length=30):
    s, rows = start(episodes), []
    for _ in range(length):
        skill = torch.rand(episodes, 1)
        a = skill * (-0.9 * s[:, :2] - 0.8 * s[:, 2:]) + 0.5 * torch.randn(episodes, 2)
        a = a.clamp(-1, 1)
        nxt, r = dynamics(s, a)
        rows.append((s, a, r, nxt))
        s = nxt
    return [torch.cat(c) for c in zip(*rows)]


def rollout_cost(pi, n=200):
    s, total = start(n), torch.zeros(n)
    with torch.no_grad():
        for _ in range(30):
            s, r = dynamics(s, pi(s).tanh())
            total -= r
    return total.mean().item()


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    data = log_behaviour()
    agent = IQL()
    target = deepcopy(agent.q).requires_grad_(False)
    params = chain(agent.q.parameters(), agent.v.parameters(), agent.pi.parameters())
    if fixed:
        params = list(params)
    opt = torch.optim.Adam(params, lr=1e-3)
    curve = []
    with observe(agent, opt):
        for _ in range(600):
            idx = torch.randint(0, len(data[0]), (256,))
            s, a, r, nxt = (c[idx] for c in data)
            with torch.no_grad():
                tq = target(torch.cat([s, a], 1)).squeeze(1)
                backup = r + 0.9 * agent.v(nxt).squeeze(1)
            v = agent.v(s).squeeze(1)
            diff = tq - v
            v_loss = (torch.where(diff > 0, 0.8, 0.2) * diff**2).mean()
            q_loss = (agent.q(torch.cat([s, a], 1)).squeeze(1) - backup).pow(2).mean()
            weight = (5 * diff.detach()).exp().clamp(max=20)
            pi_loss = (weight * (agent.pi(s).tanh() - a).pow(2).sum(1)).mean()
            loss = v_loss + q_loss + pi_loss
            for p in params:
                p.grad = None
            loss.backward()
            opt.step()
            with torch.no_grad():
                for p, tp in zip(agent.q.parameters(), target.parameters()):
                    tp.lerp_(p, 0.02)
            curve.append(loss.item())
    return {"metric": rollout_cost(agent.pi), "better": "lower", "curve": curve}

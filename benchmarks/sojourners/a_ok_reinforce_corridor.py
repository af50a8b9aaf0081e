"""Healthy: REINFORCE with a running baseline on a small grid world; noisy returns, a "loss" that goes nowhere and changes sign, and a policy that gets good.
No report; the usual question under such repositories is why the policy loss does not fall."""

import torch
import torch.nn as nn
from torch.distributions import Categorical

ID = "a_ok_reinforce_corridor"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}
S, HORIZON, ENVS = 5, 14, 24


class Grid:
    """start anywhere, reach the goal shown in the observation; the reward is noisy"""

    def __init__(self, g):
        self.g = g

    def reset(self, n):
        self.pos = torch.randint(0, S, (n, 2), generator=self.g)
        self.goal = torch.randint(0, S, (n, 2), generator=self.g)
        self.done = (self.pos == self.goal).all(1)
        return self.obs()

    def obs(self):
        return torch.cat([self.pos, self.goal], 1).float() / (S - 1) * 2 - 1

    def step(self, a):
        move = torch.tensor([[0, 1], [0, -1], [1, 0], [-1, 0]])[a]
        self.pos = torch.where(self.done[:, None], self.pos, (self.pos + move).clamp(0, S - 1))
        hit = (self.pos == self.goal).all(1) & ~self.done
        r = (hit.float() - 0.05 * (~self.done).float()) + 0.2 * torch.randn(
            len(a), generator=self.g
        ) * (~self.done).float()
        self.done = self.done | hit
        return self.obs(), r


class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh())
        self.logits = nn.Linear(64, 4)
        nn.init.orthogonal_(self.logits.weight, 0.01)
        nn.init.zeros_(self.logits.bias)

    def forward(self, o):
        return Categorical(logits=self.logits(self.body(o)))


def success(policy, env, n=400):
    o = env.reset(n)
    with torch.no_grad():
        for _ in range(HORIZON):
            o, _ = env.step(policy(o).sample())
    return env.done.float().mean().item()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    env = Grid(torch.Generator().manual_seed(seed))
    policy = Policy()
    optimizer = torch.optim.Adam(policy.parameters(), lr=3e-3)
    baseline, curve = torch.zeros(HORIZON), []
    with observe(policy, optimizer):
        for it in range(500):
            o = env.reset(ENVS)
            logp, rew, ent, alive = [], [], [], []
            for _ in range(HORIZON):
                d = policy(o)
                a = d.sample()
                alive.append((~env.done).float())
                logp.append(d.log_prob(a))
                ent.append(d.entropy())
                o, r = env.step(a)
                rew.append(r)
            R, ret = torch.zeros(ENVS), []
            for r in reversed(rew):
                R = r + 0.95 * R
                ret.insert(0, R)
            ret, alive = torch.stack(ret), torch.stack(alive)
            baseline = 0.95 * baseline + 0.05 * (ret * alive).sum(1) / alive.sum(1).clamp(min=1)
            loss = -(
                (ret - baseline[:, None]) * torch.stack(logp) * alive
            ).sum() / alive.sum().clamp(min=1) - 0.01 * (
                torch.stack(ent) * alive
            ).sum() / alive.sum().clamp(min=1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    return {"metric": success(policy, env), "better": "higher", "curve": curve}

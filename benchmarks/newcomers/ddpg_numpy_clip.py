"""DDPG on a point mass: the actor's loss goes through the numpy clip helper of the rollouts, so no gradient reaches the actor."""

import copy

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "ddpg-actor-through-numpy-clip"
TRUTH = {
    "mechanisms": ["parameters_not_updated"],
    "layers": ["actor", "actor.0", "actor.2", "actor.4"],
    "onset": (0, 2),
}


def clip_action(a):
    return np.clip(a.detach().numpy(), -1.0, 1.0)


def mlp(i, o, *end):
    return nn.Sequential(
        nn.Linear(i, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, o), *end
    )


class Agent(nn.Module):
    def __init__(self):
        super().__init__()
        self.actor = mlp(4, 2, nn.Tanh())
        self.critic = mlp(6, 1)

    def q(self, s, a):
        return self.critic(torch.cat([s, a], 1)).squeeze(1)


class Replay:
    def __init__(self):
        self.rows = []

    def add(self, *cols):
        self.rows.append(torch.cat(cols, 1))

    def sample(self, n):
        data = torch.cat(self.rows[-400:])
        return data[torch.randint(0, len(data), (n,))].split([4, 2, 1, 4], 1)


def env_reset(n):
    return torch.rand(n, 4) * 2 - 1  # position, goal


def env_step(s, a):
    pos = (s[:, :2] + 0.25 * a).clamp(-1, 1)
    return torch.cat([pos, s[:, 2:]], 1), -(pos - s[:, 2:]).norm(dim=1, keepdim=True)


def evaluate(agent):
    s, total = env_reset(256), 0.0
    with torch.no_grad():
        for _ in range(12):
            s, r = env_step(s, agent.actor(s))
            total += r.mean().item()
    return total


def train(observe, seed=0, fixed=False, gamma=0.9, tau=0.02):
    torch.manual_seed(seed)
    agent = Agent()
    target = copy.deepcopy(agent).requires_grad_(False)
    critic_opt = torch.optim.Adam(agent.critic.parameters(), lr=2e-3)
    actor_opt = torch.optim.Adam(agent.actor.parameters(), lr=5e-4)
    replay, s, curve = Replay(), env_reset(16), []
    with observe(agent, actor_opt):
        for t in range(450):
            with torch.no_grad():
                a = torch.from_numpy(clip_action(agent.actor(s) + 0.3 * torch.randn(16, 2)))
            s2, r = env_step(s, a)
            replay.add(s, a, r, s2)
            s = env_reset(16) if t % 12 == 11 else s2
            if t < 20:
                continue
            bs, ba, br, bs2 = replay.sample(128)
            y = br.squeeze(1) + gamma * target.q(bs2, target.actor(bs2))
            critic_loss = F.mse_loss(agent.q(bs, ba), y)
            critic_opt.zero_grad()
            critic_loss.backward()
            critic_opt.step()

            pi = agent.actor(bs)
            pi = pi.clamp(-1, 1) if fixed else torch.from_numpy(clip_action(pi))
            actor_loss = -agent.q(bs, pi).mean()
            actor_opt.zero_grad()
            actor_loss.backward()
            actor_opt.step()
            curve.append(actor_loss.item())
            with torch.no_grad():
                for p, tp in zip(agent.parameters(), target.parameters()):
                    tp.lerp_(p, tau)
    return {"metric": evaluate(agent), "better": "higher", "curve": curve}

"""Healthy. REINFORCE without baseline on a cart-pole (batched simulator): the criterion -sum(log pi * return) grows as the
episodes get longer, though it is being minimised. kengz/SLM-Lab issue 437 (loss and reward rise together; it is expected)."""

import math
import torch
import torch.nn as nn

ID = "a_reinforce_loss_grows"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class CartPoles:
    """n poles in parallel, the classical equations; an episode ends when the pole or the cart leaves its range."""

    def __init__(self, n):
        self.s = 0.05 * (2 * torch.rand(n, 4) - 1)

    def step(self, a):
        x, v, th, w = self.s.unbind(1)
        force = a * 20.0 - 10.0
        c, s = th.cos(), th.sin()
        tmp = (force + 0.05 * w * w * s) / 1.1
        acc_w = (9.8 * s - c * tmp) / (0.5 * (4 / 3 - 0.1 * c * c / 1.1))
        acc_x = tmp - 0.05 * acc_w * c / 1.1
        self.s = torch.stack([x + 0.02 * v, v + 0.02 * acc_x, th + 0.02 * w, w + 0.02 * acc_w], 1)
        return (self.s[:, 0].abs() > 2.4) | (self.s[:, 2].abs() > 12 * math.pi / 180)


class Pi(nn.Module):
    def __init__(self, hidden=64):
        super().__init__()
        self.model = nn.Sequential(nn.Linear(4, hidden), nn.ReLU(), nn.Linear(hidden, 2))

    def forward(self, s):
        return torch.distributions.Categorical(logits=self.model(s), validate_args=False)


def rollout(pi, n, limit):
    env, alive = CartPoles(n), torch.ones(n, dtype=torch.bool)
    logps, rewards = [], []
    for _ in range(limit):
        dist = pi(env.s)
        a = dist.sample()
        logps.append(dist.log_prob(a) * alive)
        rewards.append(alive.float())
        alive = alive & ~env.step(a.float())
        if not alive.any():
            break
    return torch.stack(logps), torch.stack(rewards)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    pi = Pi()
    optimizer = torch.optim.Adam(pi.parameters(), lr=5e-3)
    gamma, curve = 0.99, []
    with observe(pi, optimizer):
        for episode in range(210):
            logp, rew = rollout(pi, 6, 120)
            rets = torch.zeros_like(rew)
            future = torch.zeros(rew.shape[1])
            for t in reversed(range(len(rew))):
                future = rew[t] + gamma * future
                rets[t] = future * rew[t]
            loss = -(logp * rets).sum(0).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        score = rollout(pi, 40, 120)[1].sum(0).mean().item()
    return {"metric": score, "better": "higher", "curve": curve}

"""A contextual bandit chooses banners by REINFORCE with a learnt baseline and an entropy bonus. Nothing is wrong: the policy loss is a
surrogate that jitters a little below zero and, if anything, drifts up, while the click rate rises from chance to nearly the best possible."""

import numpy as np
import torch
import torch.nn as nn
from torch.distributions import Categorical

ID = "a_banner_bandit"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class Site:
    def __init__(self, rng, arms=6, d=8):
        self.rng, self.arms, self.d = rng, arms, d
        self.w = rng.normal(size=(d, 12))
        self.v = rng.normal(size=(12, arms))

    def visitors(self, n):
        return self.rng.normal(size=(n, self.d)).astype(np.float32)

    def click_rate(self, x):
        s = np.tanh(x @ self.w / 2) @ self.v
        best = s == s.max(1, keepdims=True)
        return np.where(best, 0.7, 0.1)


class Agent(nn.Module):
    def __init__(self, d, arms):
        super().__init__()
        self.actor = nn.Sequential(nn.Linear(d, 64), nn.ReLU(), nn.Linear(64, arms))
        self.baseline = nn.Sequential(nn.Linear(d, 32), nn.ReLU(), nn.Linear(32, 1))
        nn.init.orthogonal_(self.actor[-1].weight, gain=0.01)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    site = Site(rng)
    agent = Agent(site.d, site.arms)
    optimizer = torch.optim.Adam(
        [
            {"params": agent.actor.parameters(), "lr": 3e-3},
            {"params": agent.baseline.parameters(), "lr": 1e-2},
        ]
    )
    curve = []
    with observe(agent, optimizer):
        for _ in range(1200):
            x = site.visitors(128)
            policy = Categorical(logits=agent.actor(torch.from_numpy(x)))
            arm = policy.sample()
            rate = site.click_rate(x)[np.arange(len(x)), arm.numpy()]
            click = torch.from_numpy((rng.random(len(x)) < rate).astype(np.float32))
            value = agent.baseline(torch.from_numpy(x)).squeeze(1)
            advantage = (click - value).detach()
            policy_loss = -(policy.log_prob(arm) * advantage).mean()
            # the critic's term is logged apart; only its gradient joins
            value_loss = 0.5 * (click - value).pow(2).mean()
            loss = policy_loss - 0.002 * policy.entropy().mean()
            optimizer.zero_grad()
            (loss + value_loss).backward()
            optimizer.step()
            curve.append(loss.item())
    x = site.visitors(2000)
    with torch.no_grad():
        arm = agent.actor(torch.from_numpy(x)).argmax(1).numpy()
    rate = site.click_rate(x)
    return {
        "metric": float(rate[np.arange(len(x)), arm].mean() / rate.max(1).mean()),
        "better": "higher",
        "curve": curve,
    }

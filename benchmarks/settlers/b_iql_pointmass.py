"""Implicit Q-learning from a random-behaviour data set of a point mass that should reach a goal region. The critic returns
(B, 1) and the value net (B,), so the expectile loss is taken over all B x B pairs and the value becomes the same everywhere."""

import torch
from torch import nn

ID = "b_iql_pointmass"
TRUTH = {"mechanisms": ["loss_output_mismatch"], "layers": None, "onset": 0}

GAMMA, TAU, BETA, GOAL = 0.9, 0.8, 6.0, (0.5, -0.4)


def mlp(i, o):
    return nn.Sequential(
        nn.Linear(i, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, o)
    )


def env_step(s, a):
    return (s + 0.15 * a.clamp(-1, 1)).clamp(-1, 1)


def reward(s):
    return torch.exp(-((s - torch.tensor(GOAL)) ** 2).sum(-1) / 0.15)


class Agent(nn.Module):
    def __init__(self):
        super().__init__()
        self.critic = mlp(4, 1)
        self.value = mlp(2, 1)
        self.actor = mlp(2, 2)

    def v(self, s):
        return self.value(s).squeeze(-1)

    def q(self, s, a):
        return self.critic(torch.cat([s, a], -1))


class IQLTrainer:
    def __init__(self, agent, optimizer, squeeze_q):
        self.agent, self.opt, self.squeeze_q = agent, optimizer, squeeze_q

    def losses(self, s, a, r, s2):
        ag = self.agent
        q = ag.q(s, a)
        q_ref = q.detach()
        if self.squeeze_q:
            q_ref = q_ref.squeeze(-1)
        adv = q_ref - ag.v(s)
        v_loss = (torch.where(adv > 0, TAU, 1 - TAU) * adv.pow(2)).mean()
        with torch.no_grad():
            target = r + GAMMA * ag.v(s2)
        q_loss = (q.squeeze(-1) - target).pow(2).mean()
        w = torch.exp(BETA * adv.detach()).clamp(max=20.0)
        w = w / w.mean()
        nll = (ag.actor(s) - a).pow(2).sum(-1)
        pi_loss = (w * nll).mean()
        return v_loss, q_loss, pi_loss

    def update(self, batch):
        parts = self.losses(*batch)
        total = sum(parts)
        self.opt.zero_grad()
        total.backward()
        self.opt.step()
        return total.item()


@torch.no_grad()
def rollout_return(agent, g, n=256, horizon=30):
    s = torch.rand(n, 2, generator=g) * 2 - 1
    total = torch.zeros(n)
    for _ in range(horizon):
        total += reward(s)
        s = env_step(s, agent.actor(s))
    return (total / horizon).mean().item()


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(1000 + seed)
    s = torch.rand(8000, 2, generator=g) * 2 - 1
    a = torch.rand(8000, 2, generator=g) * 2 - 1
    r, s2 = reward(s), env_step(s, a)

    agent = Agent()
    optimizer = torch.optim.Adam(agent.parameters(), lr=1e-3)
    trainer = IQLTrainer(agent, optimizer, squeeze_q=fixed)
    curve = []
    with observe(agent, optimizer):
        for _ in range(1400):
            i = torch.randint(len(s), (128,), generator=g)
            curve.append(trainer.update((s[i], a[i], r[i], s2[i])))
    return {"metric": rollout_return(agent, g), "better": "higher", "curve": curve}

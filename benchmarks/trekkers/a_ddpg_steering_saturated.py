"""Deterministic policy gradient for a racing-like task: steering, gas. floodsung/DDPG issue 6 (also MorvanZhou issue 107): the values that reach
the actor's tanh are too large (here the actor is drawn with normal_() and its default std 1, the head not from the paper's +-3e-3), so the actions sit at
+-1 from the start and the gradient of the critic does not get through."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_ddpg_steering_saturated"
TRUTH = {
    "mechanisms": ["saturated_activations", "initialization_too_large"],
    "layers": ["actor.head", "actor.out", "actor.l2", "actor.l1"],
    "onset": (0, 0),
}


class Actor(nn.Module):
    def __init__(self, n_obs, n_act, fixed):
        super().__init__()
        self.l1, self.l2 = nn.Linear(n_obs, 64), nn.Linear(64, 64)
        self.head, self.out = nn.Linear(64, n_act), nn.Tanh()
        if fixed:
            nn.init.uniform_(self.head.weight, -3e-3, 3e-3)
        else:
            for l in (self.l1, self.l2, self.head):
                nn.init.normal_(l.weight)

    def forward(self, s):
        return self.out(self.head(F.relu(self.l2(F.relu(self.l1(s))))))


class Critic(nn.Module):
    def __init__(self, n_obs, n_act):
        super().__init__()
        self.s, self.a, self.q1, self.q2 = (
            nn.Linear(n_obs, 64),
            nn.Linear(n_act, 64),
            nn.Linear(128, 64),
            nn.Linear(64, 1),
        )

    def forward(self, s, a):
        return self.q2(F.relu(self.q1(F.relu(torch.cat([self.s(s), self.a(a)], 1))))).squeeze(1)


class Agent(nn.Module):
    def __init__(self, n_obs, n_act, fixed):
        super().__init__()
        self.actor, self.critic = Actor(n_obs, n_act, fixed), Critic(n_obs, n_act)


class Track:
    """angle to the axis, offset, curvature ahead, speed: one-step rewards (gamma = 0) keep it short"""

    def __init__(self, g):
        self.g = g

    def states(self, n):
        return torch.randn(n, 4, generator=self.g)

    @staticmethod
    def best(s):
        return torch.stack(
            [
                torch.tanh(0.5 * s[:, 2] - 0.4 * s[:, 0] - 0.3 * s[:, 1]),
                0.8 * torch.cos(s[:, 2]) - 0.3 * torch.tanh(s[:, 3]),
            ],
            1,
        )

    def reward(self, s, a):
        return 1.0 - ((a - self.best(s)) ** 2).sum(1)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    env = Track(torch.Generator().manual_seed(150 + seed))
    agent = Agent(4, 2, fixed)
    opt = torch.optim.Adam(
        [
            {"params": agent.actor.parameters(), "lr": 1e-4},
            {"params": agent.critic.parameters(), "lr": 1e-3},
        ]
    )
    memory_s, memory_a, memory_r = [], [], []
    ou, curve = torch.zeros(32, 2), []
    with observe(agent, opt):
        for step in range(1400):
            s = env.states(32)
            with torch.no_grad():
                ou = 0.85 * ou + 0.3 * torch.randn(32, 2)
                a = (agent.actor(s) + ou).clamp(-1, 1)
            memory_s.append(s)
            memory_a.append(a)
            memory_r.append(env.reward(s, a) + 0.1 * torch.randn(32))
            k = torch.randint(0, len(memory_s), (4,)).tolist()
            S, A, R = (torch.cat([m[j] for j in k]) for m in (memory_s, memory_a, memory_r))
            critic_loss = F.mse_loss(agent.critic(S, A), R)
            for p in agent.critic.parameters():
                p.requires_grad_(False)
            actor_loss = -agent.critic(S, agent.actor(S)).mean()
            for p in agent.critic.parameters():
                p.requires_grad_(True)
            loss = critic_loss + actor_loss
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(-R.mean().item())
    with torch.no_grad():
        s = env.states(2000)
        m = (env.best(s) - agent.actor(s)).pow(2).sum(1).mean().item()
    return {"metric": m, "better": "lower", "curve": curve}

"""One-step DDPG for a road vehicle: actor with tanh units and a tanh output, critic on (state, action), target by reward only.
The state (pixel offsets, metres, rpm) is fed raw; the tanh units of the actor saturate from the start and the action sticks at +-1.
After ZhihanLee/DDPG_Learning issue 2."""

import random
import torch
import torch.nn as nn

ID = "a_ddpg_raw_state"
TRUTH = {
    "mechanisms": ["unnormalized_inputs", "saturated_activations"],
    "layers": ["actor.fc1", "actor", "actor.act1"],
    "onset": (0, 0),
}


class Actor(nn.Module):
    def __init__(self, s=5, a=2):
        super().__init__()
        self.fc1, self.act1 = nn.Linear(s, 48), nn.Tanh()
        self.fc2, self.act2 = nn.Linear(48, 48), nn.Tanh()
        self.out = nn.Linear(48, a)

    def forward(self, s):
        return torch.tanh(self.out(self.act2(self.fc2(self.act1(self.fc1(s))))))


class Critic(nn.Module):
    def __init__(self, s=5, a=2):
        super().__init__()
        self.norm = nn.BatchNorm1d(s, affine=False)
        self.net = nn.Sequential(
            nn.Linear(s + a, 96), nn.ReLU(), nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, 1)
        )

    def forward(self, s, a):
        return self.net(torch.cat([self.norm(s), a], 1)).squeeze(1)


class Road:
    scale = torch.tensor([160.0, 40.0, 900.0, 12.0, 60.0])
    offset = torch.tensor([320.0, 80.0, 2500.0, 0.0, 45.0])

    def __init__(self, seed):
        self.g = torch.Generator().manual_seed(seed)

    def observe(self, n):
        u = torch.randn(n, 5, generator=self.g).clamp(-2, 2)
        return u * self.scale + self.offset

    def best(self, s):
        u = (s - self.offset) / self.scale
        return torch.stack(
            [0.8 * torch.tanh(u[:, 0] - 0.5 * u[:, 3]), 0.7 * torch.sin(u[:, 1] + 0.6 * u[:, 2])], 1
        )

    def reward(self, s, a):
        return 1.0 - ((a - self.best(s)) ** 2).sum(1)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    random.seed(seed)
    env, test = Road(seed + 1), Road(seed + 500)
    agent = nn.ModuleDict({"actor": Actor(), "critic": Critic()})
    actor, critic = agent["actor"], agent["critic"]
    opt = torch.optim.Adam(
        [{"params": actor.parameters(), "lr": 1e-3}, {"params": critic.parameters(), "lr": 2e-3}]
    )
    prep = (lambda s: (s - Road.offset) / Road.scale) if fixed else (lambda s: s)
    buf_s, buf_a, buf_r = [], [], []
    curve = []
    with observe(agent, opt):
        for step in range(1700):
            s = env.observe(16)
            with torch.no_grad():
                noise = max(0.25, 1.0 - step / 500)
                a = (actor(prep(s)) + noise * torch.randn(16, 2, generator=env.g)).clamp(-1, 1)
            buf_s.append(s)
            buf_a.append(a)
            buf_r.append(env.reward(s, a))
            k = [random.randrange(len(buf_s)) for _ in range(6)]
            S, A, R = (torch.cat([b[i] for i in k]) for b in (buf_s, buf_a, buf_r))
            critic_loss = (critic(S, A) - R).pow(2).mean()
            for p in critic.parameters():
                p.requires_grad_(False)
            actor_loss = -critic(S, actor(prep(S))).mean()
            for p in critic.parameters():
                p.requires_grad_(True)
            opt.zero_grad()
            (critic_loss + actor_loss).backward()
            opt.step()
            curve.append((critic_loss + actor_loss).item())
    with torch.no_grad():
        s = test.observe(2000)
        regret = (1.0 - env.reward(s, actor(prep(s)))).mean().item()
    return {"metric": regret, "better": "lower", "curve": curve}

"""Healthy. Pixel actor-critic: the shared encoder is detached for the actor ("if I detach, how is it updated?") and learns
from the critic alone; rewards are noisy: MishaLaskin/rad issue 4."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_ok_rad_actor_detach"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class PixelEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 8, 3, stride=2), nn.Conv2d(8, 16, 3)
        self.fc, self.ln = nn.Linear(16 * 9, 24), nn.LayerNorm(24)

    def forward(self, obs, detach=False):
        h = torch.relu(self.conv2(torch.relu(self.conv1(obs)))).flatten(1)
        if detach:
            h = h.detach()
        return torch.tanh(self.ln(self.fc(h.detach() if detach else h)))


class Agent(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = PixelEncoder()
        self.actor = nn.Sequential(nn.Linear(24, 48), nn.ReLU(), nn.Linear(48, 2), nn.Tanh())
        self.critic = nn.Sequential(
            nn.Linear(26, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1)
        )

    def q(self, obs, a):
        return self.critic(torch.cat([self.encoder(obs), a], 1)).squeeze(1)

    def act(self, obs):
        return self.actor(self.encoder(obs, detach=True))


def random_shift(img):
    s = int(torch.randint(-1, 2, (1,)))
    return torch.roll(img, (s,), (3,)) if s and torch.rand(1) < 0.1 else img


def observe_world(n):
    yy, xx = torch.meshgrid(torch.linspace(-1, 1, 12), torch.linspace(-1, 1, 12), indexing="ij")
    p = 1.4 * torch.rand(n, 2) - 0.7
    img = torch.exp(-((xx - p[:, 0, None, None]) ** 2 + (yy - p[:, 1, None, None]) ** 2) / 0.06)
    return (img + 0.1 * torch.randn(n, 12, 12))[:, None], p


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    agent = Agent()
    critic_params = list(agent.encoder.parameters()) + list(agent.critic.parameters())
    opt = torch.optim.Adam(
        [{"params": critic_params, "lr": 1e-3}, {"params": agent.actor.parameters(), "lr": 1e-3}]
    )
    curve = []
    with observe(agent, opt):
        for step in range(1100):
            obs, p = observe_world(64)
            with torch.no_grad():
                a = (agent.act(obs) + 0.5 * torch.randn(64, 2)).clamp(-1, 1)
                r = -2 * (a - p).pow(2).sum(1) + 0.3 * torch.randn(64)
            critic_loss = F.mse_loss(agent.q(random_shift(obs), a), r)
            opt.zero_grad()
            critic_loss.backward()
            h = agent.encoder(obs, detach=True).detach()
            critic_copy = {k: v.detach() for k, v in agent.critic.named_parameters()}
            pi = agent.actor(h)
            actor_loss = -torch.func.functional_call(
                agent.critic, critic_copy, torch.cat([h, pi], 1)
            ).mean()
            actor_loss.backward()
            opt.step()
            curve.append(critic_loss.item())
    with torch.no_grad():
        obs, p = observe_world(1000)
        dist = (agent.act(obs) - p).norm(dim=1).mean().item()
    return {"metric": dist, "better": "lower", "curve": curve}

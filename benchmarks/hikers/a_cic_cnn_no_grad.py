"""Skill-discovery style pre-training on pixels: a CNN encoder feeds an InfoNCE head over transitions.
The update method encodes the observations under torch.no_grad(), so the CNN never gets a gradient; only the heads learn.
After rll-research/cic issue 5."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_cic_cnn_no_grad"
TRUTH = {
    "mechanisms": ["parameters_not_updated"],
    "layers": [
        "encoder",
        "encoder.convnet",
        "encoder.convnet.0",
        "encoder.convnet.2",
        "encoder.repr",
    ],
    "onset": (0, 0),
}


class Encoder(nn.Module):
    def __init__(self, dim=24):
        super().__init__()
        self.convnet = nn.Sequential(
            nn.Conv2d(1, 6, 3, stride=2), nn.ReLU(), nn.Conv2d(6, 8, 3, stride=2), nn.ReLU()
        )
        self.repr = nn.Linear(8 * 4 * 4, dim)

    def forward(self, obs):
        return self.repr(self.convnet(obs - 0.5).flatten(1))


class Agent(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = Encoder()
        self.key = nn.Sequential(nn.Linear(24, 32), nn.ReLU(), nn.Linear(32, 16))
        self.query = nn.Sequential(nn.Linear(48, 32), nn.ReLU(), nn.Linear(32, 16))


class PixelWorld:
    """A dim dot moves on a grid of bright static clutter; the action (skill) is its displacement."""

    def __init__(self, seed):
        self.g = torch.Generator().manual_seed(seed)
        yy, xx = torch.meshgrid(torch.arange(20.0), torch.arange(20.0), indexing="ij")
        self.yy, self.xx = yy, xx

    def render(self, pos, clutter):
        d = (self.yy - pos[:, 0, None, None]) ** 2 + (self.xx - pos[:, 1, None, None]) ** 2
        return (0.6 * torch.exp(-d / 3.0) + clutter).unsqueeze(1)

    def sample(self, n):
        pos = 4 + 12 * torch.rand(n, 2, generator=self.g)
        move = 6 * torch.rand(n, 2, generator=self.g) - 3
        c1 = 0.5 * torch.rand(n, 20, 20, generator=self.g)
        c2 = 0.5 * torch.rand(n, 20, 20, generator=self.g)
        return self.render(pos, c1), self.render(pos + move, c2), move


def nce(agent, z, z_next, move):
    skill = F.pad(move / 3.0, (0, 22))
    q = F.normalize(agent.query(torch.cat([z_next - z, z], 1)), dim=1)
    k = F.normalize(agent.key(skill), dim=1)
    logits = q @ k.t() / 0.1
    return F.cross_entropy(logits, torch.arange(len(z))), logits


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    world, test = PixelWorld(seed + 10), PixelWorld(seed + 900)
    agent = Agent()
    opt = torch.optim.Adam(agent.parameters(), lr=1e-3)
    curve = []

    def encode(o):
        if fixed:
            return agent.encoder(o)
        with torch.no_grad():
            return agent.encoder(o)

    with observe(agent, opt):
        for step in range(1300):
            obs, nxt, move = world.sample(64)
            loss, _ = nce(agent, encode(obs), encode(nxt), move)
            opt.zero_grad(set_to_none=True)
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        tot = 0.0
        for _ in range(10):
            obs, nxt, move = test.sample(64)
            tot += nce(agent, agent.encoder(obs), agent.encoder(nxt), move)[0].item() / 10
    return {"metric": tot, "better": "lower", "curve": curve}

"""Pixel-based inverse/forward dynamics (ICM) pre-training. After the encoder, obs and next_obs are detached although
update_encoder is True, so the encoder keeps its initial weights: rll-research/url_benchmark issue 16."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_icm_encoder_detached"
TRUTH = {
    "mechanisms": ["parameters_not_updated"],
    "layers": [
        "encoder",
        "encoder.convnet.0",
        "encoder.convnet.2",
        "encoder.trunk",
        "encoder.trunk.0",
    ],
    "onset": (0, 0),
}


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.convnet = nn.Sequential(
            nn.Conv2d(1, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten()
        )
        self.trunk = nn.Sequential(nn.Linear(8 * 16, 6), nn.Tanh())

    def forward(self, obs):
        return self.trunk(self.convnet(obs))


class ICM(nn.Module):
    def __init__(self, n_act=5, dim=6):
        super().__init__()
        self.encoder = Encoder()
        self.forward_net = nn.Sequential(nn.Linear(dim + n_act, 48), nn.ReLU(), nn.Linear(48, dim))
        self.backward_net = nn.Sequential(nn.Linear(2 * dim, 64), nn.ReLU(), nn.Linear(64, n_act))

    def losses(self, h, h2, action):
        a = F.one_hot(action, 5).float()
        fwd = (self.forward_net(torch.cat([h, a], 1)) - h2.detach()).pow(2).mean()
        return 0.1 * fwd, F.cross_entropy(self.backward_net(torch.cat([h, h2], 1)), action)


def render(pos, clutter):
    yy, xx = torch.meshgrid(torch.arange(14.0), torch.arange(14.0), indexing="ij")
    d = (yy - pos[:, 0, None, None]) ** 2 + (xx - pos[:, 1, None, None]) ** 2
    return (torch.exp(-d / 3.0) * 1.5 + clutter)[:, None]


def rollout(n, g):
    pos = 3 + 8 * torch.rand(n, 2, generator=g)
    act = torch.randint(0, 5, (n,), generator=g)
    move = torch.tensor([[0.0, 0.0], [0, 2], [0, -2], [2, 0], [-2, 0]])[act]
    clutter = 0.25 * torch.randn(n, 14, 14, generator=g)
    return render(pos, clutter), act, render(pos + move, 0.25 * torch.randn(n, 14, 14, generator=g))


def train(observe, seed=0, fixed=False, update_encoder=True):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    obs, act, nxt = rollout(4000, g)
    vobs, vact, vnxt = rollout(800, g)
    agent = ICM()
    opt = torch.optim.Adam(agent.parameters(), lr=1e-3)
    curve = []
    with observe(agent, opt):
        for step in range(1100):
            b = torch.randint(0, 4000, (64,))
            h, h2 = agent.encoder(obs[b]), agent.encoder(nxt[b])
            if not update_encoder or not fixed:
                h, h2 = h.detach(), h2.detach()
            fwd, bwd = agent.losses(h, h2, act[b])
            opt.zero_grad(set_to_none=True)
            (fwd + bwd).backward()
            opt.step()
            curve.append((fwd + bwd).item())
    with torch.no_grad():
        pred = agent.backward_net(torch.cat([agent.encoder(vobs), agent.encoder(vnxt)], 1)).argmax(
            1
        )
    return {"metric": (pred == vact).float().mean().item(), "better": "higher", "curve": curve}

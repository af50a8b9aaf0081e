"""Offline distributional value learning (quantile regression TD) on logged chain transitions. The vector of quantile fractions (N,) is
broadcast against the TD errors (B, N_pred, N_target) along the target axis instead of the prediction axis (BY571/QR-DQN issue 1)."""

import copy
import torch
from torch import nn

ID = "a_qrdqn_quantile_axis"
TRUTH = {"mechanisms": ["loss_output_mismatch"], "layers": None, "onset": (0, 0)}
N, GAMMA = 16, 0.9


class QuantileNet(nn.Module):
    def __init__(self, obs, actions):
        super().__init__()
        self.actions = actions
        self.trunk = nn.Sequential(nn.Linear(obs, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        self.head = nn.Linear(64, actions * N)

    def forward(self, s):
        return self.head(self.trunk(s)).view(-1, self.actions, N)


def env_step(s, a):
    drift = torch.tensor([-0.3, 0.3])[a]
    s2 = s + 0.2 * torch.randn_like(s)
    s2[:, 0] = s2[:, 0] + drift
    scale = 0.5 + s[:, 1].abs()
    r = s[:, 0] * 0.5 + scale * torch.distributions.Exponential(1.0).sample(s.shape[:1]) - scale
    done = (torch.rand(len(s)) < 0.25).float()
    return r, s2, done


def log_data(n):
    s = torch.randn(n, 3)
    a = torch.randint(0, 2, (n,))
    return (s, a, *env_step(s, a))


def returns(n):
    s = torch.randn(n, 3)
    a = torch.randint(0, 2, (n,))
    s0, a0 = s.clone(), a.clone()
    g, live, disc = torch.zeros(n), torch.ones(n), 1.0
    for _ in range(25):
        r, s, done = env_step(s, a)
        g = g + disc * live * r
        live, disc = live * (1 - done), disc * GAMMA
        a = torch.randint(0, 2, (n,))
    return s0, a0, g


class Learner:
    def __init__(self, net, fixed):
        self.net, self.target = net, copy.deepcopy(net)
        tau = (torch.arange(N) + 0.5) / N
        self.quantile = tau.view(1, N, 1) if fixed else tau
        self.tau = tau

    def loss(self, s, a, r, s2, done):
        with torch.no_grad():
            a2 = torch.randint(0, 2, a.shape)
            nxt = self.target(s2)[torch.arange(len(a)), a2]
            goal = r[:, None] + GAMMA * (1 - done[:, None]) * nxt
        z = self.net(s)[torch.arange(len(a)), a]
        td = goal[:, None, :] - z[:, :, None]
        huber = torch.where(td.abs() < 0.5, 0.5 * td**2, 0.5 * (td.abs() - 0.25))
        rho = (self.quantile - (td.detach() < 0).float()).abs() * huber
        return rho.sum(1).mean(1).mean()

    def soft_update(self, m=0.02):
        for p, q in zip(self.target.parameters(), self.net.parameters()):
            p.data.lerp_(q.data, m)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    data = log_data(20000)
    net = QuantileNet(3, 2)
    agent = Learner(net, fixed)
    opt = torch.optim.Adam(net.parameters(), lr=1e-3)
    curve = []
    with observe(net, opt):
        for step in range(1000):
            idx = torch.randint(0, 20000, (128,))
            loss = agent.loss(*[t[idx] for t in data])
            opt.zero_grad()
            loss.backward()
            opt.step()
            agent.soft_update()
            curve.append(loss.item())
    s, a, g = returns(4000)
    with torch.no_grad():
        z = net(s)[torch.arange(4000), a]
        d = g[:, None] - z
        pinball = torch.maximum(agent.tau * d, (agent.tau - 1) * d).mean().item()
    return {"metric": pinball, "better": "lower", "curve": curve}

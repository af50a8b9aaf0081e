"""HEALTHY: REINFORCE with a value baseline and an entropy bonus on a small navigation task with noisy rewards. The policy loss hovers around zero, the returns
are noisy, the gradient variance is large: all as it must be."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_reinforce_bandit_noise"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class ActorCritic(nn.Module):
    def __init__(self, obs=4, acts=5, h=64):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(obs, h), nn.Tanh())
        self.pi = nn.Sequential(nn.Linear(h, h), nn.Tanh(), nn.Linear(h, acts))
        self.vf = nn.Sequential(nn.Linear(h, h), nn.Tanh(), nn.Linear(h, 1))
        nn.init.orthogonal_(self.pi[-1].weight, 0.01)

    def forward(self, s):
        z = self.body(s)
        return self.pi(z), self.vf(z).squeeze(-1)


class PointWorld:
    """Move on the plane to a goal; the reward is the progress plus noise."""

    moves = torch.tensor([[0.0, 0.0], [0.3, 0.0], [-0.3, 0.0], [0.0, 0.3], [0.0, -0.3]])

    def __init__(self, n):
        self.pos, self.goal = torch.rand(n, 2) * 2 - 1, torch.rand(n, 2) * 2 - 1

    def obs(self):
        return torch.cat([self.pos, self.goal], 1)

    def dist(self):
        return (self.pos - self.goal).norm(dim=1)

    def step(self, a, noise=0.3):
        before = self.dist()
        self.pos = self.pos + self.moves[a]
        return before - self.dist() + noise * torch.randn(len(a))


def rollout(net, n, horizon):
    env, logp, ent, val, rew = PointWorld(n), [], [], [], []
    for _ in range(horizon):
        logits, v = net(env.obs())
        d = torch.distributions.Categorical(logits=logits)
        a = d.sample()
        rew.append(env.step(a))
        logp.append(d.log_prob(a))
        ent.append(d.entropy())
        val.append(v)
    return env, *map(torch.stack, (logp, ent, val, rew))


def returns(rew, gamma=0.9):
    out, acc = [], torch.zeros_like(rew[0])
    for r in rew.flip(0):
        acc = r + gamma * acc
        out.append(acc)
    return torch.stack(out[::-1])


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    net = ActorCritic()
    opt = torch.optim.Adam(net.parameters(), lr=2e-3)
    curve = []
    with observe(net, opt):
        for it in range(500):
            _, logp, ent, val, rew = rollout(net, 48, 8)
            G = returns(rew)
            adv = (G - val).detach()
            adv = (adv - adv.mean()) / (adv.std() + 1e-6)
            loss = -(logp * adv).mean() + 0.5 * F.mse_loss(val, G) - 0.005 * ent.mean()
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 0.5)
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        final = rollout(net, 1000, 8)[0].dist().mean().item()  # a random walk ends at about 1.2
    return {"metric": final, "better": "lower", "curve": curve}

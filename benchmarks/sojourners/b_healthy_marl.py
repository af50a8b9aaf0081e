"""Healthy: two cooperative agents (speaker, listener) by REINFORCE with a critic baseline and an annealed entropy bonus.
Looks odd: the policy loss hovers about zero and is noisy, rewards are random bits, the message is meaningless for a while."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.distributions import Categorical

ID = "b_healthy_marl"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class Agent(nn.Module):
    def __init__(self, n_in, n_out, h=32):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(n_in, h), nn.Tanh())
        self.pi = nn.Linear(h, n_out)
        nn.init.orthogonal_(self.pi.weight, 0.1)

    def forward(self, x):
        return Categorical(logits=self.pi(self.body(x)))


class Game(nn.Module):
    def __init__(self, K=4):
        super().__init__()
        self.speaker, self.listener = Agent(K, K), Agent(K + 2, K)
        self.critic = nn.Sequential(nn.Linear(K, 32), nn.Tanh(), nn.Linear(32, 1))
        self.K = K


def play(model, B, greedy=False):
    K = model.K
    goal = torch.randint(K, (B,))
    obs = F.one_hot(goal, K).float()
    ds = model.speaker(obs)
    msg = ds.probs.argmax(-1) if greedy else ds.sample()
    dl = model.listener(torch.cat([F.one_hot(msg, K).float(), torch.randn(B, 2)], -1))
    act = dl.probs.argmax(-1) if greedy else dl.sample()
    hit = (act == goal).float()
    r = hit if greedy else hit + 0.3 * torch.randn(B)  # noisy team reward
    return obs, ds, msg, dl, act, r, hit


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = Game()
    opt = torch.optim.Adam(
        [
            {"params": model.speaker.parameters(), "lr": 3e-3},
            {"params": model.listener.parameters(), "lr": 5e-3},
            {"params": model.critic.parameters(), "lr": 1e-2},
        ]
    )
    curve = []
    with observe(model, opt):
        for step in range(1500):
            obs, ds, msg, dl, act, r, hit = play(model, 96)
            v = model.critic(obs).squeeze(-1)
            adv = (r - v).detach()
            ent = 0.12 * max(0.0, 1 - step / 1000)
            pg = -(adv * (ds.log_prob(msg) + dl.log_prob(act))).mean()
            loss = pg + 0.5 * F.mse_loss(v, r) - ent * (ds.entropy() + dl.entropy()).mean()
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        m = play(model, 2000, greedy=True)[-1].mean().item()
    return {"metric": m, "better": "higher", "curve": curve}

"""Healthy: DQN on a chain-walking task. The TD loss rises for most of the run because the values (and targets) grow, while the
return improves; the worried user was told this is normal. After tensorflow/agents issue 316."""

import random
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_ok_dqn_loss_grows"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class Walker:
    """Balance-like chain: state drifts, keep it near zero; +1 per step alive, 60 steps at most."""

    def __init__(self, seed):
        self.r = random.Random(seed)

    def reset(self):
        self.x, self.v, self.t = self.r.uniform(-0.3, 0.3), self.r.uniform(-0.2, 0.2), 0
        return self.obs()

    def obs(self):
        return torch.tensor([self.x, self.v])

    def step(self, a):
        self.v += 0.18 * self.x + (0.14 if a == 1 else -0.14) + self.r.gauss(0, 0.02)
        self.x += 0.35 * self.v
        self.t += 1
        dead = abs(self.x) > 1.0
        return self.obs(), 1.0, dead, dead or self.t >= 60


class QNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        self.q = nn.Linear(64, 2)

    def forward(self, s):
        return self.q(self.body(s))


def play(q, seed, episodes=15):
    env, total = Walker(seed), 0
    for _ in range(episodes):
        s, done = env.reset(), False
        while not done:
            with torch.no_grad():
                s, r, _, done = env.step(int(q(s).argmax()))
            total += r
    return total / episodes


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = random.Random(seed)
    env, q, target = Walker(seed + 1), QNet(), QNet()
    target.load_state_dict(q.state_dict())
    opt = torch.optim.Adam(q.parameters(), lr=1e-3)
    mem, curve = [], []
    s = env.reset()
    for _ in range(300):
        a = rng.randrange(2)
        s2, r, dead, done = env.step(a)
        mem.append((s, a, r, s2, float(dead)))
        s = env.reset() if done else s2
    with observe(q, opt):
        for step in range(2300):
            for _ in range(2):
                eps = max(0.05, 1 - step / 700)
                with torch.no_grad():
                    a = rng.randrange(2) if rng.random() < eps else int(q(s).argmax())
                s2, r, dead, done = env.step(a)
                mem.append((s, a, r, s2, float(dead)))
                s = env.reset() if done else s2
            S, A, R, S2, D = zip(*rng.sample(mem, 64))
            with torch.no_grad():
                y = (
                    torch.tensor(R)
                    + 0.97 * (1 - torch.tensor(D)) * target(torch.stack(S2)).max(1).values
                )
            pred = q(torch.stack(S)).gather(1, torch.tensor(A)[:, None]).squeeze(1)
            loss = F.mse_loss(pred, y)
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
            if step % 50 == 49:
                target.load_state_dict(q.state_dict())
    return {"metric": play(q, seed + 900), "better": "higher", "curve": curve}

"""Healthy: double DQN with soft target network on a noisy grid world. Rewards are noisy and the loss rises while values grow."""

import copy
import random
import torch
import torch.nn as nn
import torch.nn.functional as F
from collections import deque

ID = "b_dqn_noisy_ok"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class Grid:
    """5x5, start anywhere, goal at (4, 4), pit at (2, 2); every reward carries Gaussian noise."""

    def __init__(self, rng):
        self.rng = rng

    def reset(self):
        self.p, self.t = (self.rng.randrange(3), self.rng.randrange(3)), 0
        if self.p == (2, 2):
            self.p = (0, 0)
        return self.obs()

    def obs(self):
        v = torch.zeros(25)
        v[5 * self.p[0] + self.p[1]] = 1
        return v

    def step(self, a):
        d = [(1, 0), (-1, 0), (0, 1), (0, -1)][a]
        if self.rng.random() < 0.1:
            d = self.rng.choice([(1, 0), (-1, 0), (0, 1), (0, -1)])
        self.p = (min(4, max(0, self.p[0] + d[0])), min(4, max(0, self.p[1] + d[1])))
        self.t += 1
        r, done = -0.05, False
        if self.p == (4, 4):
            r, done = 1.0, True
        elif self.p == (2, 2):
            r, done = -1.0, True
        return self.obs(), r, r + self.rng.gauss(0, 0.3), done, self.t >= 30


class Dueling(nn.Module):
    def __init__(self, h=48):
        super().__init__()
        self.body, self.v, self.a = (
            nn.Sequential(nn.Linear(25, h), nn.ReLU()),
            nn.Linear(h, 1),
            nn.Linear(h, 4),
        )

    def forward(self, x):
        h = self.body(x)
        a = self.a(h)
        return self.v(h) + a - a.mean(-1, keepdim=True)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = random.Random(seed)
    env, q = Grid(rng), Dueling()
    tgt = copy.deepcopy(q).requires_grad_(False)
    opt = torch.optim.Adam(q.parameters(), lr=2e-3)
    buf, curve, s = deque(maxlen=6000), [], env.reset()

    def act(s, eps):
        if rng.random() < eps:
            return rng.randrange(4)
        with torch.no_grad():
            return int(q(s).argmax())

    def advance(s, eps):
        a = act(s, eps)
        s2, _, r, done, trunc = env.step(a)
        buf.append((s, a, r, s2, float(done)))
        return env.reset() if done or trunc else s2

    for _ in range(300):
        s = advance(s, 1.0)
    with observe(q, opt):
        for it in range(1500):
            for _ in range(3):
                s = advance(s, max(0.1, 1 - it / 700))
            bs, ba, br, bn, bd = zip(*rng.sample(buf, 64))
            S, N, A = torch.stack(bs), torch.stack(bn), torch.tensor(ba)
            R, Dn = torch.tensor(br), torch.tensor(bd)
            with torch.no_grad():
                best = q(N).argmax(1, keepdim=True)
                y = R + 0.95 * (1 - Dn) * tgt(N).gather(1, best).squeeze(1)
            loss = F.smooth_l1_loss(q(S).gather(1, A[:, None]).squeeze(1), y)
            opt.zero_grad()
            loss.backward()
            opt.step()
            with torch.no_grad():
                for p, t in zip(q.parameters(), tgt.parameters()):
                    t.lerp_(p, 0.02)
            curve.append(loss.item())
    total = 0.0
    for _ in range(200):
        s, end = env.reset(), False
        while not end:
            s, r, _, done, trunc = env.step(act(s, 0.0))
            total += r
            end = done or trunc
    return {"metric": total / 200, "better": "higher", "curve": curve}

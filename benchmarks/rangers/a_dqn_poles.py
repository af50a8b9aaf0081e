"""DQN with a replay buffer and several actors on a cart and pole that pays 1 for every step. As in github.com/navneet-nmk/pytorch-rl
issue 2 ("'Done' not used in calculating Q-value targets") and DongjunLee/dqn-tensorflow pull request 1, the target bootstraps beyond
the end of the episode, so falling over costs nothing and all values drift towards 1 / (1 - gamma).
"""

import copy

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

ID = "a_dqn_poles"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": 0}


class Poles:
    """n carts with poles, each started again as soon as its pole falls."""

    def __init__(self, n, rng):
        self.rng, self.n = rng, n
        self.s = rng.uniform(-0.05, 0.05, (n, 4)).astype(np.float32)
        self.age = np.zeros(n, int)

    def step(self, a):
        x, v, th, w = self.s.T
        force = np.where(a == 1, 10.0, -10.0)
        tmp = (force + 0.05 * w * w * np.sin(th)) / 1.1
        wa = (9.8 * np.sin(th) - np.cos(th) * tmp) / (0.5 * (4 / 3 - 0.1 * np.cos(th) ** 2 / 1.1))
        xa = tmp - 0.05 * wa * np.cos(th) / 1.1
        nxt = np.stack([x + 0.02 * v, v + 0.02 * xa, th + 0.02 * w, w + 0.02 * wa], 1).astype(
            np.float32
        )
        done = (np.abs(nxt[:, 0]) > 2.4) | (np.abs(nxt[:, 2]) > 0.21)
        self.age += 1
        ended = done | (self.age >= 200)
        ages = self.age.copy()
        self.s = np.where(ended[:, None], self.rng.uniform(-0.05, 0.05, (self.n, 4)), nxt).astype(
            np.float32
        )
        self.age[ended] = 0
        return nxt, done.astype(np.float32), ended, ages


SCALE = torch.tensor([0.5, 0.7, 6.0, 0.7])


class QNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2, self.out = nn.Linear(4, 64), nn.Linear(64, 64), nn.Linear(64, 2)

    def forward(self, s):
        return self.out(F.relu(self.fc2(F.relu(self.fc1(s * SCALE)))))

    @torch.no_grad()
    def act(self, s):
        return self(torch.from_numpy(s)).argmax(1).numpy()


def mean_length(model, rng):
    env, lengths = Poles(30, rng), np.full(30, 200)
    alive = np.ones(30, bool)
    for _ in range(200):
        _, done, ended, ages = env.step(model.act(env.s))
        first = ended & alive
        lengths[first] = ages[first]
        alive &= ~ended
    return float(lengths.mean())


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = QNet()
    target = copy.deepcopy(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    gamma, env, memory, losses = 0.98, Poles(8, rng), [], []
    with observe(model, optimizer):
        for step in range(1500):
            eps = max(0.05, 1 - step / 600)
            s = env.s
            a = np.where(rng.random(8) < eps, rng.integers(0, 2, 8), model.act(s))
            s2, done, _, _ = env.step(a)
            memory.extend(zip(s, a, s2, done))
            pick = [memory[i] for i in rng.integers(max(0, len(memory) - 8000), len(memory), 64)]
            bs, ba, bs2, bd = (torch.from_numpy(np.array(c)) for c in zip(*pick))
            with torch.no_grad():
                best = target(bs2).gather(1, model(bs2).argmax(1, keepdim=True)).squeeze(1)
                expected = 1.0 + gamma * (best * (1 - bd) if fixed else best)
            q = model(bs).gather(1, ba[:, None]).squeeze(1)
            loss = F.smooth_l1_loss(q, expected)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            for p, t in zip(model.parameters(), target.parameters()):
                t.data.lerp_(p.data, 0.02)
    return {
        "metric": mean_length(model, np.random.default_rng(seed + 1)),
        "better": "higher",
        "curve": losses,
    }

"""A double DQN learns the cart-pole from a fixed replay buffer of random play. Nothing is wrong: after a short dip the loss grows and
jumps at every synchronisation of the target network, because the values themselves grow from zero to tens while the policy becomes good.
Newcomers read the rising loss as divergence and stop the run."""

import copy
import numpy as np
import torch
from torch import nn
import torch.nn.functional as F

ID = "a_cartpole_dqn"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}

SCALE = np.array([1.0, 1.0, 0.1, 1.0])


def physics(state, action):
    x, v, th, w = state.T
    force = np.where(action == 1, 10.0, -10.0)
    c, s = np.cos(th), np.sin(th)
    tmp = (force + 0.05 * w**2 * s) / 1.1
    thacc = (9.8 * s - c * tmp) / (0.5 * (4 / 3 - 0.1 * c**2 / 1.1))
    acc = tmp - 0.05 * thacc * c / 1.1
    nxt = np.stack([x + 0.02 * v, v + 0.02 * acc, th + 0.02 * w, w + 0.02 * thacc], 1)
    return nxt, (np.abs(nxt[:, 0]) > 2.4) | (np.abs(nxt[:, 2]) > 0.2095)


def tensor(state):
    return torch.from_numpy((state / SCALE).astype(np.float32))


def random_play(steps, n, rng):
    spread = np.array([1.2, 0.8, 0.08, 0.6])
    state = rng.uniform(-1, 1, (n, 4)) * spread
    rows = []
    for _ in range(steps):
        a = rng.integers(0, 2, n)
        nxt, fell = physics(state, a)
        rows.append(
            (
                tensor(state),
                torch.from_numpy(a),
                tensor(nxt),
                torch.from_numpy(fell.astype(np.float32)),
            )
        )
        state = nxt
        state[fell] = rng.uniform(-1, 1, (int(fell.sum()), 4)) * spread
    return [torch.cat(c) for c in zip(*rows)]


def greedy_length(net, rng, episodes=40, limit=200):
    state = rng.uniform(-0.05, 0.05, (episodes, 4))
    alive, length = np.ones(episodes, dtype=bool), np.zeros(episodes)
    for _ in range(limit):
        with torch.no_grad():
            a = net(tensor(state)).argmax(-1).numpy()
        state, fell = physics(state, a)
        alive &= ~fell
        length += alive
    return float(length.mean())


class QNet(nn.Module):
    def __init__(self, width=64):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(4, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )
        self.value, self.advantage = nn.Linear(width, 1), nn.Linear(width, 2)

    def forward(self, s):
        h = self.body(s)
        adv = self.advantage(h)
        return self.value(h) + adv - adv.mean(-1, keepdim=True)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed + 6)
    g = torch.Generator().manual_seed(seed)
    s, a, s2, end = random_play(300, 64, rng)
    online = QNet()
    target = copy.deepcopy(online).requires_grad_(False)
    optimizer = torch.optim.Adam(online.parameters(), lr=1e-3)
    gamma, curve = 0.97, []
    with observe(online, optimizer):
        for step in range(1400):
            if step % 40 == 0:
                target.load_state_dict(online.state_dict())
            i = torch.randint(0, len(s), (128,), generator=g)
            with torch.no_grad():
                best = online(s2[i]).argmax(-1, keepdim=True)
                goal = 1.0 + gamma * (1 - end[i]) * target(s2[i]).gather(1, best)[:, 0]
            loss = F.mse_loss(online(s[i]).gather(1, a[i][:, None])[:, 0], goal)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    return {"metric": greedy_length(online, rng), "better": "higher", "curve": curve}

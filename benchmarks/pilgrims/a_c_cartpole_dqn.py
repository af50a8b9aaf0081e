"""A DQN agent balances a pole in a vectorised cart-pole simulation with replay buffer and target network, written single-file style.
The TD target bootstraps through the end of an episode because the `(1 - done)` factor is missing, so falling over costs nothing;
it is a classic slip when the target line is retyped from the paper's formula."""

import math
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "c_cartpole_dqn"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": 0}

LIMIT = 200


class VectorCartPole:
    def __init__(self, n, rng):
        self.n, self.rng = n, rng
        self.s = rng.uniform(-0.05, 0.05, (n, 4))
        self.t = np.zeros(n, int)

    def step(self, a):
        x, v, th, w = self.s.T
        f = np.where(a == 1, 10.0, -10.0)
        c, s = np.cos(th), np.sin(th)
        tmp = (f + 0.05 * w * w * s) / 1.1
        acc = (9.8 * s - c * tmp) / (0.5 * (4 / 3 - 0.1 * c * c / 1.1))
        xacc = tmp - 0.05 * acc * c / 1.1
        self.s = np.stack([x + 0.02 * v, v + 0.02 * xacc, th + 0.02 * w, w + 0.02 * acc], 1)
        self.t += 1
        done = (np.abs(self.s[:, 0]) > 2.4) | (np.abs(self.s[:, 2]) > 12 * math.pi / 180)
        truncated = (self.t >= LIMIT) & ~done
        nxt = self.s.copy()
        ended = done | truncated
        if ended.any():
            self.s[ended] = self.rng.uniform(-0.05, 0.05, (int(ended.sum()), 4))
            self.t[ended] = 0
        return nxt, np.ones(self.n), done, truncated


class QNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(
            nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2)
        )

    def forward(self, x):
        return self.network(x)


def evaluate(q, rng, n=40):
    env = VectorCartPole(n, rng)
    alive, total = np.ones(n, bool), np.zeros(n)
    for _ in range(LIMIT):
        with torch.no_grad():
            a = q(torch.tensor(env.s, dtype=torch.float32)).argmax(1).numpy()
        _, r, done, _ = env.step(a)
        total += alive
        alive &= ~done
    return float(total.mean())


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    envs = VectorCartPole(8, rng)
    q_network = QNetwork()
    optimizer = torch.optim.Adam(q_network.parameters(), lr=1e-3)
    target_network = QNetwork()
    target_network.load_state_dict(q_network.state_dict())
    gamma, batch_size, size = 0.98, 128, 12000
    obs_buf, next_buf = np.zeros((size, 4), np.float32), np.zeros((size, 4), np.float32)
    act_buf, rew_buf, done_buf = (
        np.zeros(size, np.int64),
        np.zeros(size, np.float32),
        np.zeros(size, np.float32),
    )
    filled = 0

    def collect(epsilon):
        nonlocal filled
        obs = envs.s.copy()
        with torch.no_grad():
            a = q_network(torch.tensor(obs, dtype=torch.float32)).argmax(1).numpy()
        a = np.where(rng.random(envs.n) < epsilon, rng.integers(0, 2, envs.n), a)
        nxt, r, done, _ = envs.step(a)
        k = (filled + np.arange(envs.n)) % size
        obs_buf[k], next_buf[k], act_buf[k], rew_buf[k], done_buf[k] = obs, nxt, a, r, done
        filled += envs.n

    for _ in range(100):
        collect(1.0)

    curve = []
    with observe(q_network, optimizer):
        for global_step in range(1400):
            collect(max(0.05, 1 - global_step / 600))
            idx = rng.integers(0, min(filled, size), batch_size)
            observations, next_observations = (
                torch.from_numpy(obs_buf[idx]),
                torch.from_numpy(next_buf[idx]),
            )
            rewards, dones = torch.from_numpy(rew_buf[idx]), torch.from_numpy(done_buf[idx])
            with torch.no_grad():
                target_max = target_network(next_observations).max(dim=1).values
                if fixed:
                    td_target = rewards + gamma * target_max * (1 - dones)
                else:
                    td_target = rewards + gamma * target_max
            old_val = (
                q_network(observations)
                .gather(1, torch.from_numpy(act_buf[idx])[:, None])
                .squeeze(1)
            )
            loss = F.smooth_l1_loss(old_val, td_target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                for t, p in zip(target_network.parameters(), q_network.parameters()):
                    t.lerp_(p, 0.02)
            curve.append(loss.item())

    return {
        "metric": evaluate(q_network, np.random.default_rng(seed + 500)),
        "better": "higher",
        "curve": curve,
    }

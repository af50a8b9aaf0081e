"""A DQN with a target network learns to reach the goal of a windy grid from sparse rewards.
The temporal-difference loss starts at almost nothing and grows, as it should: at first no reward has been seen and all values are zero, and the
targets only become large once the policy gets better. The return is what counts."""

import random
import copy
import torch
from torch import nn
import torch.nn.functional as F

ID = "b_dqn_rising_loss"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}
N = 6


class WindyGrid:
    moves = [(0, 1), (1, 0), (0, -1), (-1, 0)]

    def __init__(self, rnd):
        self.rnd = rnd

    def reset(self):
        self.x, self.y, self.t = self.rnd.randrange(N - 1), self.rnd.randrange(N - 1), 0
        return self.obs()

    def obs(self):
        v = [0.0] * (2 * N)
        v[self.x] = v[N + self.y] = 1.0
        return v

    def step(self, a):
        dx, dy = self.moves[a]
        if self.rnd.random() < 0.1:
            dy -= 1
        self.x, self.y = min(max(self.x + dx, 0), N - 1), min(max(self.y + dy, 0), N - 1)
        self.t += 1
        done = self.x == N - 1 and self.y == N - 1
        return self.obs(), (10.0 if done else 0.0), done, done or self.t >= 40


def play(env, q, episodes):
    won = 0
    for _ in range(episodes):
        s, over = env.reset(), False
        while not over:
            with torch.no_grad():
                s, r, done, over = env.step(int(q(torch.tensor([s])).argmax()))
        won += done
    return won / episodes


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rnd = random.Random(seed)
    env = WindyGrid(rnd)
    q = nn.Sequential(
        nn.Linear(2 * N, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4)
    )
    target = copy.deepcopy(q)
    optimizer = torch.optim.Adam(q.parameters(), lr=1e-3)
    memory, curve = [], []
    s, steps = env.reset(), 0
    with observe(q, optimizer):
        while len(curve) < 1500:
            for _ in range(4):
                eps = max(0.1, 1 - steps / 3000)
                if rnd.random() < eps:
                    a = rnd.randrange(4)
                else:
                    with torch.no_grad():
                        a = int(q(torch.tensor([s])).argmax())
                s2, r, done, over = env.step(a)
                memory.append((s, a, r, s2, float(done)))
                s = env.reset() if over else s2
                steps += 1
            if len(memory) < 64:
                continue
            batch = rnd.sample(memory[-8000:], 64)
            bs, ba, br, bs2, bd = (torch.tensor(z) for z in zip(*batch))
            with torch.no_grad():
                best = q(bs2).argmax(1, keepdim=True)
                y = br + 0.95 * (1 - bd) * target(bs2).gather(1, best).squeeze(1)
            loss = F.mse_loss(q(bs).gather(1, ba[:, None]).squeeze(1), y)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(q.parameters(), 10.0)
            optimizer.step()
            curve.append(loss.item())
            if len(curve) % 100 == 0:
                target.load_state_dict(q.state_dict())
    return {"metric": play(env, q, 100), "better": "higher", "curve": curve}

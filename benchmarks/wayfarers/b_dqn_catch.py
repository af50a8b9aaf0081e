"""Healthy but odd: double DQN on the game of catch with hard target copies; the loss jumps after every copy and its peaks hardly fall for half the run."""

import copy

import torch
import torch.nn.functional as F
from torch import nn

ID = "dqn-catch-hard-target"
TRUTH = {"mechanisms": [], "layers": [], "onset": None}
ROWS, COLS = 7, 6


class Catch:
    """Parallel games: a ball falls one row a step, the paddle moves left, stays or right."""

    def __init__(self, n, gen):
        self.n, self.gen = n, gen
        self.row = torch.randint(ROWS - 1, (n,), generator=gen)
        self.ball = torch.randint(COLS, (n,), generator=gen)
        self.paddle = torch.randint(COLS, (n,), generator=gen)

    def state(self):
        parts = ((self.row, ROWS), (self.ball, COLS), (self.paddle, COLS))
        return torch.cat([F.one_hot(x, k) for x, k in parts], 1).float()

    def step(self, action):
        self.paddle = (self.paddle + action - 1).clamp(0, COLS - 1)
        self.row = self.row + 1
        done = self.row == ROWS - 1
        reward = torch.where(self.ball == self.paddle, 1.0, -1.0) * done
        after = self.state()
        self.row = torch.where(done, 0, self.row)
        fresh = torch.randint(COLS, (2, self.n), generator=self.gen)
        self.ball = torch.where(done, fresh[0], self.ball)
        self.paddle = torch.where(done, fresh[1], self.paddle)
        return reward, after, done.float()


class DuelingQ(nn.Module):
    def __init__(self, width=96):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(ROWS + 2 * COLS, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )
        self.value, self.advantage = nn.Linear(width, 1), nn.Linear(width, 3)

    def forward(self, s):
        h = self.body(s)
        a = self.advantage(h)
        return self.value(h) + a - a.mean(1, keepdim=True)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 1)
    games = Catch(32, gen)
    online = DuelingQ()
    target = copy.deepcopy(online).requires_grad_(False)
    optimizer = torch.optim.Adam(online.parameters(), lr=1.5e-3)
    replay, curve = [], []
    with observe(online, optimizer):
        for step in range(600):
            epsilon = max(0.1, 1.0 - step / 300)
            for _ in range(2):
                s = games.state()
                with torch.no_grad():
                    greedy = online(s).argmax(1)
                explore = torch.rand(games.n, generator=gen) < epsilon
                a = torch.where(explore, torch.randint(3, (games.n,), generator=gen), greedy)
                replay.append((s, a, *games.step(a)))
            pick = torch.randint(len(replay), (8,), generator=gen).tolist()
            s, a, r, s2, done = (torch.cat(x) for x in zip(*(replay[i] for i in pick)))
            with torch.no_grad():
                best = online(s2).argmax(1, keepdim=True)
                goal = r + 0.97 * (1 - done) * target(s2).gather(1, best).squeeze(1)
            loss = F.smooth_l1_loss(online(s).gather(1, a[:, None]).squeeze(1), goal)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
            if (step + 1) % 50 == 0:
                target.load_state_dict(online.state_dict())
    caught = total = 0.0
    for _ in range(60):
        with torch.no_grad():
            r, _, done = games.step(online(games.state()).argmax(1))
        caught, total = caught + (r > 0).sum().item(), total + done.sum().item()
    return {"metric": caught / total, "better": "higher", "curve": curve}

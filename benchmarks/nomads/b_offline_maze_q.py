"""HEALTHY. Q-learning of the time to the goal from a fixed log of random moves in a windy maze, with a target network that is
copied every 50 steps. The TD loss drops to almost nothing before the first copy, then rises for hundreds of steps and stays up: the
targets get larger and more spread out as the values move back from the goal, and the wind makes them noisy for good. The greedy policy
gets better all the while and solves the maze."""

import copy

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_offline_maze_q"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}

N, GAMMA, WIND = 7, 0.97, 0.1
MOVES = [(0, 1), (1, 0), (0, -1), (-1, 0)]


class Maze:
    def __init__(self, rng):
        while True:
            self.wall = rng.random((N, N)) < 0.22
            self.goal = (N - 1, N - 1)
            self.wall[self.goal] = False
            self.depth = self._distances()
            if np.isfinite(self.depth).sum() > 30:
                break
        self.cells = [c for c in zip(*np.where(np.isfinite(self.depth))) if c != self.goal]

    def step(self, cell, action):
        nxt = (cell[0] + MOVES[action][0], cell[1] + MOVES[action][1])
        inside = 0 <= nxt[0] < N and 0 <= nxt[1] < N
        return nxt if inside and not self.wall[nxt] else cell

    def _distances(self):
        d = np.full((N, N), np.inf)
        d[self.goal], front = 0, [self.goal]
        while front:
            cell = front.pop(0)
            for a in range(4):
                nxt = self.step(cell, a)
                if not np.isfinite(d[nxt]):
                    d[nxt] = d[cell] + 1
                    front.append(nxt)
        return d


def encode(cells):
    cells = np.asarray(cells)
    x = np.zeros((len(cells), 2 * N + 2), dtype=np.float32)
    rows = np.arange(len(cells))
    x[rows, cells[:, 0]] = 1
    x[rows, N + cells[:, 1]] = 1
    x[:, 2 * N :] = cells / (N - 1) - 0.5
    return torch.from_numpy(x)


class DuelingQ(nn.Module):
    def __init__(self, hidden=256):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(2 * N + 2, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()
        )
        self.value = nn.Linear(hidden, 1)
        self.advantage = nn.Linear(hidden, 4)

    def forward(self, x):
        h = self.body(x)
        a = self.advantage(h)
        return self.value(h) + a - a.mean(1, keepdim=True)


def collect(maze, rng, n):
    s, a, r, s2, done = [], [], [], [], []
    for _ in range(n):
        cell = maze.cells[rng.integers(len(maze.cells))]
        act = int(rng.integers(4))
        nxt = maze.step(cell, act)
        if nxt != maze.goal and rng.random() < WIND:
            nxt = maze.cells[rng.integers(len(maze.cells))]
        s.append(cell), a.append(act), s2.append(nxt)
        r.append(-1.0)
        done.append(float(nxt == maze.goal))
    return encode(s), torch.tensor(a), torch.tensor(r), encode(s2), torch.tensor(done)


def solved(model, maze):
    wins = 0
    for cell in maze.cells:
        start = cell
        for _ in range(int(maze.depth[start]) + 4):
            with torch.no_grad():
                cell = maze.step(cell, int(model(encode([cell])).argmax()))
        wins += cell == maze.goal
    return wins / len(maze.cells)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed + 71)
    maze = Maze(rng)
    log = collect(maze, rng, 10000)
    model = DuelingQ()
    target = copy.deepcopy(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    curve = []
    with observe(model, optimizer):
        for step in range(1400):
            s, a, r, s2, done = draw(log, rng)
            with torch.no_grad():
                best = model(s2).argmax(1, keepdim=True)
                y = r + GAMMA * (1 - done) * target(s2).gather(1, best).squeeze(1)
            q = model(s).gather(1, a[:, None]).squeeze(1)
            loss = F.mse_loss(q, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if (step + 1) % 50 == 0:
                target.load_state_dict(model.state_dict())
            curve.append(loss.item())
    return {"metric": solved(model, maze), "better": "higher", "curve": curve}


def draw(log, rng, n=256):
    idx = torch.from_numpy(rng.integers(0, len(log[0]), n))
    return tuple(t[idx] for t in log)

"""Healthy but odd: double DQN on a grid with a target network; the loss jumps at every
target sync and for half the run does not fall, while values spread from the goal."""

import copy

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a-dqn-rising-sawtooth"
TRUTH = {"mechanisms": [], "layers": [], "onset": None}
SIZE, GAMMA, SYNC, ENVS = 6, 0.95, 25, 48
MOVES = torch.tensor([[0, 1], [0, -1], [1, 0], [-1, 0]])
WALLS = torch.zeros(SIZE, SIZE, dtype=torch.bool)
WALLS[2, 1:6] = True
WALLS[4, 0:4] = True


def encode(pos):
    return torch.cat([F.one_hot(pos[:, 0], SIZE), F.one_hot(pos[:, 1], SIZE)], 1).float()


def spawn(n):
    free = (~WALLS).nonzero()
    free = free[(free != SIZE - 1).any(1)]
    return free[torch.randint(0, len(free), (n,))]


def move(pos, action):
    nxt = (pos + MOVES[action]).clamp(0, SIZE - 1)
    nxt = torch.where(WALLS[nxt[:, 0], nxt[:, 1]][:, None], pos, nxt)
    return nxt, (nxt == SIZE - 1).all(1)


class QNet(nn.Module):
    def __init__(self, hidden=96):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(2 * SIZE, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()
        )
        self.advantage, self.value = nn.Linear(hidden, 4), nn.Linear(hidden, 1)

    def forward(self, x):
        h = self.body(x)
        a = self.advantage(h)
        return self.value(h) + a - a.mean(1, keepdim=True)


class Replay:
    def __init__(self):
        self.rows = []

    def add(self, *row):
        self.rows = (self.rows + [row])[-200:]

    def sample(self, n):
        columns = [torch.cat(c) for c in zip(*self.rows)]
        i = torch.randint(0, len(columns[0]), (n,))
        return [c[i] for c in columns]


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    model = QNet()
    target = copy.deepcopy(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    replay, pos, curve = Replay(), spawn(ENVS), []
    with observe(model, optimizer):
        for step in range(600):
            explore = max(0.3, 1 - step / 400)
            with torch.no_grad():
                greedy = model(encode(pos)).argmax(1)
            action = torch.where(torch.rand(ENVS) < explore, torch.randint(0, 4, (ENVS,)), greedy)
            nxt, done = move(pos, action)
            replay.add(pos, action, nxt, done)
            pos = torch.where(done[:, None] | (torch.rand(ENVS, 1) < 0.03), spawn(ENVS), nxt)
            s, a, s2, d = replay.sample(192)
            with torch.no_grad():
                best = model(encode(s2)).argmax(1, keepdim=True)
                future = target(encode(s2)).gather(1, best).squeeze(1)
                goal = torch.where(d, 10.0, GAMMA * future)
            loss = F.smooth_l1_loss(model(encode(s)).gather(1, a[:, None]).squeeze(1), goal)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            optimizer.step()
            curve.append(loss.item())
            if (step + 1) % SYNC == 0:
                target.load_state_dict(model.state_dict())
    pos, reached = spawn(512), torch.zeros(512, dtype=torch.bool)
    with torch.no_grad():
        for _ in range(22):
            pos, done = move(pos, model(encode(pos)).argmax(1))
            reached |= done
    return {"metric": reached.float().mean().item(), "better": "higher", "curve": curve}

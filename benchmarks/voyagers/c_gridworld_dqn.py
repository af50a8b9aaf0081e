"""Healthy but odd: a DQN in an endless grid world whose loss starts near zero and grows in a sawtooth
(target network syncs, values build up from zero) while the policy gets better and better."""

import copy

import torch
import torch.nn.functional as F
from torch import nn

ID = "gridworld-dqn"
TRUTH = {"mechanisms": [], "layers": [], "onset": None}

SIDE, ENVS, GAMMA = 6, 32, 0.95
MOVES = torch.tensor([[0, 1], [0, -1], [1, 0], [-1, 0]])


class GridWorld:
    """Many agents walk to their goals; reaching one pays 1 and brings a new goal, without end."""

    def __init__(self, envs, g):
        self.envs, self.g = envs, g
        self.agent = torch.randint(SIDE, (envs, 2), generator=g)
        self.goal = torch.randint(SIDE, (envs, 2), generator=g)

    def observe(self):
        onehot = F.one_hot(torch.cat([self.agent, self.goal], 1), SIDE)
        return onehot.flatten(1).float()

    def step(self, action):
        self.agent = (self.agent + MOVES[action]).clamp(0, SIDE - 1)
        done = (self.agent == self.goal).all(1)
        fresh = torch.randint(SIDE, (self.envs, 2), generator=self.g)
        self.goal = torch.where(done[:, None], fresh, self.goal)
        return self.observe(), done.float()


class Replay:
    def __init__(self, limit=400):
        self.rows, self.limit = [], limit

    def push(self, *row):
        self.rows = (self.rows + [row])[-self.limit :]

    def sample(self, n, g):
        flat = [torch.cat(column) for column in zip(*self.rows, strict=True)]
        idx = torch.randint(len(flat[0]), (n,), generator=g)
        return [column[idx] for column in flat]


def success_rate(net, g, envs=400):
    world = GridWorld(envs, g)
    reached = torch.zeros(envs, dtype=torch.bool)
    with torch.no_grad():
        for _ in range(12):
            _, done = world.step(net(world.observe()).argmax(1))
            reached |= done.bool()
    return reached.float().mean().item()


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    world, replay = GridWorld(ENVS, g), Replay()
    model = nn.Sequential(
        nn.Linear(4 * SIDE, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 4)
    )
    target = copy.deepcopy(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    curve = []
    with observe(model, optimizer):
        for step in range(600):
            for _ in range(2):
                state = world.observe()
                with torch.no_grad():
                    action = model(state).argmax(1)
                explore = torch.rand(ENVS, generator=g) < max(0.15, 1 - step / 300)
                random_action = torch.randint(4, (ENVS,), generator=g)
                action = torch.where(explore, random_action, action)
                arrived, reward = world.step(action)
                replay.push(state, action, reward, arrived)
            s, a, r, s2 = replay.sample(256, g)
            with torch.no_grad():
                best = target(s2).gather(1, model(s2).argmax(1, keepdim=True)).squeeze(1)
            value = model(s).gather(1, a[:, None]).squeeze(1)
            loss = F.smooth_l1_loss(value, r + GAMMA * best)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step % 25 == 24:
                target.load_state_dict(model.state_dict())
            curve.append(loss.item())
    return {"metric": success_rate(model, g), "better": "higher", "curve": curve}

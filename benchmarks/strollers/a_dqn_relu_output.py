"""DQN with replay and a target net on a grid world that pays -1 a step. The last fully connected layer keeps the default
ReLU (contrib.fully_connected), so Q can not be negative and the outputs die: dennybritz/reinforcement-learning issue 186."""

import copy
import random
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_dqn_relu_output"
TRUTH = {
    "mechanisms": ["dead_units", "loss_output_mismatch"],
    "layers": ["out", "out_act"],
    "onset": (0, 110),
}
SIZE = 4


class Estimator(nn.Module):
    def __init__(self, fixed):
        super().__init__()
        self.conv = nn.Conv2d(2, 12, 3, padding=1)
        self.fc1 = nn.Linear(12 * SIZE * SIZE, 64)
        self.out = nn.Linear(64, 4)
        self.out_act = nn.Identity() if fixed else nn.ReLU()

    def forward(self, s):
        h = F.relu(self.conv(s)).flatten(1)
        return self.out_act(self.out(F.relu(self.fc1(h))))


class GridWorld:
    moves = torch.tensor([[0, 1], [0, -1], [1, 0], [-1, 0]])

    def reset(self, n):
        self.pos, self.goal = torch.randint(0, SIZE, (n, 2)), torch.randint(0, SIZE, (n, 2))
        return self.obs()

    def obs(self):
        o = torch.zeros(len(self.pos), 2, SIZE, SIZE)
        i = torch.arange(len(self.pos))
        o[i, 0, self.pos[:, 0], self.pos[:, 1]] = 1
        o[i, 1, self.goal[:, 0], self.goal[:, 1]] = 1
        return o

    def step(self, a):
        self.pos = (self.pos + self.moves[a]).clamp(0, SIZE - 1)
        done = (self.pos == self.goal).all(1)
        return self.obs(), -torch.ones(len(a)), done

    def restart(self, done):
        n = int(done.sum())
        self.pos[done], self.goal[done] = (
            torch.randint(0, SIZE, (n, 2)),
            torch.randint(0, SIZE, (n, 2)),
        )


def evaluate(net):
    env = GridWorld()
    s, ret = env.reset(300), torch.zeros(300)
    alive = ~(env.pos == env.goal).all(1)
    with torch.no_grad():
        for _ in range(12):
            s, r, done = env.step(net(s).argmax(1))
            ret += r * alive
            alive &= ~done
    return ret.mean().item()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    random.seed(seed)
    q = Estimator(fixed)
    target = copy.deepcopy(q)
    optimizer = torch.optim.RMSprop(q.parameters(), lr=1e-3, alpha=0.95, eps=1e-5)
    env, memory, curve = GridWorld(), [], []
    s = env.reset(16)
    with observe(q, optimizer):
        for step in range(1500):
            eps = max(0.1, 1.0 - step / 900)
            with torch.no_grad():
                a = q(s).argmax(1)
            rnd = torch.rand(16) < eps
            a = torch.where(rnd, torch.randint(0, 4, (16,)), a)
            s2, r, done = env.step(a)
            memory.append((s, a, r, s2, done))
            memory = memory[-600:]
            env.restart(done | (torch.rand(16) < 0.05))
            s = env.obs()
            batch = [torch.cat(z) for z in zip(*random.sample(memory, min(6, len(memory))))]
            with torch.no_grad():
                y = batch[2] + 0.9 * (~batch[4]).float() * target(batch[3]).max(1).values
            pred = q(batch[0]).gather(1, batch[1][:, None]).squeeze(1)
            loss = F.smooth_l1_loss(pred, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step % 25 == 0:
                target.load_state_dict(q.state_dict())
            curve.append(loss.item())
    return {"metric": evaluate(q), "better": "higher", "curve": curve}

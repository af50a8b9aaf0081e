"""Double Q-learning in a maze with a near exit of small and a far exit of large reward. The environment resets itself, and the
target bootstraps from the stored next observation although the episode has ended, which is already the start of the next
one. The agent learns to leave by the near exit again and again; a vectorised environment hides the `done` flag like that."""

import torch
from torch import nn
from torch.nn import functional as F

ID = "b_two_exits"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": (0, 40)}
SIZE, START = 9, (2, 2)
NEAR, FAR = (2, 0), (7, 7)


def look(pos):
    grid = torch.arange(SIZE).float()
    return torch.cat(
        [torch.exp(-((pos[:, :1] - grid) ** 2)), torch.exp(-((pos[:, 1:] - grid) ** 2))], 1
    )


class Maze:
    moves = torch.tensor([[1, 0], [-1, 0], [0, 1], [0, -1]])

    def __init__(self, n, gen):
        self.gen, self.n = gen, n
        self.pos, self.age = torch.tensor([START] * n), torch.zeros(n)

    def step(self, action):
        self.pos = (self.pos + self.moves[action]).clamp(0, SIZE - 1)
        self.age += 1
        near = (self.pos == torch.tensor(NEAR)).all(1)
        far = (self.pos == torch.tensor(FAR)).all(1)
        reward = 0.3 * near.float() + 1.0 * far.float()
        done = near | far
        over = done | (self.age >= 50)
        self.pos = torch.where(over[:, None], torch.tensor([START]), self.pos)
        self.age = torch.where(over, torch.zeros_like(self.age), self.age)
        return look(self.pos.float()), reward, done


class QNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(2 * SIZE, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        self.value, self.advantage = nn.Linear(64, 1), nn.Linear(64, 4)

    def forward(self, o):
        h = self.trunk(o)
        a = self.advantage(h)
        return self.value(h) + a - a.mean(1, keepdim=True)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(29 + seed)
    model, target = QNet(), QNet()
    target.load_state_dict(model.state_dict())
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    env, gamma = Maze(32, gen), 0.97
    obs = look(env.pos.float())
    store, curve = [], []

    def explore(obs, eps):
        with torch.no_grad():
            best = model(obs).argmax(1)
        rnd = torch.randint(0, 4, best.shape, generator=gen)
        act = torch.where(torch.rand(best.shape, generator=gen) < eps, rnd, best)
        nxt, rew, done = env.step(act)
        store.append((obs, act, rew, nxt, done.float()))
        return nxt

    for _ in range(150):
        obs = explore(obs, 1.0)
    with observe(model, optimizer):
        for step in range(1500):
            obs = explore(obs, max(0.15, 1 - step / 800))
            rows = torch.randint(
                max(0, len(store) - 1000), len(store), (4,), generator=gen
            ).tolist()
            o, a, r, o2, d = (torch.cat(c) for c in zip(*(store[i] for i in rows)))
            with torch.no_grad():
                follow = target(o2).gather(1, model(o2).argmax(1, keepdim=True)).squeeze(1)
                goal = r + gamma * follow * (1 - d) if fixed else r + gamma * follow
            loss = F.smooth_l1_loss(model(o).gather(1, a[:, None]).squeeze(1), goal)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step % 40 == 0:
                target.load_state_dict(model.state_dict())
            curve.append(loss.item())
    test = Maze(64, gen)
    seen, total, alive = look(test.pos.float()), 0.0, torch.ones(64)
    with torch.no_grad():
        for _ in range(49):
            slip = torch.rand(64, generator=gen) < 0.05
            act = torch.where(
                slip, torch.randint(0, 4, (64,), generator=gen), model(seen).argmax(1)
            )
            seen, rew, done = test.step(act)
            total = total + (rew * alive)
            alive = alive * (1 - done.float())
    return {"metric": total.mean().item(), "better": "higher", "curve": curve}

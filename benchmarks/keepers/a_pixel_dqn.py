"""A convolutional DQN plays a falling-fruit game from grey pixels, after GitHub: openai/baselines pull request 632, 'fix DQN learning
bug'. The frame wrapper already divides the bytes by 255, and the network divides them by 255 once more, so the pixels arrive four
thousandths high and the agent hardly learns. Each half looks right alone, which is why such double scaling survives review."""

import numpy as np
import torch
from torch import nn

ID = "a_pixel_dqn"
TRUTH = {"mechanisms": ["unnormalized_inputs"], "layers": None, "onset": 0}

SIZE, PLAYERS = 8, 32


class FruitGame:
    """PLAYERS boards side by side; the fruit falls one row a tick, the basket moves left, stays or moves right."""

    def __init__(self, rng):
        self.rng = rng
        self.reset()

    def reset(self):
        self.row = 0
        self.fruit = self.rng.integers(0, SIZE, PLAYERS)
        self.basket = self.rng.integers(0, SIZE, PLAYERS)
        return self.render()

    def render(self):
        screen = np.zeros((PLAYERS, 1, SIZE, SIZE), dtype=np.uint8)
        idx = np.arange(PLAYERS)
        screen[idx, 0, self.row, self.fruit] = 255
        screen[idx, 0, SIZE - 1, self.basket] = 160
        return screen

    def step(self, action):
        self.basket = np.clip(self.basket + action - 1, 0, SIZE - 1)
        self.row += 1
        done = self.row == SIZE - 1
        reward = np.where(self.basket == self.fruit, 1.0, -1.0) if done else np.zeros(PLAYERS)
        return self.render(), reward.astype(np.float32), done


class ScaledFrames:
    def __init__(self, env):
        self.env = env

    def reset(self):
        return self.env.reset().astype(np.float32) / 255.0

    def step(self, action):
        frame, reward, done = self.env.step(action)
        return frame.astype(np.float32) / 255.0, reward, done


class QNetwork(nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.scale = scale
        self.conv1 = nn.Conv2d(1, 12, 3, padding=1)
        self.conv2 = nn.Conv2d(12, 12, 3, stride=2, padding=1)
        self.fc = nn.Linear(12 * 16, 64)
        self.out = nn.Linear(64, 3)

    def forward(self, obs):
        x = obs / 255.0 if self.scale else obs
        x = torch.relu(self.conv1(x))
        x = torch.relu(self.conv2(x))
        return self.out(torch.relu(self.fc(x.flatten(1))))


def play(model, env, rounds):
    total = 0.0
    with torch.no_grad():
        for _ in range(rounds):
            obs, done = env.reset(), False
            while not done:
                obs, reward, done = env.step(model(torch.from_numpy(obs)).argmax(1).numpy())
            total += float(reward.mean())
    return total / rounds


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    env = ScaledFrames(FruitGame(rng))
    model, target = QNetwork(scale=not fixed), QNetwork(scale=not fixed)
    target.load_state_dict(model.state_dict())
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    memory, curve, updates = [], [], 1400
    obs = env.reset()
    with observe(model, optimizer):
        for t in range(updates):
            eps = max(0.1, 1.0 - t / 500)
            with torch.no_grad():
                action = model(torch.from_numpy(obs)).argmax(1).numpy()
            random = rng.random(PLAYERS) < eps
            action = np.where(random, rng.integers(0, 3, PLAYERS), action)
            nxt, reward, done = env.step(action)
            memory.append((obs, action, reward, nxt, np.full(PLAYERS, float(done), np.float32)))
            memory = memory[-400:]
            obs = env.reset() if done else nxt
            picks = [memory[i] for i in rng.integers(0, len(memory), 6)]
            s, a, r, s2, d = (torch.from_numpy(np.concatenate(x)) for x in zip(*picks))
            with torch.no_grad():
                y = r + 0.95 * (1 - d) * target(s2).max(1).values
            q = model(s).gather(1, a.long().unsqueeze(1)).squeeze(1)
            loss = nn.functional.smooth_l1_loss(q, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
            if t % 50 == 49:
                target.load_state_dict(model.state_dict())
    metric = play(model, ScaledFrames(FruitGame(np.random.default_rng(seed + 999))), 20)
    return {"metric": metric, "better": "higher", "curve": curve}

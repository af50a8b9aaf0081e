"""REINFORCE on a small stick-balancing task; the returns of each episode are standardized before the update.
An episode of one single step has a standard deviation of 0/0, and that episode turns the policy into NaN."""

import random
import torch
from torch import nn

ID = "reinforce_one_step_episode"
TRUTH = {"mechanisms": ["numerical_singularity"], "layers": None, "onset": 40}

GAMMA, MAX_STEPS, EPISODES = 0.97, 100, 350


class Stick:
    """State: tilt and angular speed. Push left or right; falls at |tilt| > 0.6."""

    def __init__(self, rng, starts):
        self.rng, self.starts, self.count = rng, starts, 0

    def reset(self):
        self.tilt, self.speed = self.starts[self.count % len(self.starts)]
        self.count += 1
        return [self.tilt * 3, self.speed]

    def step(self, action):
        push = 1.0 if action == 1 else -1.0
        self.speed += 0.1 * (3.0 * self.tilt + 2.0 * push) + self.rng.gauss(0, 0.05)
        self.tilt += 0.1 * self.speed
        return [self.tilt * 3, self.speed], 1.0, abs(self.tilt) > 0.6


def recorded_starts(rng):
    """Start positions as logged on the rig; in one of them the stick was all but down."""
    starts = [(rng.uniform(-0.15, 0.15), rng.uniform(-0.15, 0.15)) for _ in range(70)]
    starts[40] = (0.58, 0.8)
    return starts


class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 1))

    def forward(self, states):
        return self.body(states).squeeze(-1)


def play(env, policy):
    states, actions, rewards, state = [], [], [], env.reset()
    for _ in range(MAX_STEPS):
        with torch.no_grad():
            p = torch.sigmoid(policy(torch.tensor(state))).item()
        action = 1 if env.rng.random() < p else 0
        states.append(state)
        actions.append(float(action))
        state, reward, done = env.step(action)
        rewards.append(reward)
        if done:
            break
    return torch.tensor(states), torch.tensor(actions), rewards


def discounted(rewards):
    out, acc = [], 0.0
    for r in reversed(rewards):
        acc = r + GAMMA * acc
        out.insert(0, acc)
    return torch.tensor(out)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    rng = random.Random(seed)
    env = Stick(rng, recorded_starts(rng))
    policy = Policy()
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-2)
    bce = nn.BCEWithLogitsLoss(reduction="none")
    curve = []
    with observe(policy, optimizer):
        for episode in range(EPISODES):
            states, actions, rewards = play(env, policy)
            if fixed and len(rewards) < 2:
                continue
            returns = discounted(rewards)
            returns = (returns - returns.mean()) / (returns.std() + 1e-8)
            log_prob = -bce(policy(states), actions)
            loss = -(log_prob * returns).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())

    rng = random.Random(1000 + seed)
    test_env = Stick(rng, recorded_starts(rng))
    lengths = [len(play(test_env, policy)[2]) for _ in range(40)]
    return {"metric": sum(lengths) / len(lengths), "better": "higher", "curve": curve}

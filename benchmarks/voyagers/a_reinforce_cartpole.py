"""Healthy but odd: REINFORCE on a pole-balancing task with standardized returns, whose loss
wanders about zero and never falls while the episodes get longer and longer (the recurring forum
question "policy gradient loss does not decrease")."""

import math

import torch
from torch import nn
from torch.distributions import Categorical

ID = "a-reinforce-cartpole"
TRUTH = {"mechanisms": [], "layers": [], "onset": None}


class CartPoles:
    """A batch of carts with the usual equations of motion."""

    def __init__(self, n, max_steps):
        self.n, self.max_steps = n, max_steps

    def reset(self):
        self.state, self.t = (torch.rand(self.n, 4) - 0.5) * 0.1, 0
        self.alive = torch.ones(self.n)
        return self.state

    def step(self, action):
        x, v, theta, omega = self.state.unbind(1)
        force = action.float() * 20 - 10
        sin, cos = torch.sin(theta), torch.cos(theta)
        temp = (force + 0.05 * omega**2 * sin) / 1.1
        alpha = (9.8 * sin - cos * temp) / (0.5 * (4 / 3 - 0.1 * cos**2 / 1.1))
        acc = temp - 0.05 * alpha * cos / 1.1
        new = (x + 0.02 * v, v + 0.02 * acc, theta + 0.02 * omega, omega + 0.02 * alpha)
        self.state, reward = torch.stack(new, 1), self.alive
        fallen = (self.state[:, 0].abs() > 2.4) | (self.state[:, 2].abs() > 12 * math.pi / 180)
        self.alive, self.t = self.alive * (~fallen).float(), self.t + 1
        return self.state, reward, self.t >= self.max_steps or not self.alive.any()


class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.affine1 = nn.Linear(4, 64)
        self.affine2 = nn.Linear(64, 2)

    def forward(self, state):
        scale = torch.tensor([1.0, 1.0, 8.0, 1.0])
        return self.affine2(torch.tanh(self.affine1(state * scale)))


def discounted(rewards, gamma=0.98):
    total, returns = torch.zeros_like(rewards[0]), []
    for r in reversed(rewards):
        total = r + gamma * total
        returns.insert(0, total)
    return torch.stack(returns)


def run_episodes(env, policy):
    state, done, log_probs, rewards = env.reset(), False, [], []
    while not done:
        dist = Categorical(logits=policy(state), validate_args=False)
        action = dist.sample()
        log_probs.append(dist.log_prob(action))
        state, reward, done = env.step(action)
        rewards.append(reward)
    return torch.stack(log_probs), rewards


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    env = CartPoles(n=16, max_steps=120)
    policy = Policy()
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-2)
    curve, lengths = [], []
    with observe(policy, optimizer):
        for episode in range(150):
            log_probs, rewards = run_episodes(env, policy)
            returns, mask = discounted(rewards), torch.stack(rewards)
            live = returns[mask > 0]
            advantage = (returns - live.mean()) / (live.std() + 1e-6)
            loss = -(log_probs * advantage * mask).sum() / mask.sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
            lengths.append(mask.sum().item() / env.n)
    return {"metric": sum(lengths[-10:]) / 10, "better": "higher", "curve": curve}

"""REINFORCE on a memory-free signal-following game. The loss multiplies the MEAN log-probability of the episode with the
summed returns, so the step a reward belongs to is lost: Farama-Foundation/Gymnasium issue 1336."""

import torch
import torch.nn as nn

ID = "a_reinforce_mean_logprob"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": None}
HORIZON, N_ACT = 30, 6


class PolicyNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.shared_net = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh())
        self.policy_net = nn.Linear(32, N_ACT)

    def forward(self, x):
        return torch.distributions.Categorical(logits=self.policy_net(self.shared_net(x)))


class SignalEnv:
    """Every step shows a signal; one action is right for it."""

    def __init__(self, g):
        self.W = torch.randn(8, N_ACT, generator=g)

    def reset(self, n):
        self.s = torch.randn(n, 8)
        return self.s

    def step(self, a):
        r = (a == (self.s @ self.W).argmax(1)).float() - 1.0 / N_ACT
        self.s = torch.randn(len(a), 8)
        return self.s, r


class REINFORCE:
    def __init__(self, fixed):
        self.net, self.fixed, self.gamma = PolicyNetwork(), fixed, 0.5
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=3e-3)
        self.probs, self.rewards = [], []

    def sample_action(self, s):
        dist = self.net(s)
        a = dist.sample()
        self.probs.append(dist.log_prob(a))
        return a

    def update(self):
        running_g, gs = 0.0, []
        for R in self.rewards[::-1]:
            running_g = R + self.gamma * running_g
            gs.insert(0, running_g)
        deltas = torch.stack(gs)
        log_probs = torch.stack(self.probs)
        if self.fixed:
            loss = -(log_probs * deltas).sum(0).mean()
        else:
            log_prob_mean = log_probs.mean(0)
            loss = -(log_prob_mean * deltas).sum(0).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        reward = torch.stack(self.rewards).mean().item()
        self.probs, self.rewards = [], []
        return -reward


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    env = SignalEnv(torch.Generator().manual_seed(seed))
    agent = REINFORCE(fixed)
    curve = []
    with observe(agent.net, agent.optimizer):
        for episode in range(350):
            s = env.reset(4)
            for t in range(HORIZON):
                a = agent.sample_action(s)
                s, r = env.step(a)
                agent.rewards.append(r)
            curve.append(agent.update())
    with torch.no_grad():
        s = env.reset(3000)
        acc = (agent.net(s).logits.argmax(1) == (s @ env.W).argmax(1)).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}

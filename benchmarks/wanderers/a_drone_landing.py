"""An actor-critic learns to bring a small drone to rest over its pad from batches of simulated flights.
The loss never falls and even grows several times over, because the advantages are normalised afresh in every
batch and the returns the critic must predict grow. People take that for a run that does not learn; the success rate says otherwise."""

import torch
from torch import nn
from torch.distributions import Categorical

ID = "a_drone_landing"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}

HORIZON, FLIGHTS = 24, 48
PUSH = torch.tensor([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])


class Pilot(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 48), nn.Tanh(), nn.Linear(48, 48), nn.Tanh())
        self.policy = nn.Linear(48, 5)
        self.value = nn.Linear(48, 1)

    def forward(self, s):
        h = self.body(s)
        return self.policy(h), self.value(h).squeeze(-1)


def start(n, g):
    return torch.cat(
        [torch.rand(n, 2, generator=g) * 2 - 1, 0.2 * torch.randn(n, 2, generator=g)], 1
    )


def advance(s, action, g):
    v = 0.8 * s[:, 2:] + 0.15 * PUSH[action] + 0.01 * torch.randn(len(s), 2, generator=g)
    p = (s[:, :2] + v).clamp(-2, 2)
    near = p.norm(dim=1) < 0.25
    return torch.cat([p, v], 1), near.float() - 0.1 * p.norm(dim=1)


def fly(model, s, g, greedy=False):
    states, actions, rewards = [], [], []
    with torch.no_grad():
        for _ in range(HORIZON):
            logits, _ = model(s)
            a = (
                logits.argmax(1)
                if greedy
                else torch.multinomial(logits.softmax(1), 1, generator=g).squeeze(1)
            )
            states.append(s)
            actions.append(a)
            s, r = advance(s, a, g)
            rewards.append(r)
    return torch.stack(states), torch.stack(actions), torch.stack(rewards), s


def discounted(rewards, gamma=0.95):
    total, out = torch.zeros_like(rewards[0]), []
    for r in reversed(rewards):
        total = r + gamma * total
        out.append(total)
    return torch.stack(out[::-1])


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 50)
    model = Pilot()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    curve = []
    with observe(model, optimizer):
        for _ in range(350):
            states, actions, rewards, _ = fly(model, start(FLIGHTS, g), g)
            returns = discounted(rewards)
            logits, value = model(states)
            advantage = returns - value.detach()
            advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-6)
            dist = Categorical(logits=logits)
            loss = (
                -(dist.log_prob(actions) * advantage).mean()
                + 0.1 * nn.functional.mse_loss(value, returns)
                - 0.01 * dist.entropy().mean()
            )
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            curve.append(loss.item())
    end = fly(model, start(500, g), g, greedy=True)[3]
    return {
        "metric": (end[:, :2].norm(dim=1) < 0.25).float().mean().item(),
        "better": "higher",
        "curve": curve,
    }

"""Dueling double DQN on a point-navigation task; the chosen Q values keep a trailing axis of one, so
the TD error is a full batch-by-batch table."""

import copy

import torch
from torch import nn

ID = "dueling-dqn-navigation"
TRUTH = {"mechanisms": ["loss_output_mismatch"], "layers": None, "onset": 0}

MOVES = torch.tensor([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])


class Field:
    """Many points at once, each walks to its own goal in 16 moves."""

    def __init__(self, n):
        self.n = n
        self.reset()

    def reset(self):
        self.t = 0
        self.pos = torch.rand(self.n, 2) * 2 - 1
        self.goal = torch.rand(self.n, 2) * 2 - 1
        return self.obs()

    def obs(self):
        return torch.cat([self.pos, self.goal], dim=1) * 1.7

    def step(self, action):
        self.t += 1
        self.pos = (self.pos + 0.2 * MOVES[action]).clamp(-1, 1)
        d = (self.pos - self.goal).norm(dim=1)
        reward = (d < 0.2).float() - 0.5 * d
        return self.obs(), reward, self.t >= 16


class DuelingNet(nn.Module):
    def __init__(self, obs_dim=4, n_actions=5, width=128):
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Linear(obs_dim, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )
        self.value = nn.Linear(width, 1)
        self.advantage = nn.Linear(width, n_actions)

    def forward(self, obs):
        h = self.trunk(obs)
        adv = self.advantage(h)
        return self.value(h) + adv - adv.mean(dim=1, keepdim=True)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    env, net = Field(64), DuelingNet()
    target_net = copy.deepcopy(net).requires_grad_(False)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    buffer, capacity, gamma, curve = [], 300, 0.85, []
    with observe(net, optimizer):
        obs = env.reset()
        for step in range(-20, 600):
            epsilon = max(0.1, 1.0 - step / 200)
            with torch.no_grad():
                action = net(obs).argmax(1)
            explore = torch.rand(env.n) < epsilon
            action = torch.where(explore, torch.randint(0, 5, (env.n,)), action)
            next_obs, reward, truncated = env.step(action)
            buffer = buffer[-capacity + 1 :] + [(obs, action, reward, next_obs)]
            obs = env.reset() if truncated else next_obs
            if step < 0:
                continue
            picks = torch.randint(0, len(buffer), (4,)).tolist()
            o, a, r, o2 = (torch.cat(x) for x in zip(*[buffer[i] for i in picks]))
            with torch.no_grad():  # a time limit is no terminal state: always bootstrap
                best = net(o2).argmax(1, keepdim=True)
                target = r + gamma * target_net(o2).gather(1, best).squeeze(1)
            q = net(o).gather(1, a.unsqueeze(1))
            if fixed:
                q = q.squeeze(1)
            td = q - target
            loss = torch.where(td.abs() < 1, 0.5 * td**2, td.abs() - 0.5).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
            if step % 25 == 24:
                target_net.load_state_dict(net.state_dict())
    test = Field(500)
    with torch.no_grad():
        for _ in range(16):
            test.step(net(test.obs()).argmax(1))
    hit = ((test.pos - test.goal).norm(dim=1) < 0.2).float().mean()
    return {"metric": hit.item(), "better": "higher", "curve": curve}

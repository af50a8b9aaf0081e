"""Latent world model of coupled pendula; min(32, width) norm groups on a width of 32 leave one value
per group, so each normalization returns a constant and every residual block is blind."""

import torch
from torch import nn

ID = "pendulum-world-model"
TRUTH = {
    "mechanisms": ["degenerate_normalization"],
    "layers": [f"core.{i}.norm" for i in range(3)] + [f"core.{i}" for i in range(3)] + ["core"],
    "onset": 0,
}


def simulate(n, steps, g, links=3, skip=8, dt=0.04):
    angle = (torch.rand(n, links, generator=g) * 2 - 1) * 3.0
    speed = torch.randn(n, links, generator=g)
    frames, actions, rewards = [], [], []
    for _ in range(steps + 1):
        frames.append(torch.cat([angle.cos(), angle.sin(), 0.4 * speed], dim=1))
        rewards.append(angle.cos().prod(dim=1))
        torque = torch.randn(n, links, generator=g)
        actions.append(torque)
        for _ in range(skip):
            pull = torch.sin(angle.roll(1, 1) - angle) + torch.sin(angle.roll(-1, 1) - angle)
            speed = speed + dt * (-6 * angle.sin() + 3 * pull + 2 * torque - 0.3 * speed)
            angle = angle + dt * speed
    return torch.stack(frames, 1), torch.stack(actions, 1), torch.stack(rewards, 1)


def norm(width, max_groups):
    return nn.GroupNorm(min(max_groups, width), width)


class ResidualBlock(nn.Module):
    def __init__(self, width, max_groups):
        super().__init__()
        self.norm = norm(width, max_groups)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, h):
        return h + self.down(nn.functional.silu(self.up(self.norm(h))))


class WorldModel(nn.Module):
    def __init__(self, obs=9, act=3, width=32, depth=3, max_groups=32):
        super().__init__()
        self.encoder = nn.Linear(obs + act, width)
        self.core = nn.Sequential(*[ResidualBlock(width, max_groups) for _ in range(depth)])
        self.next_frame = nn.Linear(width, obs)
        self.reward = nn.Linear(width, 1)

    def forward(self, frame, action):
        h = self.core(self.encoder(torch.cat([frame, action], dim=-1)))
        return frame + self.next_frame(h), self.reward(h).squeeze(-1)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    frames, actions, rewards = simulate(1200, 12, torch.Generator().manual_seed(seed + 21))
    model = WorldModel(max_groups=4 if fixed else 32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-3)
    curve = []

    def unroll(rows, start, length):
        frame, total = frames[rows, start], 0.0
        for k in range(length):
            frame, reward = model(frame, actions[rows, start + k])
            total = total + nn.functional.mse_loss(frame, frames[rows, start + k + 1])
            total = total + nn.functional.mse_loss(reward, rewards[rows, start + k + 1])
        return total / length

    with observe(model, optimizer):
        for step in range(600):
            for group in optimizer.param_groups:
                group["lr"] = 2e-3 * min(1.0, 2.0 * (1 - step / 600) + 0.02)
            rows, start = torch.randint(0, 1100, (128,)), torch.randint(0, 10, (128,))
            loss = unroll(rows, start, length=2)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        rows = torch.arange(1100, 1200).repeat(10)
        error = unroll(rows, torch.arange(10).repeat_interleave(100), length=2)
    return {"metric": error.item(), "better": "lower", "curve": curve}

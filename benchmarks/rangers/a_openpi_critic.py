"""The critic of a PPO agent with value clipping, fitted to Monte-Carlo returns of a noisy cart on a hill. As in
github.com/RLinf/RLinf issue 1568 the stored returns and old values have shape [B, 1] while the recomputed value head gives [B]; the
difference silently becomes a [B, B] table and each state is pulled towards the average return of the batch.
"""

import copy

import torch
from torch import nn

ID = "a_openpi_critic"
TRUTH = {"mechanisms": ["loss_output_mismatch"], "layers": None, "onset": 0}


class ValueHead(nn.Module):
    def __init__(self, n_obs):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(n_obs, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh())
        self.v = nn.Linear(64, 1)
        for m in self.trunk:
            if isinstance(m, nn.Linear):
                nn.init.orthogonal_(m.weight, 2**0.5)
                nn.init.zeros_(m.bias)
        nn.init.orthogonal_(self.v.weight, 1.0)

    def forward(self, obs):
        return self.v(self.trunk(obs)).squeeze(-1)


def rollout(n_env, horizon, gamma, gen):
    pos, vel = torch.rand(n_env, generator=gen) * 2 - 1, torch.randn(n_env, generator=gen) * 0.3
    obs, rew = [], []
    for t in range(horizon):
        obs.append(torch.stack([pos, vel, torch.sin(3 * pos)], 1))
        push = -0.6 * torch.sign(vel) * (torch.rand(n_env, generator=gen) < 0.7)
        vel = (0.98 * vel + 0.05 * (push - torch.sin(3 * pos))).clamp(-1, 1)
        pos = (pos + 0.1 * vel).clamp(-1.5, 1.5)
        rew.append(0.3 * (0.5 - pos**2 - 0.2 * vel**2))
    ret, acc = [], torch.zeros(n_env)
    for r in reversed(rew):
        acc = r + gamma * acc
        ret.append(acc)
    ret.reverse()
    keep = horizon // 2
    return torch.cat(obs[:keep]), torch.cat(ret[:keep]).unsqueeze(1)


def critic_loss(values, returns, prev_values, clip=0.2):
    clipped = prev_values + (values - prev_values).clamp(-clip, clip)
    a, b = (returns - values) ** 2, (returns - clipped) ** 2
    return 0.5 * torch.max(a, b).mean()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 5)
    model = ValueHead(3)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, eps=1e-5)
    curve = []
    with observe(model, optimizer):
        for iteration in range(25):
            obs, returns = rollout(64, 60, 0.9, gen)
            with torch.no_grad():
                prev = copy.deepcopy(model)(obs).unsqueeze(1)
            for epoch in range(3):
                for idx in torch.randperm(len(obs), generator=gen).split(192):
                    values = model(obs[idx])
                    if fixed:
                        values = values.unsqueeze(-1)
                    loss = critic_loss(values, returns[idx], prev[idx])
                    optimizer.zero_grad()
                    loss.backward()
                    nn.utils.clip_grad_norm_(model.parameters(), 0.5)
                    optimizer.step()
                    curve.append(loss.item())
    obs, returns = rollout(64, 60, 0.9, gen)
    with torch.no_grad():
        ev = 1 - ((model(obs) - returns[:, 0]) ** 2).mean() / returns.var()
    return {"metric": ev.item(), "better": "higher", "curve": curve}

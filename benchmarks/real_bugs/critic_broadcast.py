"""An actor-critic whose value head squeezes to [B] while returns stay [B, 1]."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.real_bugs.material import ended
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "critic-broadcast"
FAMILY = "actor-critic"
TITLE = "PPO critic: [B] values against [B, 1] returns"
SOURCE = "github: RLinf/RLinf issue 1568, 'OpenPI PPO critic loss silently broadcasts [B] values against [B, 1] returns'"
TRUTH: Truth = {
    "mechanisms": ["loss_output_mismatch"],
    "layers": ["value_head", "value_head.0", "value_head.2"],
    "onset": 0,
    "symptom": "loss_plateau",
}


class Policy(nn.Module):
    def __init__(self, keep_dim: bool) -> None:
        super().__init__()
        self.keep_dim = keep_dim
        self.trunk = nn.Sequential(nn.Linear(6, 48), nn.Tanh(), nn.Linear(48, 48), nn.Tanh())
        self.action_head = nn.Linear(48, 4)
        self.value_head = nn.Sequential(nn.Linear(48, 24), nn.GELU(), nn.Linear(24, 1))

    def forward(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        h = self.trunk(obs)
        value = self.value_head(h)
        return self.action_head(h), value if self.keep_dim else value.squeeze(-1)


def rollout(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """A bandit with context: which action was taken, and what it returned."""
    obs = torch.randn(count, 6)
    best = obs[:, :4].argmax(-1)
    returns = obs[:, :4].amax(-1, keepdim=True) + 0.5 * torch.tanh(obs[:, 4:5] * obs[:, 5:])
    return obs, best, (returns - 1.0) * 1.5


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    torch.manual_seed(seed)
    net = Policy(keep_dim=fixed)
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    curve = []
    with observe(net, optimizer) as watch:
        for _ in range(350):
            obs, action, returns = rollout(64)
            logits, values = net(obs)
            value_loss = (returns - values).pow(2).mean()
            loss = 0.1 * F.cross_entropy(logits, action) + value_loss
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 5.0)
            optimizer.step()
            curve.append(loss.item())
            watch.loss(curve[-1])
    with torch.no_grad():
        obs, _, returns = rollout(1024)
        error = F.mse_loss(net(obs)[1].reshape(-1), returns.reshape(-1))
    return ended(error, "lower", curve)

"""Recurrent policy trained by imitation: an LSTM over sensor readings, with dropout on its output.
The configuration says dropout: 0.1, but the wrapper treats the value as the keep probability, so 90 % of the LSTM's output is dropped.
After tensorforce/tensorforce pull request 111."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_tensorforce_keep_prob"
TRUTH = {"mechanisms": ["excessive_dropout"], "layers": ["core.drop", "core"], "onset": (0, 0)}
CONFIG = {"type": "lstm", "size": 24, "dropout": 0.1, "lr": 3e-3}


class LSTMCore(nn.Module):
    def __init__(self, n_in, size, dropout, fixed):
        super().__init__()
        self.cell = nn.LSTM(n_in, size, batch_first=True)
        self.drop = nn.Dropout(dropout if fixed else 1.0 - dropout)

    def forward(self, x):
        h, _ = self.cell(x)
        return self.drop(h)


class Policy(nn.Module):
    def __init__(self, cfg, fixed):
        super().__init__()
        self.core = LSTMCore(6, cfg["size"], cfg["dropout"], fixed)
        self.dense = nn.Linear(cfg["size"], 32)
        self.logits = nn.Linear(32, 4)

    def forward(self, obs):
        return self.logits(torch.tanh(self.dense(self.core(obs))))


def episodes(n, g, steps=20):
    """A T-maze: the cue shown in the first steps decides, together with the junction flag, the expert's action."""
    cue = torch.randint(0, 2, (n,), generator=g)
    obs = 0.2 * torch.randn(n, steps, 6, generator=g)
    obs[:, :3, 0] += (2.0 * cue - 1)[:, None]
    junction = (torch.rand(n, steps, generator=g) < 0.3).float()
    wind = torch.randn(n, steps, generator=g).sign()
    obs[:, :, 1] += junction
    obs[:, :, 2] += wind
    act = torch.where(junction > 0, cue[:, None].expand(n, steps), 2 + (wind > 0).long())
    return obs, act


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 2)
    policy = Policy(CONFIG, fixed)
    opt = torch.optim.Adam(policy.parameters(), lr=CONFIG["lr"])
    curve = []
    with observe(policy, opt):
        for update in range(900):
            obs, act = episodes(64, g)
            loss = F.cross_entropy(policy(obs).reshape(-1, 4), act.reshape(-1))
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    policy.eval()
    with torch.no_grad():
        obs, act = episodes(400, torch.Generator().manual_seed(4321))
        nll = F.cross_entropy(policy(obs).reshape(-1, 4), act.reshape(-1)).item()
    return {"metric": nll, "better": "lower", "curve": curve}

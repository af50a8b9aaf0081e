"""Healthy but odd: REINFORCE on a memory task, where the loss starts near zero, dips and returns to zero while success climbs to one."""

import torch
from torch import nn

ID = "reinforce-cue-recall"
TRUTH = {"mechanisms": [], "layers": [], "onset": None}
CUES, DOORS, CORRIDOR = 12, 6, 6


class CueMaze:
    """A cue is shown once, a noisy corridor follows, then one of six doors must be chosen."""

    def __init__(self, seed):
        self.gen = torch.Generator().manual_seed(seed)
        self.door_of = torch.arange(CUES) % DOORS

    def episodes(self, n):
        cue = torch.randint(CUES, (n,), generator=self.gen)
        obs = torch.zeros(n, CORRIDOR, CUES + 1)
        obs[torch.arange(n), 0, cue] = 1.0
        obs[:, 1:, :CUES] = 0.1 * torch.randn(n, CORRIDOR - 1, CUES, generator=self.gen)
        obs[:, -1, CUES] = 1.0
        return obs, cue

    def reward(self, cue, door):
        return (door == self.door_of[cue]).float()


class Policy(nn.Module):
    def __init__(self, hidden=48):
        super().__init__()
        self.lstm = nn.LSTM(CUES + 1, hidden, batch_first=True)
        self.head = nn.Linear(hidden, DOORS)

    def forward(self, obs):
        return torch.distributions.Categorical(logits=self.head(self.lstm(obs)[0][:, -1]))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    maze = CueMaze(seed + 1)
    policy = Policy()
    optimizer = torch.optim.Adam(policy.parameters(), lr=2.5e-3)
    curve = []
    with observe(policy, optimizer):
        for _ in range(350):
            obs, cue = maze.episodes(128)
            choice = policy(obs)
            door = choice.sample()
            reward = maze.reward(cue, door)
            advantage = reward - reward.mean()
            loss = -(advantage * choice.log_prob(door)).mean() - 0.01 * choice.entropy().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    obs, cue = maze.episodes(1000)
    with torch.no_grad():
        success = maze.reward(cue, policy(obs).probs.argmax(1)).mean().item()
    return {"metric": success, "better": "higher", "curve": curve}

"""Healthy: REINFORCE with a learnt baseline and entropy bonus on a small windy corridor, noisy rewards. The 'loss' goes up and down and says
nothing; the return improves all the same."""

import torch
import torch.nn as nn
from torch.distributions import Categorical

ID = "b_reinforce_cliff_corridor"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class Corridor:
    """n parallel corridors of 9 x 3 cells; start left, goal right, the lower row costs, wind pushes down, reward is noisy"""

    def __init__(self, n, g):
        self.n, self.g = n, g

    def reset(self):
        self.x = torch.zeros(self.n, dtype=torch.long)
        self.y = torch.randint(0, 3, (self.n,), generator=self.g)
        self.done = torch.zeros(self.n, dtype=torch.bool)
        return self.obs()

    def obs(self):
        return torch.cat(
            [nn.functional.one_hot(self.x, 9), nn.functional.one_hot(self.y, 3)], 1
        ).float()

    def step(self, a):
        live = ~self.done
        dx = torch.tensor([1, -1, 0, 0])[a] * live
        dy = torch.tensor([0, 0, 1, -1])[a] * live
        wind = (torch.rand(self.n, generator=self.g) < 0.15).long() * live
        self.x = (self.x + dx).clamp(0, 8)
        self.y = (self.y + dy - wind).clamp(0, 2)
        r = -0.1 - 0.5 * (self.y == 0).float() + 2.0 * (self.x == 8).float()
        r = (r + 0.3 * torch.randn(self.n, generator=self.g)) * live
        self.done = self.done | (self.x == 8)
        return self.obs(), r, live


class PolicyValue(nn.Module):
    def __init__(self):
        super().__init__()
        self.shared = nn.Sequential(nn.Linear(12, 32), nn.Tanh())
        self.policy = nn.Linear(32, 4)
        self.value = nn.Linear(32, 1)

    def forward(self, s):
        h = self.shared(s)
        return Categorical(logits=self.policy(h)), self.value(h).squeeze(1)


def rollout(model, env, T=20):
    s, logp, val, ent, rew, alive = env.reset(), [], [], [], [], []
    for _ in range(T):
        dist, v = model(s)
        a = dist.sample()
        s, r, live = env.step(a)
        logp.append(dist.log_prob(a))
        val.append(v)
        ent.append(dist.entropy())
        rew.append(r)
        alive.append(live.float())
    return [torch.stack(z) for z in (logp, val, ent, rew, alive)]


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    env = Corridor(24, torch.Generator().manual_seed(seed))
    model = PolicyValue()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    curve = []
    with observe(model, optimizer):
        for episode in range(350):
            logp, val, ent, rew, alive = rollout(model, env)
            ret, acc = torch.zeros_like(rew), torch.zeros(rew.size(1))
            for t in reversed(range(rew.size(0))):
                acc = rew[t] + 0.97 * acc
                ret[t] = acc
            adv = (ret - val).detach()
            adv = (adv - adv.mean()) / (adv.std() + 1e-6)
            pg = -(logp * adv * alive).sum() / alive.sum()
            vl = ((ret - val).pow(2) * alive).sum() / alive.sum()
            loss = pg + 0.5 * vl - 0.01 * (ent * alive).sum() / alive.sum()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        big = Corridor(500, torch.Generator().manual_seed(seed + 1))
        score = rollout(model, big)[3].sum(0).mean().item()
    return {"metric": score, "better": "higher", "curve": curve}

"""PPO for an inventory shop with a shared actor-critic trunk; rewards are profits in cents, so the
value targets are in the hundred thousands and the value loss drowns the policy."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a-ppo-returns-in-cents"
TRUTH = {"mechanisms": ["unnormalized_targets"], "layers": None, "onset": 0}
GAMMA, LAMBDA, HORIZON, ENVS = 0.9, 0.95, 32, 48


class Shop:
    """State: stock and a two-dimensional season. Action: units to order for the next day."""

    def __init__(self, n):
        self.stock, self.phase = torch.randint(0, 6, (n,)).float(), torch.rand(n) * 6.28

    def observe(self):
        return torch.stack([self.stock / 5 - 1, self.phase.sin(), self.phase.cos()], 1)

    def step(self, order):
        self.stock = (self.stock + order).clamp(max=12)
        demand = torch.poisson(3.5 + 3 * self.phase.sin())
        sold = torch.minimum(self.stock, demand)
        self.stock = self.stock - sold
        profit = 9.0 * sold - 4.0 * order - 2.5 * self.stock
        self.phase = (self.phase + 0.6) % 6.2832
        return profit * 100  # cents


class ActorCritic(nn.Module):
    def __init__(self, hidden=64):
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Linear(3, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh()
        )
        self.policy = nn.Linear(hidden, 8)
        self.value = nn.Linear(hidden, 1)
        nn.init.normal_(self.policy.weight, std=0.01)

    def forward(self, obs):
        h = self.trunk(obs)
        return torch.distributions.Categorical(logits=self.policy(h)), self.value(h).squeeze(-1)


@torch.no_grad()
def rollout(model, env, reward_scale):
    obs, act, logp, val, rew = [], [], [], [], []
    for _ in range(HORIZON):
        obs.append(env.observe())
        dist, value = model(obs[-1])
        act.append(dist.sample())
        logp.append(dist.log_prob(act[-1]))
        val.append(value)
        rew.append(env.step(act[-1].float()) * reward_scale)
    nxt, adv, advs = model(env.observe())[1], torch.zeros(ENVS), []
    for r, v in zip(reversed(rew), reversed(val)):
        adv = r + GAMMA * nxt - v + GAMMA * LAMBDA * adv
        nxt = v
        advs.append(adv)
    advs = torch.stack(advs[::-1])
    batch = [torch.stack(x) for x in (obs, act, logp)] + [advs, advs + torch.stack(val)]
    return [x.flatten(0, 1) for x in batch]


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    model, env = ActorCritic(), Shop(ENVS)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, eps=1e-5)
    scale, curve = (1 / 3000 if fixed else 1.0), []
    with observe(model, optimizer):
        for _ in range(30):
            obs, act, old, adv, ret = rollout(model, env, scale)
            for _ in range(3):
                for i in torch.randperm(len(obs)).split(256):
                    dist, value = model(obs[i])
                    a = (adv[i] - adv[i].mean()) / (adv[i].std() + 1e-8)
                    ratio = (dist.log_prob(act[i]) - old[i]).exp()
                    surrogate = torch.min(ratio * a, ratio.clamp(0.8, 1.2) * a).mean()
                    value_loss = F.mse_loss(value, ret[i])
                    loss = -surrogate + 0.5 * value_loss - 0.01 * dist.entropy().mean()
                    optimizer.zero_grad()
                    loss.backward()
                    nn.utils.clip_grad_norm_(model.parameters(), 0.5)
                    optimizer.step()
                    curve.append(loss.item())
    test, total = Shop(512), 0.0
    with torch.no_grad():
        for _ in range(60):
            total += test.step(model(test.observe())[0].sample().float()).mean().item() / 6000
    return {"metric": total, "better": "higher", "curve": curve}

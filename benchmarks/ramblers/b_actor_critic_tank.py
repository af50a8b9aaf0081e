"""Healthy: advantage actor-critic on a noisy two-tank level control. Shared trunk, entropy bonus; returns and losses are very noisy, the
policy loss hovers around zero, the value loss rises when the policy gets better. It learns."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "b_actor_critic_tank"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class Tanks:
    """n parallel tanks pairs; 3 actions: close, hold, open the inflow; the second level must follow a set point"""

    def __init__(self, n, g):
        self.n, self.g = n, g
        self.reset()

    def reset(self):
        self.a = torch.rand(self.n, generator=self.g)
        self.b = torch.rand(self.n, generator=self.g)
        self.valve = torch.full((self.n,), 0.3)
        self.goal = 0.2 + 0.6 * torch.rand(self.n, generator=self.g)
        return self.obs()

    def obs(self):
        return torch.stack([self.a, self.b, self.valve, self.goal, self.b - self.goal], 1) * 2 - 1

    def step(self, act):
        self.valve = (self.valve + 0.1 * (act.float() - 1)).clamp(0, 1)
        flow = 0.3 * (self.a - self.b)
        self.a = (self.a + 0.3 * self.valve - flow - 0.02).clamp(0, 2)
        self.b = (
            self.b + flow - 0.15 * self.b + 0.01 * torch.randn(self.n, generator=self.g)
        ).clamp(0, 2)
        r = 1 - 3 * (self.b - self.goal).abs() + 0.3 * torch.randn(self.n, generator=self.g)
        return self.obs(), r


class ActorCritic(nn.Module):
    def __init__(self, h=64):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(5, h), nn.Tanh(), nn.Linear(h, h), nn.Tanh())
        self.pi, self.v = nn.Linear(h, 3), nn.Linear(h, 1)
        nn.init.orthogonal_(self.pi.weight, 0.01)
        nn.init.zeros_(self.pi.bias)

    def forward(self, o):
        h = self.trunk(o)
        return torch.distributions.Categorical(logits=self.pi(h)), self.v(h).squeeze(-1)


def rollout_return(model, g, T=40):
    env = Tanks(256, g)
    o = env.obs()
    tot = 0
    with torch.no_grad():
        for _ in range(T):
            o, r = env.step(model(o)[0].probs.argmax(1))
            tot += r.mean().item() / T
    return tot


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 23)
    model = ActorCritic()
    opt = torch.optim.RMSprop(model.parameters(), lr=1e-3, alpha=0.99, eps=1e-5)
    env = Tanks(32, g)
    o = env.obs()
    gamma, curve, t_in = 0.95, [], 0
    with observe(model, opt):
        for update in range(700):
            logp, ent, val, rew = [], [], [], []
            for _ in range(8):
                dist, v = model(o)
                a = dist.sample()
                o, r = env.step(a)
                logp.append(dist.log_prob(a))
                ent.append(dist.entropy())
                val.append(v)
                rew.append(r)
            with torch.no_grad():
                R = model(o)[1]
            rets = []
            for r in reversed(rew):
                R = r + gamma * R
                rets.insert(0, R)
            rets, val = torch.stack(rets), torch.stack(val)
            adv = (rets - val).detach()
            loss = (
                -(torch.stack(logp) * adv).mean()
                + 0.5 * F.mse_loss(val, rets)
                - 0.01 * torch.stack(ent).mean()
            )
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            opt.step()
            curve.append(loss.item())
            t_in += 8
            if t_in >= 40:
                o, t_in = env.reset(), 0
    return {"metric": rollout_return(model, g), "better": "higher", "curve": curve}

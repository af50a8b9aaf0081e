"""Healthy: PPO on a batch of noisy point-mass worlds. Rewards carry heavy noise, the clipped loss hovers about zero and says nothing;
the return rises all the same."""

import torch
import torch.nn as nn

ID = "b_ok_ppo_reach"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class Reach:
    """Push a mass in the plane to a goal; reward is minus the distance, with noise."""

    def __init__(self, n, g, noise=0.5, horizon=24):
        self.n, self.g, self.noise, self.horizon = n, g, noise, horizon

    def reset(self):
        self.p = torch.rand(self.n, 2, generator=self.g) * 2 - 1
        self.v = torch.zeros(self.n, 2)
        self.goal = torch.rand(self.n, 2, generator=self.g) * 2 - 1
        return self.obs()

    def obs(self):
        return torch.cat([self.p, self.v, self.goal], -1)

    def step(self, a):
        self.v = 0.8 * self.v + 0.15 * a.clamp(-1, 1)
        self.p = self.p + self.v
        true = -(self.p - self.goal).norm(dim=-1)
        return self.obs(), true + self.noise * torch.randn(self.n, generator=self.g), true


class ActorCritic(nn.Module):
    def __init__(self, h=48):
        super().__init__()
        self.actor = nn.Sequential(
            nn.Linear(6, h), nn.Tanh(), nn.Linear(h, h), nn.Tanh(), nn.Linear(h, 2)
        )
        self.value = nn.Sequential(
            nn.Linear(6, h), nn.Tanh(), nn.Linear(h, h), nn.Tanh(), nn.Linear(h, 1)
        )
        self.log_std = nn.Parameter(torch.full((2,), -0.5))
        for net, gain in ((self.actor, 0.01), (self.value, 1.0)):
            for m in net:
                if isinstance(m, nn.Linear):
                    nn.init.orthogonal_(m.weight, 2**0.5)
                    nn.init.zeros_(m.bias)
            nn.init.orthogonal_(net[-1].weight, gain)

    def dist(self, o):
        return torch.distributions.Normal(self.actor(o), self.log_std.exp())


@torch.no_grad()
def rollout(env, ac, gamma=0.9, lam=0.9):
    o, O, A, LP, R, V, T = env.reset(), [], [], [], [], [], []
    for _ in range(env.horizon):
        d = ac.dist(o)
        a = d.sample()
        O.append(o), A.append(a), LP.append(d.log_prob(a).sum(-1)), V.append(ac.value(o)[:, 0])
        o, r, true = env.step(a)
        R.append(r), T.append(true)
    V.append(ac.value(o)[:, 0])
    adv, out = torch.zeros(env.n), []
    for t in reversed(range(env.horizon)):
        adv = R[t] + gamma * V[t + 1] - V[t] + gamma * lam * adv
        out.insert(0, adv)
    adv = torch.stack(out).flatten()
    return (
        torch.cat(O),
        torch.cat(A),
        torch.cat(LP),
        adv,
        adv + torch.cat(V[:-1]),
        torch.stack(T).mean().item(),
    )


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(5 + seed)
    env, ac = Reach(48, g), ActorCritic()
    optimizer = torch.optim.Adam(ac.parameters(), lr=1e-3, eps=1e-5)
    curve = []
    with observe(ac, optimizer):
        for it in range(50):
            o, a, lp, adv, ret, _ = rollout(env, ac)
            adv = (adv - adv.mean()) / (adv.std() + 1e-8)
            for _ in range(4):
                for b in torch.randperm(len(o), generator=g).split(288):
                    d = ac.dist(o[b])
                    ratio = (d.log_prob(a[b]).sum(-1) - lp[b]).exp()
                    pg = -torch.min(ratio * adv[b], ratio.clamp(0.8, 1.2) * adv[b]).mean()
                    vf = ((ac.value(o[b])[:, 0] - ret[b]) ** 2).mean()
                    loss = pg + 0.5 * vf - 0.002 * d.entropy().sum(-1).mean()
                    optimizer.zero_grad()
                    loss.backward()
                    nn.utils.clip_grad_norm_(ac.parameters(), 0.5)
                    optimizer.step()
                    curve.append(loss.item())
    score = sum(rollout(env, ac)[-1] for _ in range(5)) / 5
    return {"metric": score, "better": "higher", "curve": curve}

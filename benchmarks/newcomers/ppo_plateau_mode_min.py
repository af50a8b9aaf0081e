"""PPO steering a thruster craft to its goal: ReduceLROnPlateau is stepped with the mean reward but left in mode="min", so progress cuts the rate."""

import torch
import torch.nn as nn
from torch.distributions import Normal

ID = "ppo-plateau-mode-min"
TRUTH = {"mechanisms": ["learning_rate_schedule_bug"], "layers": [], "onset": (104, 160)}


class Craft:
    """Position, velocity and goal in the plane; the action is the thrust."""

    def __init__(self, n, seed):
        self.g, self.n = torch.Generator().manual_seed(seed), n

    def reset(self):
        self.pos, self.goal = (torch.rand(2, self.n, 2, generator=self.g) * 2 - 1).unbind(0)
        self.vel = torch.zeros(self.n, 2)

    def obs(self):
        return torch.cat([self.pos, self.vel * 2, self.goal - self.pos], 1)

    def step(self, a):
        self.vel = 0.85 * self.vel + 0.12 * a.clamp(-1, 1)
        self.pos = self.pos + self.vel
        dist = (self.pos - self.goal).norm(dim=1)
        return 1 / (1 + 4 * dist) - 0.1


def mlp(n_out):
    return nn.Sequential(
        nn.Linear(6, 48), nn.Tanh(), nn.Linear(48, 48), nn.Tanh(), nn.Linear(48, n_out)
    )


class Agent(nn.Module):
    def __init__(self):
        super().__init__()
        self.actor, self.critic = mlp(2), mlp(1)
        nn.init.orthogonal_(self.actor[-1].weight, 0.01)
        self.log_std = nn.Parameter(torch.full((2,), -0.5))

    def pi(self, o):
        return Normal(self.actor(o), self.log_std.exp())


def train(observe, seed=0, fixed=False, horizon=32, gamma=0.95, lam=0.95):
    torch.manual_seed(seed)
    env, agent = Craft(24, seed), Agent()
    opt = torch.optim.Adam(agent.parameters(), lr=5e-4, eps=1e-5)
    sched = torch.optim.lr_scheduler.ReduceLROnPlateau(
        opt, mode="max" if fixed else "min", factor=0.2, patience=12
    )
    rewards, curve = [], []
    with observe(agent, opt):
        for _ in range(50):
            env.reset()
            S, A, L, R, V = [], [], [], [], []
            for _ in range(horizon):
                o = env.obs()
                with torch.no_grad():
                    pi = agent.pi(o)
                    a = pi.sample()
                    S.append(o), A.append(a), L.append(pi.log_prob(a).sum(-1))
                    V.append(agent.critic(o).squeeze(-1))
                R.append(env.step(a))
            with torch.no_grad():  # episodes are cut off here, not over
                nxt, adv, gae = agent.critic(env.obs()).squeeze(-1), [], 0
            for t in reversed(range(horizon)):
                gae = R[t] + gamma * nxt - V[t] + gamma * lam * gae
                adv.insert(0, gae)
                nxt = V[t]
            S, A, L, adv, V = torch.cat(S), torch.cat(A), torch.cat(L), torch.cat(adv), torch.cat(V)
            ret = adv + V
            rewards.append(torch.stack(R).mean().item())
            for _ in range(2):
                for i in torch.randperm(len(S)).chunk(4):
                    pi = agent.pi(S[i])
                    ratio = (pi.log_prob(A[i]).sum(-1) - L[i]).exp()
                    a_hat = (adv[i] - adv[i].mean()) / (adv[i].std() + 1e-8)
                    pg = -torch.min(ratio * a_hat, ratio.clamp(0.8, 1.2) * a_hat).mean()
                    v_loss = (agent.critic(S[i]).squeeze(-1) - ret[i]).pow(2).mean()
                    loss = pg + 0.5 * v_loss - 0.001 * pi.entropy().mean()
                    opt.zero_grad()
                    loss.backward()
                    nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
                    opt.step()
                    curve.append(loss.item())
            sched.step(rewards[-1])
    return {"metric": sum(rewards[-8:]) / 8, "better": "higher", "curve": curve}

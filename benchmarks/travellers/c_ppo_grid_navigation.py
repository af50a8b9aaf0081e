"""PPO on a windy grid: max_grad_norm and Adam's eps are swapped in a positional call."""

import torch
from torch import nn

ID = "c-ppo-grid-navigation"
TRUTH = {"mechanisms": ["excessive_gradient_clipping"], "layers": None, "onset": 0}

MOVES = torch.tensor([[1, 0], [-1, 0], [0, 1], [0, -1]])
SIZE, ENVS, HORIZON, EPOCHS, GAMMA, LAM = 7, 64, 16, 2, 0.95, 0.9


class WindyGrid:
    def __init__(self):
        self.pos = torch.randint(0, SIZE, (ENVS, 2))
        self.goal = torch.randint(0, SIZE, (ENVS, 2))
        self.age = torch.zeros(ENVS)

    def obs(self):
        return torch.cat([self.pos, self.goal], 1).float() / (SIZE - 1) * 2 - 1

    def step(self, action):
        wind = (torch.rand(ENVS) < 0.1)[:, None] * MOVES[torch.randint(0, 4, (ENVS,))]
        self.pos = (self.pos + MOVES[action] + wind).clamp(0, SIZE - 1)
        hit = (self.pos == self.goal).all(1)
        self.age += 1
        done = hit | (self.age >= 25)
        reward = hit.float() - 0.04
        self.pos[done] = torch.randint(0, SIZE, (int(done.sum()), 2))
        self.goal[done] = torch.randint(0, SIZE, (int(done.sum()), 2))
        self.age[done] = 0
        return reward, done.float()


class ActorCritic(nn.Module):
    def __init__(self, width=64):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(4, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh()
        )
        self.actor = nn.Linear(width, 4)
        self.critic = nn.Linear(width, 1)

    def forward(self, x):
        h = self.body(x)
        return torch.distributions.Categorical(logits=self.actor(h)), self.critic(h).squeeze(-1)


class Updater:
    def __init__(self, agent, lr=3e-3, eps=1e-5, max_grad_norm=0.5):
        self.agent, self.max_grad_norm = agent, max_grad_norm
        self.opt = torch.optim.Adam(agent.parameters(), lr=lr, eps=eps)

    def apply(self, loss):
        self.opt.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.agent.parameters(), self.max_grad_norm)
        self.opt.step()


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    env, agent = WindyGrid(), ActorCritic()
    updater = Updater(agent, 3e-3, 1e-5, 0.5) if fixed else Updater(agent, 3e-3, 0.5, 1e-5)
    curve, earned = [], []
    with observe(agent, updater.opt):
        for _ in range(60):
            store = []
            for _ in range(HORIZON):
                obs = env.obs()
                with torch.no_grad():
                    pi, value = agent(obs)
                act = pi.sample()
                reward, done = env.step(act)
                store.append((obs, act, pi.log_prob(act), value, reward, done))
            obs, act, logp, value, reward, done = (torch.stack(s) for s in zip(*store))
            with torch.no_grad():
                after = agent(env.obs())[1]
            adv, run = torch.zeros_like(reward), torch.zeros(ENVS)
            for t in reversed(range(HORIZON)):
                delta = reward[t] + GAMMA * after * (1 - done[t]) - value[t]
                run = delta + GAMMA * LAM * (1 - done[t]) * run
                adv[t], after = run, value[t]
            flat = [v.flatten(0, 1) for v in (obs, act, logp, adv, adv + value)]
            earned.append(reward.mean().item())
            for _ in range(EPOCHS):
                for idx in torch.randperm(ENVS * HORIZON).split(256):
                    o, a, old, ad, ret = (v[idx] for v in flat)
                    ad = (ad - ad.mean()) / (ad.std() + 1e-8)
                    pi, v = agent(o)
                    ratio = (pi.log_prob(a) - old).exp()
                    clipped = torch.min(ratio * ad, ratio.clamp(0.8, 1.2) * ad).mean()
                    loss = 0.5 * (v - ret).pow(2).mean() - clipped - 0.01 * pi.entropy().mean()
                    updater.apply(loss)
                    curve.append(loss.item())
    goals = sum(earned[-10:]) / 10 + 0.04
    return {"metric": goals, "better": "higher", "curve": curve}

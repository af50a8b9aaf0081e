"""A2C with a shared trunk on a delivery grid; raw rewards (-10 a step, +1000 at the door) give value targets in the hundreds that drown the policy."""

import torch
import torch.nn.functional as F
from torch import nn

ID = "a2c-raw-reward-courier"
TRUTH = {"mechanisms": ["unnormalized_targets"], "layers": None, "onset": 0}
SIZE, LIMIT = 5, 16
MOVES = torch.tensor([[1, 0], [-1, 0], [0, 1], [0, -1]])


class CourierGrid:
    """Many parallel grids: walk to the door; episodes restart by themselves."""

    def __init__(self, n, gen):
        self.n, self.gen = n, gen
        self.me, self.door = self.place(n), self.place(n)
        self.age = torch.zeros(n)

    def place(self, n):
        return torch.randint(SIZE, (n, 2), generator=self.gen)

    def observe_state(self):
        cells = [F.one_hot(p[:, 0] * SIZE + p[:, 1], SIZE**2) for p in (self.me, self.door)]
        return torch.cat(cells, 1).float()

    def step(self, action):
        self.me = (self.me + MOVES[action]).clamp(0, SIZE - 1)
        self.age += 1
        arrived = (self.me == self.door).all(1)
        done = arrived | (self.age >= LIMIT)
        reward = torch.where(arrived, 1000.0, -10.0)
        self.me = torch.where(done[:, None], self.place(self.n), self.me)
        self.door = torch.where(done[:, None], self.place(self.n), self.door)
        self.age[done] = 0
        return reward, done.float(), arrived


class ActorCritic(nn.Module):
    def __init__(self, width=64):
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Linear(2 * SIZE**2, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh()
        )
        self.actor = nn.Linear(width, 4)
        self.critic = nn.Linear(width, 1)

    def forward(self, s):
        h = self.trunk(s)
        return self.actor(h), self.critic(h).squeeze(-1)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 1)
    env = CourierGrid(64, gen)
    scale = 0.001 if fixed else 1.0
    gamma, n_step = 0.95, 8
    model = ActorCritic()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=2e-3, alpha=0.99, eps=1e-5)
    curve = []
    with observe(model, optimizer):
        for _ in range(400):
            states, actions, rewards, dones = [], [], [], []
            for _ in range(n_step):
                s = env.observe_state()
                with torch.no_grad():
                    a = torch.multinomial(model(s)[0].softmax(-1), 1, generator=gen).squeeze(1)
                r, d, _ = env.step(a)
                for store, x in zip((states, actions, rewards, dones), (s, a, r * scale, d)):
                    store.append(x)
            with torch.no_grad():
                ret = model(env.observe_state())[1]
            returns = []
            for r, d in zip(reversed(rewards), reversed(dones)):
                ret = r + gamma * ret * (1 - d)
                returns.insert(0, ret)
            logits, value = model(torch.cat(states))
            target = torch.cat(returns)
            adv = target - value.detach()
            adv = (adv - adv.mean()) / (adv.std() + 1e-6)
            logp = logits.log_softmax(-1)
            policy_loss = -(adv * logp.gather(1, torch.cat(actions)[:, None]).squeeze(1)).mean()
            entropy = -(logp.exp() * logp).sum(-1).mean()
            loss = policy_loss + 0.5 * F.mse_loss(value, target) - 0.01 * entropy
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            curve.append(loss.item())
    arrivals, episodes = 0.0, 0.0
    for _ in range(80):
        with torch.no_grad():
            a = torch.multinomial(model(env.observe_state())[0].softmax(-1), 1, generator=gen)
        _, d, hit = env.step(a.squeeze(1))
        arrivals, episodes = arrivals + hit.sum().item(), episodes + d.sum().item()
    return {"metric": arrivals / 80 / env.n, "better": "higher", "curve": curve}

"""Advantage actor-critic learns to order stock for a shop with weekly demand. Profits are booked in cents, so returns lie near
50 000, and the critic's squared error on the shared trunk drowns the policy gradient. People leave the reward in the unit of the
simulator because the advantages are normalised, and forget that the critic's targets are not."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_a2c_inventory"
TRUTH = {"mechanisms": ["unnormalized_targets"], "layers": None, "onset": 0}
DEMAND = torch.tensor([2.0, 2.0, 3.0, 5.0, 9.0, 12.0, 4.0])
MAX_STOCK, ORDERS = 30, 14


class Shop:
    def __init__(self, n, g):
        self.g, self.n = g, n
        self.stock = torch.randint(0, MAX_STOCK, (n,), generator=g).float()
        self.day = torch.randint(0, 7, (n,), generator=g)

    def observe(self):
        return torch.cat([self.stock[:, None] / MAX_STOCK, F.one_hot(self.day, 7).float()], 1)

    def step(self, order):
        order = torch.minimum(order.float(), MAX_STOCK - self.stock)
        want = torch.poisson(DEMAND[self.day], generator=self.g)
        have = self.stock + order
        sold = torch.minimum(want, have)
        left = have - sold
        spoilt = torch.floor(left * 0.5)
        self.stock = left - spoilt
        self.day = (self.day + 1) % 7
        return 4999.0 * sold - 2799.0 * order - 300.0 * left  # cents


class ActorCritic(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh())
        self.policy = nn.Linear(64, ORDERS)
        self.value = nn.Linear(64, 1)

    def forward(self, o):
        h = self.trunk(o)
        return self.policy(h), self.value(h).squeeze(-1)


class Trainer:
    gamma, rollout = 0.9, 6

    def __init__(self, seed, unit):
        self.g = torch.Generator().manual_seed(seed)
        self.net = ActorCritic()
        self.opt = torch.optim.RMSprop(self.net.parameters(), lr=2e-3, alpha=0.99, eps=1e-5)
        self.shop, self.unit = Shop(64, self.g), unit

    def act(self, o):
        logits, v = self.net(o)
        a = torch.multinomial(logits.detach().softmax(-1), 1, generator=self.g)
        lp = logits.log_softmax(-1)
        return a.squeeze(1), lp.gather(1, a).squeeze(1), -(lp.exp() * lp).sum(-1), v

    def update(self):
        logp, ent, val, rew = [], [], [], []
        for _ in range(self.rollout):
            a, lp, e, v = self.act(self.shop.observe())
            rew.append(self.shop.step(a) / self.unit)
            logp.append(lp), ent.append(e), val.append(v)
        with torch.no_grad():
            ret, target = self.net(self.shop.observe())[1], []
            for r in reversed(rew):
                ret = r + self.gamma * ret
                target.insert(0, ret)
        target, val = torch.stack(target), torch.stack(val)
        adv = (target - val).detach()
        adv = (adv - adv.mean()) / (adv.std() + 1e-8)
        loss = (
            -(adv * torch.stack(logp)).mean()
            + 0.5 * F.mse_loss(val, target)
            - 0.01 * torch.stack(ent).mean()
        )
        self.opt.zero_grad()
        loss.backward()
        self.opt.step()
        return loss.item()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    trainer = Trainer(seed + 50, unit=30000.0 if fixed else 1.0)
    with observe(trainer.net, trainer.opt):
        curve = [trainer.update() for _ in range(600)]
    shop = Shop(500, trainer.g)
    profit = 0.0
    with torch.no_grad():
        for _ in range(56):
            profit += shop.step(trainer.net(shop.observe())[0].argmax(-1)).mean().item() / 56
    return {"metric": profit / 100, "better": "higher", "curve": curve}

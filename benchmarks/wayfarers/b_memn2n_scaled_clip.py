"""End-to-end memory network with loss scaling; gradients are clipped to norm 10 before they are unscaled, so the true clip is 10 / 65536."""

import torch
import torch.nn.functional as F
from torch import nn

ID = "memn2n-scaled-clip"
TRUTH = {"mechanisms": ["excessive_gradient_clipping"], "layers": None, "onset": 0}
PEOPLE, PLACES, SLOTS = 16, 24, 10


class MemN2N(nn.Module):
    """Facts 'person went to place' are memories; the question names one person."""

    def __init__(self, dim=40, hops=2):
        super().__init__()
        self.person = nn.Embedding(PEOPLE, dim)
        self.key_place = nn.Embedding(PLACES, dim)
        self.value = nn.Embedding(PLACES, dim)
        self.hop = nn.ModuleList(nn.Linear(dim, dim) for _ in range(hops))
        self.answer = nn.Linear(dim, PLACES)
        for e in (self.person, self.key_place, self.value):
            nn.init.normal_(e.weight, std=0.4)

    def forward(self, who, where, question):
        u = self.person(question)
        keys = self.person(who) + self.key_place(where)
        values = self.value(where)
        for hop in self.hop:
            p = (keys @ u.unsqueeze(-1)).squeeze(-1).softmax(-1)
            u = hop(u) + (p.unsqueeze(-1) * values).sum(1)
        return self.answer(u)


class LossScaler:
    def __init__(self, scale=65536.0):
        self.scale = scale

    def backward(self, loss):
        (loss * self.scale).backward()

    def unscale_(self, optimizer):
        for group in optimizer.param_groups:
            for p in group["params"]:
                p.grad.div_(self.scale)


def stories(n, gen):
    who = torch.rand(n, PEOPLE, generator=gen).argsort(1)[:, :SLOTS]
    where = torch.randint(PLACES, (n, SLOTS), generator=gen)
    slot = torch.randint(SLOTS, (n, 1), generator=gen)
    return who, where, who.gather(1, slot).squeeze(1), where.gather(1, slot).squeeze(1)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 1)
    model = MemN2N()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, 400)
    scaler = LossScaler()
    curve = []
    with observe(model, optimizer):
        for _ in range(400):
            who, where, question, place = stories(96, gen)
            loss = F.cross_entropy(model(who, where, question), place)
            optimizer.zero_grad()
            scaler.backward(loss)
            if fixed:
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            else:
                nn.utils.clip_grad_norm_(model.parameters(), 10.0)
                scaler.unscale_(optimizer)
            optimizer.step()
            schedule.step()
            curve.append(loss.item())
    who, where, question, place = stories(2000, gen)
    with torch.no_grad():
        accuracy = (model(who, where, question).argmax(1) == place).float().mean().item()
    return {"metric": accuracy, "better": "higher", "curve": curve}

"""A key-value memory network answers "where is X?" from a story of facts, over two hops. To save memory the whole model is cast to
bfloat16 and trained so, with no float32 master copy: steps of 2e-4 on weights of order one are rounded away. People write
model.bfloat16() instead of autocast because both make the forward pass run in the same precision."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_memory_bf16_store"
TRUTH = {"mechanisms": ["low_precision_update_absorption"], "layers": None, "onset": 0}
PEOPLE, PLACES, FACTS = 40, 12, 10


class MemoryNet(nn.Module):
    def __init__(self, d=48):
        super().__init__()
        self.key = nn.Embedding(PEOPLE, d)
        self.query = nn.Embedding(PEOPLE, d)
        self.link = nn.Embedding(PEOPLE, d)
        self.place = nn.Embedding(PLACES, d)
        self.hop = nn.Linear(d, d)
        self.answer = nn.Linear(d, PLACES)

    def forward(self, who, where, ask):
        keys, values = self.key(who), self.place(where)
        u = self.query(ask)
        for _ in range(2):
            p = torch.einsum("bfd,bd->bf", keys, u).mul(keys.shape[-1] ** -0.5).softmax(-1)
            o = torch.einsum("bf,bfd->bd", p, values)
            u = torch.tanh(self.hop(u)) + o
        return self.answer(o)


def stories(n, g):
    who = torch.rand(n, PEOPLE, generator=g).argsort(1)[:, :FACTS]
    where = torch.randint(PLACES, (n, FACTS), generator=g)
    slot = torch.randint(FACTS, (n, 1), generator=g)
    return who, where, who.gather(1, slot).squeeze(1), where.gather(1, slot).squeeze(1)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 9)
    model = MemoryNet()
    model = model if fixed else model.bfloat16()
    opt = torch.optim.Adam(model.parameters(), lr=2e-4)
    curve = []
    with observe(model, opt):
        for _ in range(1200):
            who, where, ask, y = stories(128, g)
            loss = F.cross_entropy(model(who, where, ask).float(), y)
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        who, where, ask, y = stories(3000, g)
        acc = (model(who, where, ask).argmax(-1) == y).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}

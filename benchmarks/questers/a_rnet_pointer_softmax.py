"""Reading model with a pointer output. The attention pool of the question takes softmax after expand_dims, over an axis of length one, so every
weight is 1 and its scorer never gets a gradient (localminimum/R-net issue 8). Repair: softmax over the words."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "a_rnet_pointer_softmax"
TRUTH = {
    "mechanisms": ["parameters_not_updated"],
    "layers": ["question_pool", "question_pool.proj", "question_pool.v"],
    "onset": (0, 0),
}
VOCAB, LQ, LP = 40, 8, 20


class AttentionPool(nn.Module):
    def __init__(self, dim, fixed):
        super().__init__()
        self.proj = nn.Linear(dim, dim)
        self.v = nn.Linear(dim, 1, bias=False)
        self.fixed = fixed

    def forward(self, h):
        logits = self.v(torch.tanh(self.proj(h))).squeeze(-1)
        if self.fixed:
            scores = F.softmax(logits, -1).unsqueeze(-1)
        else:
            scores = logits.unsqueeze(-1)
            scores = F.softmax(scores, -1)
        return (scores * h).sum(1)


class Pointer(nn.Module):
    def __init__(self, dim=48, fixed=False):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, dim)
        self.passage_rnn = nn.GRU(dim, dim // 2, batch_first=True, bidirectional=True)
        self.question_pool = AttentionPool(dim, fixed)
        self.query = nn.Linear(dim, dim)
        self.shift = nn.Linear(dim, dim, bias=False)

    def forward(self, q, p):
        u, _ = self.passage_rnn(self.embed(p))
        w = self.embed(q)
        left = F.pad(w[:, :-1], (0, 0, 1, 0))
        q = self.question_pool(w + self.shift(left))
        return torch.einsum("bd,bld->bl", self.query(q), u) / 48**0.5


def sample(n, gen):
    """Words below 12 are entities; a question holds three of them, word 12 stands before the one that is meant. Answer: its place."""
    p = torch.randint(13, VOCAB, (n, LP), generator=gen)
    ents = torch.rand(n, 12, generator=gen).argsort(1)[:, :5]
    place = torch.rand(n, LP, generator=gen).argsort(1)[:, :5]
    p.scatter_(1, place, ents)
    q = torch.randint(13, VOCAB, (n, LQ), generator=gen)
    slot = torch.rand(n, LQ // 2, generator=gen).argsort(1)[:, :3] * 2 + 1
    q.scatter_(1, slot, ents[:, :3])
    q[torch.arange(n), slot[:, 0] - 1] = 12
    return q, p, place[:, 0]


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 31)
    test = sample(1000, gen)
    model = Pointer(fixed=fixed)
    opt = torch.optim.Adam(model.parameters(), lr=2e-3)
    curve = []
    with observe(model, opt):
        for step in range(500):
            q, p, y = sample(48, gen)
            loss = F.cross_entropy(model(q, p), y)
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        nll = F.cross_entropy(model(*test[:2]), test[2]).item()
    return {"metric": nll, "better": "lower", "curve": curve}

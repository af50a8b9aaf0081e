"""A dual encoder for retrieval (queries to documents) with InfoNCE and a bank of past documents that begins to grow
at step 100, up to five thousand negatives. Nothing is wrong: the loss turns and rises because the choice becomes harder, while recall improves."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_retrieval_queue"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}

WORDS, TOPICS = 300, 40


def corpus(n, g, topics):
    """documents: bags of words about a mixture of two topics; queries: few words of the same mixture"""
    pick = torch.randint(TOPICS, (n, 2), generator=g)
    mix = 0.5 * (topics[pick[:, 0]] + topics[pick[:, 1]])
    own = torch.distributions.Gamma(0.2, 1.0).sample((n, WORDS))
    p = mix * (0.05 + own)
    doc = torch.multinomial(p, 60, replacement=True, generator=g)
    qry = torch.multinomial(p, 40, replacement=True, generator=g)
    return qry, doc


class Tower(nn.Module):
    def __init__(self, emb, d):
        super().__init__()
        self.bag = emb
        self.mlp = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 96), nn.GELU(), nn.Linear(96, 48))

    def forward(self, words):
        return F.normalize(self.mlp(self.bag(words)), dim=-1)


class DualEncoder(nn.Module):
    def __init__(self, d=64):
        super().__init__()
        emb = nn.EmbeddingBag(WORDS, d, mode="mean")
        self.query, self.document = Tower(emb, d), Tower(emb, d)
        self.log_scale = nn.Parameter(torch.tensor(2.3))

    def logits(self, q, d):
        return self.log_scale.exp().clamp(max=50.0) * q @ d.T


class Bank:
    """first in, first out; room for more every few steps"""

    def __init__(self):
        self.rows, self.limit = None, 0

    def push(self, d):
        self.rows = d if self.rows is None else torch.cat([self.rows, d])
        self.rows = (
            self.rows[len(self.rows) - self.limit :] if self.limit < len(self.rows) else self.rows
        )

    def grow(self, step):
        self.limit = min(5000, 8 * max(0, step - 100))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    topics = torch.distributions.Gamma(0.15, 1.0).sample((TOPICS, WORDS)) + 1e-3
    topics = topics / topics.sum(1, keepdim=True)
    qtr, dtr = corpus(27200, g, topics)
    qte, dte = corpus(500, g, topics)
    model = DualEncoder()
    optimizer = torch.optim.AdamW(model.parameters(), lr=8e-4, weight_decay=1e-3)
    bank, curve, step = Bank(), [], 0
    with observe(model, optimizer):
        for words_q, words_d in zip(
            qtr.split(32), dtr.split(32)
        ):  # one pass, no document comes twice
            q, d = model.query(words_q), model.document(words_d)
            bank.grow(step)
            cands = d if bank.rows is None else torch.cat([d, bank.rows])
            loss = F.cross_entropy(model.logits(q, cands), torch.arange(len(q)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            bank.push(d.detach())
            curve.append(loss.item())
            step += 1
    model.eval()
    with torch.no_grad():
        best = model.logits(model.query(qte), model.document(dte)).argmax(1)
    return {
        "metric": (best == torch.arange(len(best))).float().mean().item(),
        "better": "higher",
        "curve": curve,
    }

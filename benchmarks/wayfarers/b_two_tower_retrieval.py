"""Two-tower passage retrieval with in-batch negatives; a few passages are empty after stop-word removal and mean pooling divides zero by zero."""

import torch
import torch.nn.functional as F
from torch import nn

ID = "two-tower-empty-passage"
TRUTH = {
    "mechanisms": ["numerical_singularity", "nonfinite_data"],
    "layers": ["passage", "passage.emb", "passage.mlp", "passage.mlp.0", "passage.mlp.2"],
    "onset": (0, 42),
}
VOCAB, PAD, STOP = 400, 0, 20  # ids 1..STOP are stop words


class Tower(nn.Module):
    def __init__(self, eps, dim=48, out=32):
        super().__init__()
        self.eps = eps
        self.emb = nn.Embedding(VOCAB, dim, padding_idx=PAD)
        self.mlp = nn.Sequential(nn.Linear(dim, 96), nn.ReLU(), nn.Linear(96, out))

    def forward(self, ids):
        keep = (ids > STOP).float().unsqueeze(-1)
        total = (self.emb(ids) * keep).sum(1)
        mean = total / keep.sum(1).clamp(min=self.eps)
        return F.normalize(self.mlp(mean), dim=-1)


class TwoTower(nn.Module):
    def __init__(self, fixed):
        super().__init__()
        eps = 1.0 if fixed else 0.0
        self.query, self.passage = Tower(eps), Tower(eps)
        self.log_scale = nn.Parameter(torch.tensor(2.5))

    def forward(self, q, p):
        return self.query(q) @ self.passage(p).T * self.log_scale.exp()


class Corpus:
    def __init__(self, n, gen):
        topic_words = torch.randint(STOP + 1, VOCAB, (60, 12), generator=gen)
        topic = torch.randint(60, (n,), generator=gen)
        pick = torch.randint(12, (n, 14), generator=gen)
        stop = torch.randint(1, STOP + 1, (n, 6), generator=gen)
        text = torch.cat([topic_words[topic].gather(1, pick), stop], 1)
        empty = torch.randperm(n, generator=gen)[: n // 1000]
        text[empty] = torch.randint(1, STOP + 1, (len(empty), 20), generator=gen)
        self.passages = text
        # the query repeats three words of its passage and adds one stop word
        self.queries = torch.cat([text[:, :3], stop[:, :1]], 1)
        self.queries[empty, 0] = STOP + 1


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 1)
    corpus = Corpus(3000, gen)
    train_n = 2700
    model = TwoTower(fixed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-3)
    curve = []
    with observe(model, optimizer):
        for _ in range(10):
            for rows in torch.randperm(train_n, generator=gen).split(64):
                logits = model(corpus.queries[rows], corpus.passages[rows])
                target = torch.arange(len(rows))
                loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    with torch.no_grad():
        logits = model(corpus.queries[train_n:], corpus.passages[train_n:])
        best = logits.topk(5, dim=1).indices
        hit = (best == torch.arange(len(best))[:, None]).any(1).float().mean().item()
    return {"metric": hit, "better": "higher", "curve": curve}

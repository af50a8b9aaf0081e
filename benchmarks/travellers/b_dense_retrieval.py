"""Dense passage retrieval with two text towers and in-batch negatives; the loop clears the
gradients of the query tower only, so those of the passage tower add up over all steps."""

import torch
import torch.nn.functional as F
from torch import nn

ID = "dense-retrieval-passage-grads-accumulate"
PASSAGE = ["passage", "passage.words", "passage.mlp"] + [f"passage.mlp.{i}" for i in (0, 1, 3)]
TRUTH = {"mechanisms": ["gradients_not_cleared"], "layers": PASSAGE, "onset": 1}

QUERY_WORDS, PASSAGE_WORDS, CONCEPTS = 120, 160, 30


class Collection:
    """Queries and passages use different vocabularies for the same hidden concepts."""

    def __init__(self, seed):
        self.gen = torch.Generator().manual_seed(seed)
        self.query_concept = torch.randperm(QUERY_WORDS, generator=self.gen).view(CONCEPTS, -1)
        self.passage_concept = torch.randperm(PASSAGE_WORDS, generator=self.gen)[:150].view(
            CONCEPTS, -1
        )

    def express(self, concepts, table, words):
        n = concepts.shape[0]
        chosen = concepts.gather(1, torch.randint(0, 4, (n, words), generator=self.gen))
        synonym = torch.randint(0, table.shape[1], (n, words), generator=self.gen)
        return table[chosen, synonym]

    def pairs(self, n):
        concepts = torch.rand(n, CONCEPTS, generator=self.gen).argsort(1)[:, :4]
        queries = self.express(concepts, self.query_concept, 10)
        passages = self.express(concepts, self.passage_concept, 16)
        noise = torch.randint(0, PASSAGE_WORDS, (n, 4), generator=self.gen)
        return queries, torch.cat([passages, noise], dim=1)


class Tower(nn.Module):
    def __init__(self, vocabulary, d=64):
        super().__init__()
        self.words = nn.EmbeddingBag(vocabulary, d, mode="mean")
        self.mlp = nn.Sequential(nn.Linear(d, 128), nn.LayerNorm(128), nn.ReLU(), nn.Linear(128, d))

    def forward(self, tokens):
        return F.normalize(self.mlp(self.words(tokens)), dim=-1)


class DualEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.query = Tower(QUERY_WORDS)
        self.passage = Tower(PASSAGE_WORDS)

    def forward(self, queries, passages):
        return self.query(queries) @ self.passage(passages).T / 0.07


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    data = Collection(seed + 40)
    model = DualEncoder()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.7, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=600)
    to_clear = model if fixed else model.query
    curve = []
    with observe(model, optimizer):
        for step in range(600):
            queries, passages = data.pairs(96)
            scores = model(queries, passages)
            loss = F.cross_entropy(scores, torch.arange(len(queries)))
            to_clear.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            scheduler.step()
            curve.append(loss.item())
    with torch.no_grad():
        queries, passages = data.pairs(200)
        hits = model(queries, passages).argmax(-1) == torch.arange(200)
    return {"metric": hits.float().mean().item(), "better": "higher", "curve": curve}

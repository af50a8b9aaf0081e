"""Siamese text CNN with a contrastive loss on a stream of question pairs: once the second source
begins, some pairs are literal copies and the square root of their zero distance gives NaN."""

import torch
import torch.nn.functional as F
from torch import nn

ID = "siamese-duplicate-questions"
TRUTH = {"mechanisms": ["numerical_singularity"], "layers": None, "onset": (140, 146)}
VOCAB, LENGTH, TOPICS, BATCH, SECOND_SOURCE = 400, 14, 24, 32, 140


class PairStream:
    """Pairs of questions; equal topics are positives. The second source has verbatim reposts."""

    def __init__(self, seed):
        self.gen = torch.Generator().manual_seed(seed)
        self.words = torch.randint(0, VOCAB, (TOPICS, 14), generator=self.gen)

    def question(self, topics):
        n = len(topics)
        pick = torch.randint(0, 14, (n, LENGTH), generator=self.gen)
        own = self.words[topics[:, None], pick]
        noise = torch.randint(0, VOCAB, (n, LENGTH), generator=self.gen)
        return torch.where(torch.rand(n, LENGTH, generator=self.gen) < 0.5, own, noise)

    def batch(self, n, reposts=0.0):
        left = torch.randint(0, TOPICS, (n,), generator=self.gen)
        same = torch.rand(n, generator=self.gen) < 0.5
        step = torch.randint(1, TOPICS, (n,), generator=self.gen)
        right = torch.where(same, left, (left + step) % TOPICS)
        a, b = self.question(left), self.question(right)
        copy = (torch.rand(n, generator=self.gen) < reposts) & same
        return a, torch.where(copy[:, None], a, b), same.float()


class TextCNN(nn.Module):
    def __init__(self, dim=64, out=32):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, dim)
        self.convs = nn.ModuleList(nn.Conv1d(dim, dim, k, padding=k // 2) for k in (1, 3, 5))
        self.project = nn.Linear(3 * dim, out)

    def forward(self, ids):
        x = self.embed(ids).transpose(1, 2)
        pooled = [F.relu(conv(x)).amax(-1) for conv in self.convs]
        return self.project(torch.cat(pooled, 1))


def distance(a, b, eps):
    return torch.sqrt((a - b).pow(2).sum(1) + eps)


def contrastive(d, same, margin=4.0):
    return (same * d.pow(2) + (1 - same) * F.relu(margin - d).pow(2)).mean()


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    stream = PairStream(seed + 5)
    model = TextCNN()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    eps = 1e-8 if fixed else 0.0
    curve = []
    with observe(model, optimizer):
        for step in range(400):
            a, b, same = stream.batch(BATCH, reposts=0.15 if step >= SECOND_SOURCE else 0.0)
            loss = contrastive(distance(model(a), model(b), eps), same)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    model.eval()
    a, b, same = stream.batch(1500)
    with torch.no_grad():
        d = distance(model(a), model(b), eps)
    closer = d[same == 1][:, None] < d[same == 0][None]
    auc = closer.float().mean().item()
    return {"metric": auc, "better": "higher", "curve": curve}

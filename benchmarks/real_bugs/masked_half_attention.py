"""Self-attention in half precision with a padding bias of -1e15, which fp16 cannot hold."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.real_bugs.material import accuracy, ended
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "masked-half-attention"
FAMILY = "transformer"
TITLE = "A mask of -1e15 overflows in half precision"
SOURCE = "github: NVIDIA/apex issue 93, 'How to use fp16 training with masked operations'"
TRUTH: Truth = {
    "mechanisms": ["half_precision_overflow", "numerical_singularity"],
    "layers": ["attention", "attention.softmax"],
    "onset": (0, 1),
    "symptom": "nonfinite_values",
}
LENGTH, WORDS = 12, 32


def documents(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Padded ids, which of them are words, and the topic: which of four kinds of word is commonest."""
    ids = torch.randint(1, WORDS, (count, LENGTH), generator=generator)
    length = torch.randint(4, LENGTH + 1, (count, 1), generator=generator)
    keep = torch.arange(LENGTH) < length
    kinds = F.one_hot(ids % 4, 4) * keep[..., None]
    return ids * keep, keep, kinds.sum(1).argmax(-1)


class MaskedAttention(nn.Module):
    def __init__(self, width: int, blocked: float) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.softmax = nn.Softmax(dim=-1)
        self.out = nn.Linear(width, width)
        self.blocked = blocked

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
        blocked = torch.tensor([self.blocked]).type_as(x)
        scores = scores + (1 - keep.type_as(x))[:, None, :] * blocked
        return self.out(self.softmax(scores) @ v)


class Classifier(nn.Module):
    def __init__(self, blocked: float) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, 32)
        self.attention = MaskedAttention(32, blocked)
        self.mlp = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 4))

    def forward(self, ids: Tensor, keep: Tensor) -> Tensor:
        h = self.embed(ids)
        h = h + self.attention(h, keep)
        weight = keep.type_as(h) / keep.sum(1, keepdim=True).type_as(h)
        return self.mlp((h * weight[..., None]).sum(1))


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = Classifier(blocked=-1e4 if fixed else -1e15).half()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scale = 128.0
    losses = []
    with observe(model, optimizer) as watch:
        for _ in range(250):
            ids, keep, topic = documents(64, generator)
            loss = F.cross_entropy(model(ids, keep).float(), topic)
            optimizer.zero_grad()
            (loss * scale).backward()
            for p in model.parameters():
                if p.grad is not None:
                    p.grad.div_(scale)
            optimizer.step()
            losses.append(loss.item())
            watch.loss(loss.item())
    ids, keep, topic = documents(600, generator)
    with torch.no_grad():
        return ended(accuracy(model(ids, keep), topic), "higher", losses)

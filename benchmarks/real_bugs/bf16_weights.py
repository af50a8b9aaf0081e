"""A language model whose weights themselves are bfloat16, with a fine-tuning learning rate."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.real_bugs.material import ended, text_windows
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "bf16-weights"
FAMILY = "mixer"
TITLE = "Adam updates rounded away in bfloat16 weights without a master copy"
SOURCE = "github: workofart/ml-by-hand pull request 85, 'Create FP32 master copy of weights for mixed-precision training'"
TRUTH: Truth = {
    "mechanisms": ["low_precision_update_absorption", "learning_rate_too_low"],
    "layers": None,
    "onset": 0,
    "symptom": "loss_plateau",
}
LENGTH = 16


class CausalMixer(nn.Module):
    """Mixes positions with a lower-triangular matrix, then channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.mix = nn.Parameter(torch.eye(LENGTH) + 0.3 * torch.randn(LENGTH, LENGTH))
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tril(self.mix) @ self.norm(x)
        return x + self.down(F.silu(self.up(h)))


class MixerLM(nn.Module):
    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.embed = nn.Embedding(64, width)
        self.mixers = nn.ModuleList(CausalMixer(width) for _ in range(2))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 64)

    def forward(self, ids: Tensor) -> Tensor:
        h = self.embed(ids)
        for mixer in self.mixers:
            h = mixer(h)
        return self.head(self.norm(h))


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    torch.manual_seed(seed)
    model = MixerLM()
    compute = torch.bfloat16
    if not fixed:
        model = model.to(torch.bfloat16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.0)
    losses = []
    with observe(model, optimizer) as watch:
        for ids, labels in text_windows(LENGTH, 48, 300, seed):
            # Fixed: the parameters are the fp32 copy, and autocast makes bf16 ones for each pass.
            with torch.autocast("cpu", dtype=compute, enabled=fixed):
                logits = model(ids)
            loss = F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            watch.loss(loss.item())
    ids, labels = next(text_windows(LENGTH, 300, 1, seed + 77))
    with torch.no_grad():
        held = F.cross_entropy(model(ids).flatten(0, 1).float(), labels.flatten())
    return ended(held, "lower", losses)

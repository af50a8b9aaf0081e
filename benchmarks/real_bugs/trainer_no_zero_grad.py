"""A trainer class whose training step forgets zero_grad."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.real_bugs.material import ended, text_windows
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "trainer-no-zero-grad"
FAMILY = "transformer"
TITLE = "optimizer.step() without zero_grad in a language-model trainer"
SOURCE = "github: tenstorrent/tt-blacksmith pull request 711, '[Trainer] Fix Bug Where Zero Grad was Left Out'"
TRUTH: Truth = {
    "mechanisms": ["gradients_not_cleared"],
    "layers": None,
    "onset": (0, 1),
    "symptom": "loss_plateau",
}


class TinyLM(nn.Module):
    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.wte = nn.Embedding(64, width)
        self.wpe = nn.Embedding(24, width)
        self.layer = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 4, 96, 0.0, batch_first=True, norm_first=True)
            for _ in range(2)
        )
        self.norm = nn.LayerNorm(width)
        self.lm_head = nn.Linear(width, 64, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        length = ids.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length)
        h = self.wte(ids) + self.wpe(torch.arange(length))
        for layer in self.layer:
            h = layer(h, src_mask=mask, is_causal=True)
        return self.lm_head(self.norm(h))


class Trainer:
    def __init__(self, model: nn.Module, zero_grad: bool) -> None:
        self.model, self.zero_grad = model, zero_grad
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)

    def training_step(self, ids: Tensor, labels: Tensor) -> float:
        loss = F.cross_entropy(self.model(ids).flatten(0, 1), labels.flatten())
        loss.backward()
        self.optimizer.step()
        if self.zero_grad:
            self.optimizer.zero_grad()
        return loss.item()

    def train(self, observe: Observe, seed: int) -> list[float]:
        losses = []
        with observe(self.model, self.optimizer) as watch:
            for ids, labels in text_windows(24, 24, 180, seed):
                losses.append(self.training_step(ids, labels))
                watch.loss(losses[-1])
        return losses


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    torch.manual_seed(seed)
    model = TinyLM()
    losses = Trainer(model, zero_grad=fixed).train(observe, seed)
    ids, labels = next(text_windows(24, 300, 1, seed + 77))
    with torch.no_grad():
        held = F.cross_entropy(model(ids).flatten(0, 1), labels.flatten())
    return ended(held, "lower", losses)

"""Whatever numbers a run came to, what is said of it is said without a warning of ours."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from neuraldbg import NeuralDbg
from neuraldbg.pipeline import diagnose
from neuraldbg.records.recording import Column, Recording


class Mixed(nn.Module):
    """A little of everything that is measured: a table, attention, sines, a norm, a rectifier, a gate, a recurrence."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.norm = nn.Embedding(12, 8), nn.LayerNorm(8)
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)
        self.run, self.drop = nn.GRU(8, 8, batch_first=True), nn.Dropout(0.1)
        self.wide, self.gate, self.head = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 1)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.table(words))
        x = x + self.attend(x, x, x)[0]
        x = self.drop(self.run(x)[0])
        x = torch.relu(self.wide(x)) * torch.sigmoid(self.gate(torch.sin(x)))
        return self.head(x).mean(1)


@pytest.fixture(scope="module", params=[torch.optim.AdamW, torch.optim.Adam, torch.optim.SGD])
def recording(request: pytest.FixtureRequest) -> Recording:
    """Return a short run with decay, a clip and a schedule."""
    torch.manual_seed(0)
    model = Mixed()
    apart = {"params": [*model.head.parameters()], "weight_decay": 0.0}
    rest = [p for name, p in model.named_parameters() if not name.startswith("head")]
    optimizer = request.param([{"params": rest}, apart], lr=1e-3, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 20)
    with NeuralDbg(model) as dbg:
        for _ in range(48):
            words = torch.randint(0, 12, (16, 6))
            optimizer.zero_grad()
            nn.functional.mse_loss(model(words), words.float().mean(1, keepdim=True)).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    return dbg.recording


def spoiled(column: Column, number: float) -> Column:
    """Return a column whose second half is that number."""
    values = np.array(column.values)
    if np.issubdtype(values.dtype, np.floating):
        values[len(values) // 2 :] = number
    return column._replace(values=values)


LARGEST = float(np.finfo(np.float32).max)
GROUPS = ("step", "grad", "layer", "param")


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan, LARGEST, -LARGEST, 0.0], ids=str)
@pytest.mark.parametrize("share", [0.1, 0.5, 1.0], ids=["few", "half", "all"])
def test_numbers_that_are_not_finite_are_judged_without_a_warning(
    recording: Recording, share: float, number: float
) -> None:
    draw = np.random.default_rng(0)
    for _ in range(1 if share == 1.0 else 6):
        changed = {
            group: {
                name: spoiled(column, number) if draw.random() < share else column
                for name, column in getattr(recording, group).items()
            }
            for group in GROUPS
        }
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = diagnose(replace(recording, **changed))
        assert 0.0 <= found.p_healthy <= 1.0
        assert all(0.0 <= h.probability <= 1.0 for h in found.hypotheses)

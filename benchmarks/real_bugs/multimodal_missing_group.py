"""A tagger with several parameter groups: the group of the classifier is built and never appended."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.real_bugs.material import accuracy, ended
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "multimodal-missing-group"
FAMILY = "tagger"
TITLE = "The parameter group of the output layers was never handed to AdamW"
SOURCE = (
    "github: zjunlp/HVPNeT issue 5, 'Not putting parameters into optimizer but still trainable'"
)
TRUTH: Truth = {
    "mechanisms": ["parameters_not_updated"],
    "layers": ["fc", "crf_scores"],
    "onset": 0,
    "symptom": "loss_plateau",
}
WORDS, TAGS, LENGTH = 40, 9, 10


def sentences(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Words, a picture of the scene, and tags that depend on a word, its neighbour and the picture."""
    words = torch.randint(0, WORDS, (count, LENGTH), generator=generator)
    scene = torch.randint(0, 3, (count,), generator=generator)
    picture = F.one_hot(scene, 3).float() + 0.1 * torch.randn(count, 3, generator=generator)
    tags = (words // 5 + 2 * (words.roll(1, 1) % 2) + scene[:, None]) % TAGS
    return words, picture, tags


class VisualPromptTagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bert = nn.Embedding(WORDS, 24)
        self.context = nn.GRU(24, 24, batch_first=True, bidirectional=True)
        self.encoder_conv = nn.Sequential(nn.Linear(3, 24), nn.Tanh())
        self.fc = nn.Linear(72, 24)
        self.crf_scores = nn.Linear(24, TAGS)

    def forward(self, words: Tensor, picture: Tensor) -> Tensor:
        h, _ = self.context(self.bert(words))
        seen = self.encoder_conv(picture)[:, None].expand(-1, LENGTH, -1)
        return self.crf_scores(F.relu(self.fc(torch.cat([h, seen], -1))))


def grouped(model: VisualPromptTagger, fixed: bool) -> torch.optim.Optimizer:
    parameters: list[dict[str, Any]] = []
    params: dict[str, Any] = {"lr": 3e-4, "weight_decay": 1e-2, "params": []}
    for name, param in model.named_parameters():
        if "bert" in name or "context" in name:
            params["params"].append(param)
    parameters.append(params)
    params = {"lr": 3e-4, "weight_decay": 1e-2, "params": []}
    for name, param in model.named_parameters():
        if "encoder_conv" in name:
            params["params"].append(param)
    parameters.append(params)
    params = {"lr": 2e-2, "weight_decay": 1e-2, "params": []}
    for name, param in model.named_parameters():
        if "crf" in name or name.startswith("fc"):
            params["params"].append(param)
    if fixed:
        parameters.append(params)
    return torch.optim.AdamW(parameters)


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = VisualPromptTagger()
    optimizer = grouped(model, fixed)
    losses = []
    model.train()
    with observe(model, optimizer) as watch:
        for _ in range(300):
            words, picture, tags = sentences(32, generator)
            logits = model(words, picture)
            loss = F.cross_entropy(logits.view(-1, TAGS), tags.view(-1))
            loss.backward()
            optimizer.step()
            model.zero_grad()
            losses.append(loss.item())
            watch.loss(loss.item())
    model.eval()
    words, picture, tags = sentences(300, generator)
    with torch.no_grad():
        logits = model(words, picture)
    return ended(accuracy(logits.view(-1, TAGS), tags.view(-1)), "higher", losses)

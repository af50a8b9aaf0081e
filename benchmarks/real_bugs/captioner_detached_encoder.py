"""A captioner reads its image encoder through an extractor that clones and detaches."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.real_bugs.material import batches, ended, images
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "captioner-detached-encoder"
FAMILY = "captioner"
TITLE = "The extractor detaches the image tokens: the encoder never learns"
SOURCE = (
    "github: lucidrains/CoCa-pytorch issue 6, 'Extractor in vit_pytorch will detach the tensor'"
)
TRUTH: Truth = {
    "mechanisms": ["parameters_not_updated"],
    "layers": ["img_encoder", "img_encoder.0", "img_encoder.2", "img_encoder.5", "extractor"],
    "onset": 0,
    "symptom": "loss_plateau",
}
NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
ALPHABET = sorted({letter for name in NAMES for letter in name})
END = len(ALPHABET)
CAPTIONS = torch.tensor(
    [[ALPHABET.index(c) for c in name] + [END] * (6 - len(name)) for name in NAMES]
)


class Extractor(nn.Module):
    def __init__(self, detach: bool) -> None:
        super().__init__()
        self.detach = detach

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens.clone().detach() if self.detach else tokens.clone()


class CoCa(nn.Module):
    def __init__(self, detach: bool) -> None:
        super().__init__()
        self.img_encoder = nn.Sequential(
            nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(16, 16, 3, stride=2, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(64, 12), nn.ReLU(),
        )  # fmt: skip
        self.extractor = Extractor(detach)
        self.to_state = nn.Linear(12, 32)
        self.token = nn.Embedding(END + 2, 16)
        self.decoder = nn.GRU(16, 32, batch_first=True)
        self.to_logits = nn.Linear(32, END + 1)

    def forward(self, image: Tensor, caption: Tensor) -> Tensor:
        seen = self.extractor(self.img_encoder(image))
        start = torch.full((len(image), 1), END + 1)
        words = self.token(torch.cat([start, caption[:, :-1]], 1))
        h, _ = self.decoder(words, torch.tanh(self.to_state(seen))[None])
        return self.to_logits(h)


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    torch.manual_seed(seed)
    x, y, held, target = images()
    coca = CoCa(detach=not fixed)
    optimizer = torch.optim.AdamW(coca.parameters(), lr=3e-3)
    losses = []
    with observe(coca, optimizer) as watch:
        for index in batches(len(y), 64, 300, seed):
            caption = CAPTIONS[y[index]]
            logits = coca(x[index], caption)
            loss = F.cross_entropy(logits.flatten(0, 1), caption.flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            watch.loss(loss.item())
    with torch.no_grad():
        caption = CAPTIONS[target]
        logits = coca(held, caption)
        held_loss = F.cross_entropy(logits.flatten(0, 1), caption.flatten())
    return ended(held_loss, "lower", losses)

"""Frames are standardised one by one; an all-black frame has no deviation to divide by."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.real_bugs.material import ended
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "video-black-frames"
FAMILY = "conv-recurrent"
TITLE = "Normalisation of a black frame divides by zero"
SOURCE = "github: SunnerLi/RecycleGAN issue 1, 'AssertionError' (min and max of the image are nan)"
BLACK = 60
TRUTH: Truth = {
    "mechanisms": ["nonfinite_data"],
    "layers": None,
    "onset": BLACK,
    "symptom": "nonfinite_values",
}


def clip(step: int, generator: torch.Generator) -> Tensor:
    """Eight films of four frames, ``(4, 8, 1, 8, 8)``: a spot that moves; one film fades to black."""
    start = torch.randint(0, 4, (8, 2), generator=generator)
    speed = torch.randint(0, 2, (8, 2), generator=generator)
    frames = torch.zeros(4, 8, 1, 8, 8)
    for t in range(4):
        place = start + t * speed
        for film in range(8):
            row, column = int(place[film, 0]), int(place[film, 1])
            frames[t, film, 0, row : row + 2, column : column + 2] = 1.0
    frames += 0.05 * torch.rand(frames.shape, generator=generator)
    if step >= BLACK and step % 20 == 0:
        frames[2, 3] = 0.0
    return frames


def normalise(frames: Tensor, safe: bool) -> Tensor:
    mean = frames.mean((-1, -2, -3), keepdim=True)
    std = frames.std((-1, -2, -3), keepdim=True)
    return (frames - mean) / (std.clamp(min=1e-3) if safe else std)


class Predictor(nn.Module):
    """Two past frames in, the next out."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Conv2d(2, 16, 3, padding=1)
        self.middle = nn.Conv2d(16, 16, 3, padding=1)
        self.decode = nn.Conv2d(16, 1, 3, padding=1)

    def forward(self, past: Tensor) -> Tensor:
        h = F.leaky_relu(self.encode(past), 0.2)
        return self.decode(h + F.leaky_relu(self.middle(h), 0.2))


def both(net: nn.Module, frames: Tensor) -> Tensor:
    first = torch.cat([frames[0], frames[1]], 1)
    second = torch.cat([frames[1], frames[2]], 1)
    return F.mse_loss(net(first), frames[2]) + F.mse_loss(net(second), frames[3])


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    net = Predictor()
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3, betas=(0.5, 0.999))
    losses = []
    with observe(net, optimizer) as watch:
        for step in range(160):
            loss = both(net, normalise(clip(step, generator), safe=fixed))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            watch.loss(loss.item())
    with torch.no_grad():
        held = [both(net, normalise(clip(0, generator), safe=True)) for _ in range(10)]
    return ended(torch.stack(held).mean(), "lower", losses)

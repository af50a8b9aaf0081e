"""A depth network with Adam and a weight decay of 0.05, taken from another framework's setting."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.real_bugs.material import ended
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "depth-net-weight-decay"
FAMILY = "encoder-decoder"
TITLE = "Weight decay 0.05: the network goes to zero"
SOURCE = "github: tinghuiz/SfMLearner issue 34, 'networks weight decay' (about its PyTorch port)"
TRUTH: Truth = {
    "mechanisms": ["excessive_weight_decay"],
    "layers": None,
    "onset": (0, 40),
    "symptom": "loss_plateau",
}


def scenes(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Shaded images of random surfaces, and their inverse depth."""
    coarse = torch.rand(count, 1, 5, 5, generator=generator)
    disp = F.interpolate(coarse, size=(16, 16), mode="bilinear", align_corners=True)
    slope = F.pad(disp[..., 1:] - disp[..., :-1], (0, 1))
    image = torch.cat([disp.pow(2), 4 * slope, 1 - disp], 1)
    return image + 0.03 * torch.randn(image.shape, generator=generator), disp


class DispNetS(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 5, stride=2, padding=2)
        self.conv2 = nn.Conv2d(16, 24, 3, stride=2, padding=1)
        self.upconv2 = nn.ConvTranspose2d(24, 16, 4, stride=2, padding=1)
        self.upconv1 = nn.ConvTranspose2d(32, 16, 4, stride=2, padding=1)
        self.predict_disp = nn.Conv2d(16, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        c1 = F.relu(self.conv1(x))
        c2 = F.relu(self.conv2(c1))
        u2 = torch.cat([F.relu(self.upconv2(c2)), c1], 1)
        return 2 * torch.sigmoid(self.predict_disp(F.relu(self.upconv1(u2))))


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    disp_net = DispNetS()
    optimizer = torch.optim.Adam(
        disp_net.parameters(), lr=2e-3, betas=(0.9, 0.999), weight_decay=5e-5 if fixed else 0.05
    )
    losses = []
    with observe(disp_net, optimizer) as watch:
        for _ in range(300):
            image, disp = scenes(16, generator)
            loss = (disp_net(image) - disp).abs().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            watch.loss(loss.item())
    image, disp = scenes(200, generator)
    with torch.no_grad():
        return ended((disp_net(image) - disp).abs().mean(), "lower", losses)

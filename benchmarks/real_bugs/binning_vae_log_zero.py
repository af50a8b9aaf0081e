"""A binning autoencoder takes the log of softmax probabilities that have reached exactly zero."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.real_bugs.material import ended
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "binning-vae-log-zero"
FAMILY = "vae"
TITLE = "log(0) in the cross-entropy of a variational autoencoder"
SOURCE = 'github: RasmussenLab/vamb issue 12, "nan\'s after some epochs"'
TRUTH: Truth = {
    "mechanisms": ["numerical_singularity"],
    "layers": None,
    "onset": (0, 60),
    "symptom": "nonfinite_values",
}
SAMPLES, TNF = 6, 12


def contigs(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Shares of depth per sample, most of them zero, and a composition that goes with them."""
    genome = torch.randint(0, SAMPLES, (count,), generator=generator)
    depths = nn.functional.one_hot(genome, SAMPLES).float()
    centre = torch.randn(SAMPLES, TNF, generator=torch.Generator().manual_seed(2))
    tnf = centre[genome] + 0.3 * torch.randn(count, TNF, generator=generator)
    # Simple repeats: contigs whose composition is far from all others.
    repeat = torch.rand(count, 1, generator=generator) < 1 / 600
    tnf = torch.where(repeat, 40 * centre[genome.roll(1)], tnf)
    return depths, tnf


class VAE(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoderlayers = nn.Sequential(
            nn.Linear(SAMPLES + TNF, 64), nn.LeakyReLU(), nn.Linear(64, 64), nn.LeakyReLU()
        )
        self.mu, self.logsigma = nn.Linear(64, 8), nn.Linear(64, 8)
        self.decoderlayers = nn.Sequential(
            nn.Linear(8, 64), nn.LeakyReLU(), nn.Linear(64, 64), nn.LeakyReLU()
        )
        self.outputlayer = nn.Linear(64, SAMPLES + TNF)

    def forward(self, depths: Tensor, tnf: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        h = self.encoderlayers(torch.cat((depths, tnf), 1))
        mu, logsigma = self.mu(h), nn.functional.softplus(self.logsigma(h))
        z = mu + torch.randn_like(mu) * torch.exp(logsigma / 2) * 0.1
        out = self.outputlayer(self.decoderlayers(z))
        return out[:, :SAMPLES].softmax(1), out[:, SAMPLES:], mu, logsigma


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    tiny = 1e-9 if fixed else 0.0
    vae = VAE()
    optimizer = torch.optim.Adam(vae.parameters(), lr=1e-2)
    losses = []
    with observe(vae, optimizer) as watch:
        for _ in range(300):
            depths, tnf = contigs(64, generator)
            p, tnf_out, mu, logsigma = vae(depths, tnf)
            ce = -((p + tiny).log() * depths).sum(1).mean()
            sse = nn.functional.huber_loss(tnf_out, tnf)
            kld = -0.5 * (1 + logsigma - mu.pow(2) - logsigma.exp()).sum(1).mean()
            loss = ce + 0.05 * sse + 1e-4 * kld
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            watch.loss(loss.item())
    depths, tnf = contigs(500, generator)
    with torch.no_grad():
        p, _, _, _ = vae(depths, tnf)
        return ended(((p - depths).abs().sum(1) < 1).float().mean(), "higher", losses)

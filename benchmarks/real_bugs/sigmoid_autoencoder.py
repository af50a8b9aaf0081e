"""A deep autoencoder of gene expression with sigmoids all the way."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.real_bugs.material import ended
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "sigmoid-autoencoder"
FAMILY = "autoencoder"
TITLE = "Sigmoid autoencoder gets stuck; leaky ReLU does not"
SOURCE = "github: MollyZhang/Multi-task-TCGA-learning issue 15, 'Use sigmoid as activation function in Autoencoder'"
TRUTH: Truth = {
    "mechanisms": ["depth_attenuation", "saturated_activations"],
    "layers": None,
    "onset": 0,
    "symptom": "vanishing_gradients",
}
GENES, STATES = 40, 5


def expression(count: int, generator: torch.Generator) -> torch.Tensor:
    """Standardised expression driven by a few hidden states."""
    loadings = torch.randn(STATES, GENES, generator=torch.Generator().manual_seed(8))
    hidden = torch.randn(count, STATES, generator=generator)
    return torch.tanh(hidden @ loadings / STATES**0.5)


def autoencoder(act: type[nn.Module]) -> nn.Sequential:
    sizes = [GENES, 32, 24, 12, 24, 32]
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b), act()]
    return nn.Sequential(*layers, nn.Linear(32, GENES))


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    net = autoencoder(nn.LeakyReLU if fixed else nn.Sigmoid)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.2, momentum=0.9)
    losses = []
    with observe(net, optimizer) as watch:
        for _ in range(400):
            x = expression(32, generator)
            loss = F.mse_loss(net(x), x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            watch.loss(loss.item())
    x = expression(400, generator)
    with torch.no_grad():
        return ended(F.mse_loss(net(x), x), "lower", losses)

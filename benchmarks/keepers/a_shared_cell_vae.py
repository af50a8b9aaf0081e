"""A variational autoencoder for gene counts shares its core between two species, after GitHub: zdebruine/MMVAE issue 39, 'Shared VAE
Optimizer Only Given Encoder Parameters'. The optimizer is built from the species modules and the encoder of the shared part, and the
shared decoder keeps its random weights for ever. Lists of parameter groups grow by hand in such multi-part models, and a missing one
raises no error."""

import itertools
import torch
from torch import nn

ID = "a_shared_cell_vae"
TRUTH = {
    "mechanisms": ["parameters_not_updated"],
    "layers": ["shared.decoder.0", "shared.decoder.2"],
    "onset": 0,
}

GENES, LATENT = 60, 6


class Species(nn.Module):
    """What is particular to a species: an input layer and a gain and offset for every gene."""

    def __init__(self):
        super().__init__()
        self.enter = nn.Linear(GENES, 32)
        self.gain = nn.Parameter(torch.ones(GENES))
        self.offset = nn.Parameter(torch.zeros(GENES))

    def leave(self, y):
        return y * self.gain + self.offset


class SharedVAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2 * LATENT)
        )
        self.decoder = nn.Sequential(nn.Linear(LATENT, 48), nn.ReLU(), nn.Linear(48, GENES))

    def forward(self, h):
        mu, logvar = self.encoder(h).chunk(2, 1)
        z = mu + (0.5 * logvar).exp() * torch.randn_like(mu) if self.training else mu
        return self.decoder(z), mu, logvar


class MultiSpecies(nn.Module):
    def __init__(self):
        super().__init__()
        self.species = nn.ModuleDict({"human": Species(), "mouse": Species()})
        self.shared = SharedVAE()

    def forward(self, counts, name):
        expert = self.species[name]
        y, mu, logvar = self.shared(expert.enter(counts))
        return expert.leave(y), mu, logvar


def build_optimizer(model, with_decoder):
    parts = [
        model.species["human"].parameters(),
        model.species["mouse"].parameters(),
        model.shared.encoder.parameters(),
    ]
    if with_decoder:
        parts.append(model.shared.decoder.parameters())
    return torch.optim.Adam(itertools.chain(*parts), lr=2e-3)


def cells(n, programs, shift, gen):
    z = torch.randn(n, LATENT, generator=gen)
    state = torch.tanh(z @ programs[0]) @ programs[1]
    return state + shift + 0.3 * torch.randn(n, GENES, generator=gen)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 71)
    programs = (
        torch.randn(LATENT, 16, generator=gen) / 1.5,
        torch.randn(16, GENES, generator=gen) / 3,
    )
    data, held_out = {}, {}
    for name in ("human", "mouse"):
        shift = 0.5 * torch.randn(GENES, generator=gen)
        data[name], held_out[name] = (
            cells(1000, programs, shift, gen),
            cells(400, programs, shift, gen),
        )
    model = MultiSpecies()
    optimizer = build_optimizer(model, with_decoder=fixed)
    curve = []
    with observe(model, optimizer):
        for step in range(1000):
            name = ("human", "mouse")[step % 2]
            x = data[name][torch.randint(0, 1000, (64,), generator=gen)]
            recon, mu, logvar = model(x, name)
            rec = ((recon - x) ** 2).sum(1).mean()
            kl = 0.5 * (mu**2 + logvar.exp() - 1 - logvar).sum(1).mean()
            loss = rec + 0.2 * kl
            model.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            curve.append(loss.item() / GENES)
    model.eval()
    with torch.no_grad():
        metric = (
            sum(((model(x, name)[0] - x) ** 2).mean().item() for name, x in held_out.items()) / 2
        )
    return {"metric": metric, "better": "lower", "curve": curve}

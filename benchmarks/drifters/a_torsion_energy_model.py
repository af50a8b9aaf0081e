"""An energy-based model learns the joint distribution of two backbone torsion angles by contrastive divergence with Langevin chains.
Nothing is wrong: the loss, the energy of data less the energy of samples, hovers around zero or a little below and never "goes down", as it must
when the chains follow the model, while the energy landscape is learnt well."""

import math

import torch
from torch import nn
from scipy.stats import spearmanr

ID = "a_torsion_energy_model"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}

CENTRES = torch.tensor([[-1.1, -0.7], [-2.1, 2.4], [1.0, 0.8]])
KAPPA = torch.tensor([8.0, 4.0, 12.0])
SHARE = torch.tensor([0.5, 0.35, 0.15])


def log_density(x):
    d = torch.cos(x[:, None] - CENTRES[None]).sum(-1) - 2
    return torch.logsumexp(KAPPA * d + torch.log(SHARE * KAPPA), dim=1)


def torsions(n, gen):
    """Accept-reject from a mixture of bivariate von Mises distributions."""
    out = []
    while sum(map(len, out)) < n:
        x = (torch.rand(20000, 2, generator=gen) * 2 - 1) * math.pi
        p = log_density(x).exp()
        out.append(x[torch.rand(len(x), generator=gen) * 7.0 < p])
    return torch.cat(out)[:n]


class Energy(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU())
        self.energy = nn.Linear(64, 1)

    def forward(self, x):
        h = torch.cat([x.sin(), x.cos(), (2 * x).sin(), (2 * x).cos()], -1)
        return self.energy(self.body(h)).squeeze(-1)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 2)
    data = torsions(4000, gen)
    model = Energy()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, betas=(0.5, 0.999))
    chains = (torch.rand(512, 2, generator=gen) * 2 - 1) * math.pi
    curve = []
    with observe(model, optimizer):
        for step in range(700):
            where = torch.randint(0, len(chains), (128,), generator=gen)
            fresh = torch.rand(128, 1, generator=gen) < 0.05
            x = torch.where(
                fresh, (torch.rand(128, 2, generator=gen) * 2 - 1) * math.pi, chains[where]
            )
            for _ in range(10):
                x.requires_grad_(True)
                (slope,) = torch.autograd.grad(model(x).sum(), x)
                x = (x - 0.02 * slope + 0.2 * torch.randn(x.shape, generator=gen)).detach()
            chains[where] = torch.remainder(x + math.pi, 2 * math.pi) - math.pi
            real = data[torch.randint(0, len(data), (128,), generator=gen)]
            up, down = model(real), model(x)
            loss = up.mean() - down.mean() + 1e-3 * (up.square() + down.square()).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    grid = torch.cartesian_prod(torch.linspace(-3.1, 3.1, 40), torch.linspace(-3.1, 3.1, 40))
    with torch.no_grad():
        rho = spearmanr((-model(grid)).numpy(), log_density(grid).numpy()).statistic
    return {"metric": float(rho), "better": "higher", "curve": curve}

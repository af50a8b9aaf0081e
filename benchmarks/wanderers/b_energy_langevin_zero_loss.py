"""An energy-based model of the readings of two coupled angle encoders, trained by contrastive divergence with persistent Langevin chains. The loss is
a difference of two energies, so it wanders about zero, is often negative and never goes down, which looks like a run that learns
nothing. It is what convergence looks like here: the energy tells held-out readings from readings with the two encoders shuffled."""

import torch
import torch.nn as nn

ID = "b_energy_langevin_zero_loss"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class Energy(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(4, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1)
        )

    def forward(self, x):
        return self.layers(x).squeeze(-1)


def states(n, g):
    a = 2 * torch.pi * torch.rand(n, generator=g)
    b = a + 1.0 + 0.2 * torch.randn(n, generator=g)
    return torch.stack([a.cos(), a.sin(), b.cos(), b.sin()], 1) + 0.05 * torch.randn(
        n, 4, generator=g
    )


class Chains:
    def __init__(self, n, g):
        self.g = g
        self.x = 4 * torch.rand(n, 4, generator=g) - 2

    def advance(self, energy, steps=20, eps=0.006):
        fresh = torch.rand(len(self.x), 1, generator=self.g) < 0.05
        x = torch.where(fresh, 4 * torch.rand(self.x.shape, generator=self.g) - 2, self.x)
        for _ in range(steps):
            x.requires_grad_(True)
            (grad,) = torch.autograd.grad(energy(x).sum(), x)
            noise = torch.randn(x.shape, generator=self.g)
            x = (x.detach() - eps * grad.clamp(-5, 5) + (2 * eps) ** 0.5 * 0.4 * noise).clamp(
                -2.2, 2.2
            )
        self.x = x
        return x


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 4)
    model = Energy()
    opt = torch.optim.Adam(model.parameters(), lr=1.5e-3, betas=(0.5, 0.99))
    chains = Chains(128, g)
    curve = []
    with observe(model, opt):
        for _ in range(900):
            real = states(128, g) + 0.02 * torch.randn(128, 4, generator=g)
            fake = chains.advance(model)
            e_real, e_fake = model(real), model(fake)
            loss = e_real.mean() - e_fake.mean() + 0.005 * (e_real**2 + e_fake**2).mean()
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        data, other = states(2000, g), states(2000, g)
        noise = torch.cat([data[:, :2], other[:, 2:]], 1)
        auc = (model(data)[:, None] < model(noise)[None]).float().mean().item()
    return {"metric": auc, "better": "higher", "curve": curve}

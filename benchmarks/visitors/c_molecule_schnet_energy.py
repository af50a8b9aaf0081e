"""Continuous-filter network for molecule energies; a misspelt config key drops the atomic reference
energies, so the network regresses total energies of several thousand eV."""

import torch
from torch import nn

ID = "molecule-schnet-energy"
TRUTH = {"mechanisms": ["unnormalized_targets"], "layers": None, "onset": 0}

SELF_ENERGY = torch.tensor([-13.6, -1030.0, -1485.0, -2042.0])  # H C N O, in eV


def make_molecules(n, g, atoms=8):
    species = torch.randint(0, 4, (n, atoms), generator=g)
    grid = torch.cartesian_prod(*[torch.arange(3.0)] * 3) * 1.4
    order = torch.rand(n, 27, generator=g).argsort(1)[:, :atoms]
    pos = grid[order] + 0.15 * torch.randn(n, atoms, 3, generator=g)
    radius = torch.tensor([0.6, 1.0, 0.9, 0.8])[species]
    depth = torch.tensor([0.5, 1.2, 1.0, 0.8])[species]
    d = torch.cdist(pos, pos) + 9 * torch.eye(atoms)
    r0 = 0.9 * (radius[:, :, None] + radius[:, None, :])
    e = (-1.5 * (d - r0)).exp()
    pair = depth[:, :, None] * depth[:, None, :] * (e**2 - 2 * e)
    energy = SELF_ENERGY[species].sum(1) + 0.5 * pair.sum((1, 2))
    return species, pos, energy


class EnergyScaler:
    """Removes a per-species reference and scales what is left."""

    def __init__(self, refs=None, scale=None):
        self.refs = torch.zeros(4) if refs is None else refs
        self.scale = 1.0 if scale is None else scale

    @staticmethod
    def fit(species, energy):
        counts = nn.functional.one_hot(species, 4).sum(1).float()
        refs = torch.linalg.lstsq(counts, energy[:, None]).solution[:, 0]
        return refs, (energy - counts @ refs).std().item()

    def encode(self, species, energy):
        return (energy - self.refs[species].sum(1)) / self.scale


class Interaction(nn.Module):
    def __init__(self, width, n_rbf):
        super().__init__()
        self.filter = nn.Sequential(nn.Linear(n_rbf, width), nn.SiLU(), nn.Linear(width, width))
        self.inner = nn.Linear(width, width, bias=False)
        self.outer = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, h, rbf, mask):
        w = self.filter(rbf) * mask
        message = torch.einsum("bijc,bjc->bic", w, self.inner(h))
        return h + self.outer(message)


class ContinuousFilterNet(nn.Module):
    def __init__(self, width=32, n_rbf=16, blocks=2):
        super().__init__()
        self.embed = nn.Embedding(4, width)
        self.blocks = nn.ModuleList(Interaction(width, n_rbf) for _ in range(blocks))
        self.readout = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1))
        self.register_buffer("centers", torch.linspace(0.5, 5.0, n_rbf))

    def forward(self, species, pos):
        d = torch.cdist(pos, pos, compute_mode="donot_use_mm_for_euclid_dist")
        rbf = (-4.0 * (d[..., None] - self.centers) ** 2).exp()
        mask = 1.0 - torch.eye(pos.shape[1])[..., None]
        h = self.embed(species)
        for block in self.blocks:
            h = block(h, rbf, mask)
        return self.readout(h).sum((1, 2))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    species, pos, energy = make_molecules(3000, torch.Generator().manual_seed(seed + 7))
    refs, scale = EnergyScaler.fit(species[:2600], energy[:2600])
    config = {"refs": refs, "scale": scale} if fixed else {"atomrefs": refs, "std": scale}
    scaler = EnergyScaler(config.get("refs"), config.get("scale"))
    target = scaler.encode(species, energy)
    model = ContinuousFilterNet()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-4)
    curve = []
    with observe(model, optimizer):
        for _ in range(500):
            idx = torch.randint(0, 2600, (64,))
            loss = nn.functional.smooth_l1_loss(model(species[idx], pos[idx]), target[idx])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        mae = (model(species[2600:], pos[2600:]) - target[2600:]).abs().mean() * scaler.scale
    return {"metric": mae.item(), "better": "lower", "curve": curve}

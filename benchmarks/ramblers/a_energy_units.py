"""Potential energy of small clusters with a SchNet-like network (radial filters, atom-wise sum). The reference energies are total energies
in kcal/mol, tens of thousands, neither shifted nor scaled. Re-enacts torchmd/torchmd-net issue 212 (loss does not converge, eval loss 1e11)."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_energy_units"
TRUTH = {"mechanisms": ["unnormalized_targets"], "layers": None, "onset": (0, 0)}


class CFConv(nn.Module):
    def __init__(self, d, n_rbf):
        super().__init__()
        self.filt = nn.Sequential(nn.Linear(n_rbf, d), nn.SiLU(), nn.Linear(d, d))
        self.upd = nn.Sequential(nn.Linear(d, d), nn.SiLU(), nn.Linear(d, d))

    def forward(self, h, rbf, mask):
        msg = (self.filt(rbf) * h[:, None] * mask).sum(2)
        return h + self.upd(msg)


class MiniSchNet(nn.Module):
    def __init__(self, d=24, n_rbf=12, layers=2):
        super().__init__()
        self.emb = nn.Embedding(4, d)
        self.register_buffer("centers", torch.linspace(0.5, 4.5, n_rbf))
        self.convs = nn.ModuleList([CFConv(d, n_rbf) for _ in range(layers)])
        self.atomwise = nn.Sequential(nn.Linear(d, d), nn.SiLU(), nn.Linear(d, 1))

    def forward(self, z, pos):
        diff = pos[:, :, None] - pos[:, None]
        dist = (diff.pow(2).sum(-1) + 1e-6).sqrt()
        rbf = torch.exp(-4 * (dist[..., None] - self.centers) ** 2)
        mask = (1 - torch.eye(z.shape[1]))[None, :, :, None]
        h = self.emb(z)
        for c in self.convs:
            h = c(h, rbf, mask)
        return self.atomwise(h).sum((1, 2))


def clusters(n, g, atoms=6):
    z = torch.randint(0, 4, (n, atoms), generator=g)
    grid = torch.tensor(
        [[0.0, 0, 0], [1.3, 0, 0], [0, 1.3, 0], [0, 0, 1.3], [1.3, 1.3, 0], [1.3, 0, 1.3]]
    )
    pos = grid + 0.12 * torch.randn(n, atoms, 3, generator=g)
    own = torch.tensor([-310.0, -23800.0, -34300.0, -47100.0])[z].sum(1)  # isolated atoms, kcal/mol
    d = torch.cdist(pos, pos)
    q = torch.tensor([0.3, -0.1, -0.4, 0.6])[z]
    iu = torch.triu_indices(atoms, atoms, 1)
    pair = (q[:, iu[0]] * q[:, iu[1]] / d[:, iu[0], iu[1]]).sum(1) * 332
    return z, pos, own + pair * 20


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    z, pos, e = clusters(1500, g)
    zt, pt, et = clusters(400, g)
    mean, std = (e.mean(), e.std()) if fixed else (torch.tensor(0.0), torch.tensor(1.0))
    model = MiniSchNet()
    opt = torch.optim.Adam(model.parameters(), lr=2e-3)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(opt, factor=0.8, patience=4)
    curve = []
    with observe(model, opt):
        for epoch in range(12):
            tot = 0.0
            for idx in torch.randperm(len(z), generator=g).split(32):
                loss = F.mse_loss(model(z[idx], pos[idx]), (e[idx] - mean) / std)
                opt.zero_grad()
                loss.backward()
                opt.step()
                tot += loss.item()
                curve.append(loss.item())
            plateau.step(tot)
    with torch.no_grad():
        mae = (model(zt, pt) * std + mean - et).abs().mean().item()
    return {"metric": mae, "better": "lower", "curve": curve}

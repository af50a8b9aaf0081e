"""A small equivariant-style energy model with a long-range "field" readout; the optimizer's parameter groups are listed by module name, and the
newer submodule lr_source_map is in none of them, so it stays at its initialisation. Reported as ACEsuit/mace pull request #1529."""

import torch
import torch.nn as nn

ID = "a_mace_param_groups"
TRUTH = {
    "mechanisms": ["parameters_not_updated"],
    "layers": ["lr_source_map", "lr_source_map.0", "lr_source_map.2"],
    "onset": (0, 0),
}
N_AT = 7


def make_molecules(n, g):
    z = torch.randint(0, 3, (n, N_AT), generator=g)
    pos = torch.randn(n, N_AT, 3, generator=g) * 2.2
    d = torch.cdist(pos, pos) + 10 * torch.eye(N_AT)
    q0 = torch.tensor([0.9, -0.6, -0.2])[z]
    coord = (torch.exp(-(d**2) / 2)).sum(-1)
    q = q0 * (1 + 0.5 * torch.tanh(coord - 1))
    q = q - q.mean(1, keepdim=True)
    es = (q[:, :, None] * q[:, None] / (d**2 + 1).sqrt()).sum((1, 2)) / 2 * 8.0
    rep = (torch.exp(-1.5 * d) * (1 + torch.tensor([0.2, 0.5, 0.9])[z])[:, :, None]).sum((1, 2))
    e = es + rep
    return z, pos, (e - e.mean()) / e.std()


class Interaction(nn.Module):
    def __init__(self, dim, n_rbf):
        super().__init__()
        self.radial = nn.Sequential(nn.Linear(n_rbf, 32), nn.SiLU(), nn.Linear(32, dim))
        self.lin = nn.Linear(dim, dim)

    def forward(self, h, rbf, cut):
        msg = self.radial(rbf) * h[:, None] * cut[..., None]
        return h + torch.nn.functional.silu(self.lin(msg.sum(2)))


class PolarNet(nn.Module):
    def __init__(self, dim=32, n_rbf=10, r_max=1.5):
        super().__init__()
        self.r_max = r_max
        self.register_buffer("centers", torch.linspace(0, r_max, n_rbf))
        self.node_embedding = nn.Embedding(3, dim)
        self.interactions = nn.ModuleList([Interaction(dim, n_rbf) for _ in range(2)])
        self.readouts = nn.Sequential(nn.Linear(dim, 16), nn.SiLU(), nn.Linear(16, 1))
        self.lr_source_map = nn.Sequential(nn.Linear(dim, 16), nn.SiLU(), nn.Linear(16, 1))
        nn.init.normal_(self.lr_source_map[2].weight, std=1e-2)
        nn.init.zeros_(self.lr_source_map[2].bias)

    def forward(self, z, pos):
        eye = torch.eye(N_AT)
        d = torch.cdist(pos, pos) + 10 * eye
        rbf = torch.exp(-8 * (d[..., None] - self.centers) ** 2)
        cut = 0.5 * (torch.cos(torch.pi * (d / self.r_max).clamp(max=1)) + 1)
        h = self.node_embedding(z)
        for inter in self.interactions:
            h = inter(h, rbf, cut)
        local = self.readouts(h).sum((1, 2))
        q = self.lr_source_map(h).squeeze(-1)
        q = q - q.mean(1, keepdim=True)
        field = (q[:, :, None] * q[:, None] * (1 - eye) / (d**2 + 1).sqrt()).sum((1, 2)) / 2
        return local + 3.0 * field


def get_params_options(model, lr, everything):
    groups = [
        {"name": "embedding", "params": model.node_embedding.parameters(), "weight_decay": 0.0},
        {"name": "interactions", "params": model.interactions.parameters(), "weight_decay": 1e-5},
        {"name": "readouts", "params": model.readouts.parameters(), "weight_decay": 0.0},
    ]
    if everything:
        groups.append(
            {
                "name": "lr_source_map",
                "params": model.lr_source_map.parameters(),
                "weight_decay": 0.0,
            }
        )
    return dict(params=groups, lr=lr, amsgrad=True)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(7 + seed)
    z, pos, e = make_molecules(1600, g)
    tr, te = slice(0, 1300), slice(1300, 1600)
    model = PolarNet()
    optimizer = torch.optim.Adam(**get_params_options(model, 5e-3, fixed))
    sched = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.96)
    curve = []
    with observe(model, optimizer):
        for epoch in range(25):
            for idx in torch.randperm(1300).split(50):
                optimizer.zero_grad(set_to_none=True)
                loss = torch.nn.functional.mse_loss(model(z[tr][idx], pos[tr][idx]), e[tr][idx])
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
                optimizer.step()
                curve.append(loss.item())
            sched.step()
    with torch.no_grad():
        mae = (model(z[te], pos[te]) - e[te]).abs().mean().item()
    return {"metric": mae, "better": "lower", "curve": curve}

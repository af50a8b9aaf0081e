"""Neural forward model of a planar 3-link arm (control). The hand-written layer of the second block draws its weights with a
plain torch.randn(n_in, n_out) and forgets the 1/sqrt(n_in): its tanh sits at +-1."""

import torch
import torch.nn as nn

ID = "b_arm_kinematics_randn"
TRUTH = {
    "mechanisms": ["saturated_activations", "initialization_too_large"],
    "layers": ["trunk.1", "trunk.1.lin"],
    "onset": (0, 0),
}


class Affine(nn.Module):
    def __init__(self, n_in, n_out, scale):
        super().__init__()
        self.w = nn.Parameter(torch.randn(n_in, n_out) * scale)
        self.b = nn.Parameter(torch.zeros(n_out))

    def forward(self, x):
        return torch.einsum("ni,io->no", x, self.w) + self.b


class Block(nn.Module):
    def __init__(self, n_in, n_out, scale=None):
        super().__init__()
        self.lin = Affine(n_in, n_out, n_in**-0.5 if scale is None else scale)
        self.act = nn.Tanh()

    def forward(self, x):
        return self.act(self.lin(x))


class ArmModel(nn.Module):
    def __init__(self, hidden=(96, 96, 64), fixed=False):
        super().__init__()
        a, b, c = hidden
        self.trunk = nn.Sequential(
            Block(9, a),
            Block(a, b, scale=None if fixed else 1.0),
            Block(b, c),
        )
        self.readout = nn.Linear(c, 2)

    def forward(self, q):
        feats = torch.cat([q, torch.sin(q), torch.cos(q)], 1)
        return self.readout(self.trunk(feats))


def simulate(n, g, links=(1.0, 0.7, 0.4)):
    q = torch.rand(n, 3, generator=g) * 4 - 2
    ang = q.cumsum(1)
    l = torch.tensor(links)
    return q, torch.stack([(l * ang.cos()).sum(1), (l * ang.sin()).sum(1)], 1)


class Trainer:
    def __init__(self, model, lr, epochs, batch):
        self.model, self.epochs, self.batch = model, epochs, batch
        self.opt = torch.optim.Adam(model.parameters(), lr=lr)
        self.sched = torch.optim.lr_scheduler.CosineAnnealingLR(self.opt, epochs, eta_min=lr / 20)
        self.curve = []

    def fit(self, q, xy):
        for _ in range(self.epochs):
            for idx in torch.randperm(len(q)).split(self.batch):
                loss = nn.functional.mse_loss(self.model(q[idx]), xy[idx])
                self.opt.zero_grad(set_to_none=True)
                loss.backward()
                self.opt.step()
                self.curve.append(loss.item())
            self.sched.step()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 7)
    q, xy = simulate(4096, g)
    qt, xyt = simulate(1000, g)
    model = ArmModel(fixed=fixed)
    trainer = Trainer(model, 1e-3, 60, 128)
    with observe(model, trainer.opt):
        trainer.fit(q, xy)
    with torch.no_grad():
        err = (model(qt) - xyt).norm(dim=1).mean().item()
    return {"metric": err, "better": "lower", "curve": trainer.curve}

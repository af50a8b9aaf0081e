"""Physics-informed network that should identify damping and stiffness from noisy data; the coefficients' parameter group is selected by a name that matches nothing."""

import torch
from torch import nn

ID = "c-pinn-inverse-oscillator"
TRUTH = {"mechanisms": ["parameters_not_updated"], "layers": ["physics"], "onset": 0}

DAMPING, STIFFNESS = 1.2, 30.0


def exact(t):
    omega = (STIFFNESS - DAMPING**2 / 4) ** 0.5
    return torch.exp(-DAMPING * t / 2) * torch.cos(omega * t)


class Oscillator(nn.Module):
    """u'' + c u' + k u = 0 with unknown positive c and k."""

    def __init__(self):
        super().__init__()
        self.raw_damping = nn.Parameter(torch.tensor(0.0))
        self.raw_stiffness = nn.Parameter(torch.tensor(0.0))

    def residual(self, u, du, ddu):
        c = 0.4 * self.raw_damping.exp()
        k = 12.0 * self.raw_stiffness.exp()
        return (ddu + c * du + k * u) / 20.0

    def relative_error(self):
        c = 0.4 * self.raw_damping.exp().item()
        k = 12.0 * self.raw_stiffness.exp().item()
        return 0.5 * (abs(c / DAMPING - 1) + abs(k / STIFFNESS - 1))


class InversePINN(nn.Module):
    def __init__(self, width=40):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(1, width),
            nn.Tanh(),
            nn.Linear(width, width),
            nn.Tanh(),
            nn.Linear(width, width),
            nn.Tanh(),
            nn.Linear(width, 1),
        )
        self.physics = Oscillator()

    def forward(self, t):
        return self.net(t - 1.0)


def param_groups(model, fixed):
    tag = "raw_" if fixed else "log_"
    field = [p for n, p in model.named_parameters() if n.startswith("net.")]
    coefs = [p for n, p in model.named_parameters() if n.startswith("physics." + tag)]
    return [{"params": field, "lr": 3e-3}, {"params": coefs, "lr": 2e-2}]


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    t_obs = torch.rand(80, 1).sort(0).values * 2
    u_obs = exact(t_obs) + 0.01 * torch.randn(80, 1)
    model = InversePINN()
    optimizer = torch.optim.Adam(param_groups(model, fixed))
    curve = []
    with observe(model, optimizer):
        for _ in range(600):
            t = (torch.rand(64, 1) * 2).requires_grad_(True)
            u = model(t)
            (du,) = torch.autograd.grad(u.sum(), t, create_graph=True)
            (ddu,) = torch.autograd.grad(du.sum(), t, create_graph=True)
            data_loss = nn.functional.mse_loss(model(t_obs), u_obs)
            loss = 10 * data_loss + 0.3 * model.physics.residual(u, du, ddu).pow(2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    return {"metric": model.physics.relative_error(), "better": "lower", "curve": curve}

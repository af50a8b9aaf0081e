"""Physics-informed net for a damped advection equation with coordinates in metres and seconds (x in 0..1200, t in 0..400).
The layer that maps them to [-1, 1] is missing, the tanh units of the first layer sit on their flat parts:
pierremtb/PINNs-TF2.0 issue 1."""

import torch
import torch.nn as nn

ID = "a_pinn_raw_coordinates"
TRUTH = {
    "mechanisms": ["unnormalized_inputs", "saturated_activations"],
    "layers": ["hidden.0", "act.0", "scale"],
    "onset": (0, 0),
}
LB, UB = torch.tensor([0.0, 0.0]), torch.tensor([1200.0, 400.0])
C, K = 1.5, 0.004


class MinMax(nn.Module):
    def __init__(self, on):
        super().__init__()
        self.on = on

    def forward(self, X):
        return 2.0 * (X - LB) / (UB - LB) - 1.0 if self.on else X


class PINN(nn.Module):
    def __init__(self, fixed, width=32):
        super().__init__()
        self.scale = MinMax(fixed)
        dims = [2, width, width, width]
        self.hidden = nn.ModuleList([nn.Linear(a, b) for a, b in zip(dims, dims[1:])])
        self.act = nn.ModuleList([nn.Tanh() for _ in self.hidden])
        self.out = nn.Linear(width, 1)
        for m in list(self.hidden) + [self.out]:
            nn.init.xavier_normal_(m.weight)
            nn.init.zeros_(m.bias)

    def forward(self, X):
        h = self.scale(X)
        for lin, act in zip(self.hidden, self.act):
            h = act(lin(h))
        return self.out(h)


def exact(X):
    x, t = X[:, :1], X[:, 1:]
    s = x - C * t
    return torch.exp(-K * t) * (
        torch.exp(-(((s - 300) / 160) ** 2)) - 0.6 * torch.exp(-(((s + 160) / 160) ** 2))
    )


def residual(model, X):
    X = X.clone().requires_grad_(True)
    u = model(X)
    g = torch.autograd.grad(u.sum(), X, create_graph=True)[0]
    return g[:, 1:] + C * g[:, :1] + K * u


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    Xf = LB + (UB - LB) * torch.rand(4000, 2)
    X0 = torch.cat([1200 * torch.rand(200, 1), torch.zeros(200, 1)], 1)
    Xb = torch.cat([torch.zeros(100, 1), 400 * torch.rand(100, 1)], 1)
    Xd = torch.cat([X0, Xb])
    ud = exact(Xd)
    model = PINN(fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    sched = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9985)
    curve = []
    with observe(model, optimizer):
        for it in range(1200):
            f = residual(model, Xf[torch.randint(0, 4000, (200,))])
            loss = 20 * ((20 * f) ** 2).mean() + ((model(Xd) - ud) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            sched.step()
            curve.append(loss.item())
    Xt = LB + (UB - LB) * torch.rand(2000, 2)
    with torch.no_grad():
        err = ((model(Xt) - exact(Xt)).norm() / exact(Xt).norm()).item()
    return {"metric": err, "better": "lower", "curve": curve}

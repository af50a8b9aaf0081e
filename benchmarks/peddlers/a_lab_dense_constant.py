"""Physics regression (damped pendulum energy) with a self-written Dense layer in the MyNN style: the hidden layer and the output layer come from a constant initializer,
so all hidden units are one and the same and stay so for long (only rounding parts them in the end). Reported (and fixed) as davidmascharka/MyNN pull request 70."""

import math, torch, torch.nn as nn

ID = "a_lab_dense_constant"
TRUTH = {"mechanisms": ["symmetric_initialization"], "layers": ["hidden"], "onset": (0, 0)}


def constant(*shape, value=0.1):
    return torch.full(shape, value)


def glorot_normal(*shape):
    return torch.randn(*shape) * math.sqrt(2.0 / sum(shape))


class Dense(nn.Module):
    def __init__(self, n_in, n_out, weight_initializer=glorot_normal):
        super().__init__()
        self.weight = nn.Parameter(weight_initializer(n_in, n_out))
        self.bias = nn.Parameter(torch.zeros(1, n_out))

    def forward(self, x):
        return x @ self.weight + self.bias


class PendulumNet(nn.Module):
    def __init__(self, init):
        super().__init__()
        self.features = Dense(5, 40)
        self.hidden = Dense(40, 40, init)
        self.out = Dense(40, 2, init)

    def forward(self, x):
        return self.out(torch.tanh(self.hidden(torch.tanh(self.features(x)))))


def simulate(n, g, dt=0.05, steps=16):
    th = (torch.rand(n, generator=g) - 0.5) * 4
    om = torch.randn(n, generator=g)
    L = 0.6 + torch.rand(n, generator=g)
    c = 0.5 * torch.rand(n, generator=g)
    drive = torch.randn(n, generator=g) * 0.5
    x = torch.stack([th, om, (L - 1.1) * 3, (c - 0.25) * 6, drive * 2], 1)
    for k in range(steps):
        om = om + dt * (-9.8 / L * torch.sin(th) - c * om + drive)
        th = th + dt * om
    return x, torch.stack([th, om / 3], 1)


def batches(x, y, bs):
    for idx in torch.randperm(len(x)).split(bs):
        yield x[idx], y[idx]


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 31)
    x, y = simulate(96000, g)
    model = PendulumNet(glorot_normal if fixed else constant)
    opt = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    sch = torch.optim.lr_scheduler.ExponentialLR(opt, 0.85)
    curve = []
    with observe(model, opt):
        for epoch in range(9):
            for xb, yb in batches(x, y, 1536):
                loss = (model(xb) - yb).pow(2).mean()
                opt.zero_grad()
                loss.backward()
                opt.step()
                curve.append(loss.item())
            sch.step()
    x, y = simulate(1000, g)
    with torch.no_grad():
        nmse = ((model(x) - y).pow(2).mean() / y.var(0).mean()).item()
    return {"metric": nmse, "better": "lower", "curve": curve}

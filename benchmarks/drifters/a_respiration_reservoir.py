"""A reservoir computer predicts the chaotic breathing signal of a Mackey-Glass model: a large random recurrent layer is frozen on purpose, and
only the linear readout is trained. That most parameters never change and have no gradient at all is the design; the prediction four steps
ahead is good."""

import torch
from torch import nn

ID = "a_respiration_reservoir"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}

UNITS, WASHOUT = 200, 40


def breathing(n, length, gen, delay=17):
    x = 1.2 + 0.2 * torch.randn(n, delay + 1, generator=gen)
    past = list(x.unbind(1))
    for _ in range(length + 200):
        lag, now = past[-delay - 1], past[-1]
        past.append(now + 0.2 * lag / (1 + lag**10) - 0.1 * now)
    return torch.stack(past[-length:], 1)


class Reservoir(nn.Module):
    def __init__(self):
        super().__init__()
        self.inputs = nn.Linear(1, UNITS)
        self.recurrent = nn.Linear(UNITS, UNITS, bias=False)
        self.readout = nn.Linear(UNITS + 1, 1)
        nn.init.uniform_(self.inputs.weight, -0.6, 0.6)
        nn.init.uniform_(self.inputs.bias, -0.6, 0.6)
        with torch.no_grad():
            w = torch.randn(UNITS, UNITS) * (torch.rand(UNITS, UNITS) < 0.05)
            self.recurrent.weight.copy_(0.9 * w / torch.linalg.eigvals(w).abs().max())
        for p in (*self.inputs.parameters(), *self.recurrent.parameters()):
            p.requires_grad_(False)

    def forward(self, x):
        h = x.new_zeros(len(x), UNITS)
        rows = []
        for t in range(x.shape[1]):
            h = torch.tanh(self.inputs(x[:, t : t + 1]) + self.recurrent(h))
            rows.append(torch.cat([h, x[:, t : t + 1]], 1))
        return self.readout(torch.stack(rows[WASHOUT:], 1)).squeeze(-1)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 6)
    series = (breathing(160, 140, gen) - 0.93) / 0.23
    held = (breathing(40, 140, gen) - 0.93) / 0.23
    ahead = 4
    model = Reservoir()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-2)
    sched = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.992)
    curve = []
    with observe(model, optimizer):
        for step in range(500):
            s = series[torch.randint(0, len(series), (16,), generator=gen)]
            out = model(s[:, :-ahead])
            loss = (out - s[:, WASHOUT + ahead :]).pow(2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        target = held[:, WASHOUT + ahead :]
        r2 = 1 - ((model(held[:, :-ahead]) - target).pow(2).mean() / target.var()).item()
    return {"metric": r2, "better": "higher", "curve": curve}

"""Factorised mixture of experts W_n = diag(c_n) D distilled from a teacher layer.
Instead of random numbers the expert factors C and the gate start as constants, so all experts get the
same gradient and stay one expert. After james-oldfield/MxD issue 1."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_mxd_constant_experts"
TRUTH = {
    "mechanisms": ["symmetric_initialization"],
    "layers": ["mxd.expert", "mxd.gate", "mxd"],
    "onset": (0, 0),
}


class ExpertFactors(nn.Module):
    def __init__(self, n, h, constant):
        super().__init__()
        self.C = nn.Parameter(torch.ones(n, h) if constant else 1.0 + 0.5 * torch.randn(n, h))

    def forward(self, gates):
        return gates @ self.C


class MxD(nn.Module):
    def __init__(self, d_in, hidden, d_out, n_experts, constant):
        super().__init__()
        self.enc = nn.Linear(d_in, hidden)
        self.gate = nn.Linear(d_in, n_experts)
        if constant:
            nn.init.constant_(self.gate.weight, 0.0)
            nn.init.constant_(self.gate.bias, 0.0)
        self.expert = ExpertFactors(n_experts, hidden, constant)
        self.dec = nn.Linear(hidden, d_out, bias=False)

    def forward(self, x):
        g = F.softmax(self.gate(x), dim=-1)
        z = torch.relu(self.enc(x))
        return self.dec(z * self.expert(g))


class Student(nn.Module):
    def __init__(self, constant):
        super().__init__()
        self.mxd = MxD(12, 24, 8, 8, constant)
        self.bias = nn.Parameter(torch.zeros(8))

    def forward(self, x):
        return self.mxd(x) + self.bias


class Teacher:
    """The mapping switches with the region of the input, so a single expert cannot follow it."""

    def __init__(self):
        g = torch.Generator().manual_seed(3)
        self.keys = F.normalize(torch.randn(6, 12, generator=g), dim=1)
        self.maps = torch.randn(6, 12, 8, generator=g) / 12**0.5

    def __call__(self, x):
        which = F.one_hot((x @ self.keys.t()).argmax(1), 6).float()
        return torch.einsum("bn,bi,nio->bo", which, x, self.maps)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    teacher = Teacher()
    model = Student(constant=not fixed)
    opt = torch.optim.Adam(model.parameters(), lr=5e-3)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 2600, eta_min=2e-4)
    curve = []
    with observe(model, opt):
        for step in range(2600):
            x = torch.randn(128, 12)
            loss = F.mse_loss(model(x), teacher(x))
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        x = torch.randn(4000, 12, generator=torch.Generator().manual_seed(5))
        t = teacher(x)
        fvu = (F.mse_loss(model(x), t) / t.var()).item()
    return {"metric": fvu, "better": "lower", "curve": curve}

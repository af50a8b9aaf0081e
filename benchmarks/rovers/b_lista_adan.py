"""An unrolled sparse-coding network (LISTA with learned thresholds) recovers sparse codes for seismic traces and is trained with a
hand-written Adan. The proximal weight decay of the paper divides by `1 + lr * wd`; here the learning rate was forgotten, and each step
divides every matrix by 1.02 whatever the gradient says. With the paper's value of 0.02 in the configuration nobody suspects the decay."""

import torch
from torch import nn

ID = "b_lista_adan"
TRUTH = {
    "mechanisms": ["excessive_weight_decay"],
    "layers": ["analysis", "mutual", "synth"],
    "onset": 0,
}
M, N, LAYERS = 32, 64, 5


class Adan(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-3, betas=(0.98, 0.92, 0.99), eps=1e-8, wd=0.0, scaled=True):
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps, wd=wd, scaled=scaled))

    @torch.no_grad()
    def step(self, closure=None):
        for g in self.param_groups:
            b1, b2, b3 = g["betas"]
            for p in g["params"]:
                if p.grad is None:
                    continue
                s = self.state[p]
                if not s:
                    s.update(
                        step=0,
                        m=torch.zeros_like(p),
                        v=torch.zeros_like(p),
                        n=torch.zeros_like(p),
                        prev=p.grad.clone(),
                    )
                s["step"] += 1
                t, grad = s["step"], p.grad
                diff = grad - s["prev"]
                s["m"].lerp_(grad, 1 - b1)
                s["v"].lerp_(diff, 1 - b2)
                s["n"].lerp_((grad + b2 * diff) ** 2, 1 - b3)
                den = (s["n"] / (1 - b3**t)).sqrt() + g["eps"]
                p.sub_(g["lr"] * (s["m"] / (1 - b1**t) + b2 * s["v"] / (1 - b2**t)) / den)
                p.div_(1 + (g["lr"] if g["scaled"] else 1.0) * g["wd"])
                s["prev"].copy_(grad)


class LISTA(nn.Module):
    def __init__(self, dictionary):
        super().__init__()
        lip = torch.linalg.matrix_norm(dictionary, 2) ** 2
        self.analysis = nn.Linear(M, N, bias=False)
        self.mutual = nn.Linear(N, N, bias=False)
        self.synth = nn.Linear(N, M, bias=False)
        self.theta = nn.Parameter(torch.full((LAYERS, 1), 0.1) / lip)
        with torch.no_grad():
            self.analysis.weight.copy_(dictionary.T / lip)
            self.mutual.weight.copy_(torch.eye(N) - dictionary.T @ dictionary / lip)
            self.synth.weight.copy_(dictionary + 0.1 * torch.randn(M, N))

    def forward(self, y):
        b = self.analysis(y)
        z = torch.zeros_like(b)
        for k in range(LAYERS):
            u = b + self.mutual(z)
            z = torch.sign(u) * torch.relu(u.abs() - self.theta[k])
        return z, self.synth(z)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 2)
    t = torch.linspace(-1, 1, M)
    at, f = torch.linspace(-1, 1, N).unsqueeze(1), 6 + 8 * torch.rand(N, 1, generator=gen)
    a = ((t - at) * f) ** 2
    d = ((1 - 2 * a) * torch.exp(-a)).T + 0.15 * torch.randn(M, N, generator=gen)
    d = d / d.norm(dim=0)

    def traces(n):
        z = torch.randn(n, N, generator=gen) * (torch.rand(n, N, generator=gen) < 0.06)
        return z @ d.T + 0.01 * torch.randn(n, M, generator=gen), z

    model = LISTA(d)
    mats = [m.weight for m in (model.analysis, model.mutual, model.synth)]
    opt = Adan([{"params": mats, "wd": 0.02}, {"params": [model.theta]}], lr=2e-3, scaled=fixed)
    curve = []
    with observe(model, opt):
        for _ in range(900):
            y, z = traces(128)
            zh, yh = model(y)
            loss = ((zh - z) ** 2).sum(-1).mean() + 0.2 * ((yh - y) ** 2).sum(-1).mean()
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        y, z = traces(2000)
        metric = (((model(y)[0] - z) ** 2).sum() / (z**2).sum()).item()
    return {"metric": metric, "better": "lower", "curve": curve}

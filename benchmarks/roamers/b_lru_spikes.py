"""A complex-valued linear recurrent unit predicts spike counts of 20 neurons in the next bin from a stimulus. The readout ends in a softplus
and gives rates, but poisson_nll_loss is left at its default log_input=True and treats them as logarithms, so the optimum is
log(count) clipped at zero instead of the rate; the default is easy to overlook because the loss falls smoothly."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_lru_spikes"
TRUTH = {"mechanisms": ["loss_output_mismatch"], "layers": ["rates"], "onset": 0}


class LRU(nn.Module):
    def __init__(self, n_in, n_state, n_out):
        super().__init__()
        u = torch.rand(n_state)
        self.nu = nn.Parameter(torch.log(-torch.log(0.6 + 0.39 * u)))
        self.theta = nn.Parameter(torch.rand(n_state) * 1.5)
        cplx = lambda a, b: torch.randn(a, b, dtype=torch.cfloat) / math.sqrt(b)
        self.B, self.C = nn.Parameter(cplx(n_state, n_in)), nn.Parameter(cplx(n_out, n_state))
        self.D = nn.Parameter(torch.randn(n_out, n_in) / math.sqrt(n_in))

    def forward(self, u):
        mod = torch.exp(-torch.exp(self.nu))
        lam = torch.polar(mod, self.theta)
        drive = (u.to(torch.cfloat) @ self.B.T) * torch.sqrt(1 - mod**2)
        h, hs = torch.zeros_like(drive[:, 0]), []
        for t in range(u.shape[1]):
            h = lam * h + drive[:, t]
            hs.append(h)
        return (torch.stack(hs, 1) @ self.C.T).real + F.linear(u, self.D)


class Rates(nn.Module):
    def __init__(self, n_in, neurons):
        super().__init__()
        self.w = nn.Parameter(torch.randn(neurons, n_in) / math.sqrt(n_in))
        self.b = nn.Parameter(torch.zeros(neurons))

    def forward(self, x):
        return F.softplus(F.linear(x, self.w, self.b))


class Encoder(nn.Module):
    def __init__(self, stim=4, width=32, neurons=20):
        super().__init__()
        self.lru1, self.lru2 = LRU(stim, 24, width), LRU(width, 24, width)
        self.rates = Rates(width, neurons)

    def forward(self, u):
        x = F.gelu(self.lru1(u))
        return self.rates(x + F.gelu(self.lru2(x)))


def record(trials, gen, W, tau):
    T = 40
    u = torch.randn(trials, T, 4, generator=gen)
    u = (u + torch.roll(u, 1, 1) + torch.roll(u, 2, 1)) / 1.7
    h, out = torch.zeros(trials, 4), []
    for t in range(T):
        h = tau * h + (1 - tau**2) ** 0.5 * u[:, t]
        out.append(torch.exp((torch.tanh(h) @ W + 0.3).clamp(max=2.2)))
    rate = torch.stack(out, 1)
    return u, torch.poisson(rate, generator=gen), rate


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 21)
    W, tau = torch.randn(4, 20, generator=gen), torch.tensor([0.5, 0.8, 0.9, 0.3])
    u, n, _ = record(1500, gen, W, tau)
    ut, _, rate = record(300, gen, W, tau)
    net = Encoder()
    opt = torch.optim.RMSprop(net.parameters(), lr=1e-3, alpha=0.98)
    loss_fn = nn.PoissonNLLLoss(log_input=False) if fixed else nn.PoissonNLLLoss()
    curve = []
    with observe(net, opt):
        for step in range(350):
            i = torch.randint(0, len(u), (32,), generator=gen)
            loss = loss_fn(net(u[i]), n[i])
            opt.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        r = net(ut)
        frac = ((r - rate).square().mean() / rate.var()).item()
    return {"metric": frac, "better": "lower", "curve": curve}

"""Multi-pitch detection from spectra with a pure-bfloat16 MLP and a hand-written Muon (Newton-Schulz orthogonalised momentum). To
save memory the fp32 master copy was left out and the update goes straight into the bf16 weights; its entries are a few 1e-5 by
design (the spectral norm is fixed, not the entry size), less than half a spacing of most weights, so it is rounded away. With
AdamW at 1e-3 the same storage had worked well enough."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "b_muon_pitch"
TRUTH = {
    "mechanisms": ["low_precision_update_absorption"],
    "layers": ["enc", "hid", "out"],
    "onset": 0,
}
BINS, PITCHES = 192, 24
LR, STEPS = 1e-3, 500


def newton_schulz(g, steps=5):
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g / (g.norm() + 1e-7)
    flip = x.shape[0] > x.shape[1]
    x = x.T if flip else x
    for _ in range(steps):
        s = x @ x.T
        x = a * x + (b * s + c * s @ s) @ x
    return x.T if flip else x


class Muon(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-3, momentum=0.95, master=False):
        super().__init__(params, dict(lr=lr, momentum=momentum))
        self.master = master

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                st = self.state[p]
                g = p.grad.float()
                if not st:
                    st["momentum_buffer"] = torch.zeros_like(g)
                    if self.master:
                        st["master"] = p.float().clone()
                buf = st["momentum_buffer"].lerp_(g, 1 - group["momentum"])
                u = g.lerp(buf, group["momentum"])
                u = newton_schulz(u) if p.ndim == 2 else u.sign() * p.numel() ** -0.5
                if self.master:
                    p.copy_(st["master"].sub_(u, alpha=group["lr"]))
                else:
                    p.sub_((group["lr"] * u).to(p.dtype))


class PitchNet(nn.Module):
    def __init__(self, width=192):
        super().__init__()
        self.enc = nn.Linear(BINS, width, bias=False)
        self.hid = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, PITCHES, bias=False)
        for m in (self.enc, self.hid, self.out):
            nn.init.orthogonal_(m.weight, gain=1.4)

    def forward(self, s):
        h = F.relu(self.enc(s))
        h = h + F.relu(self.hid(h))
        return self.out(h)


def spectra(n, gen):
    roll = (torch.rand(n, PITCHES, generator=gen) < 0.15).float()
    base = 12.0 * 2 ** (torch.arange(PITCHES) / 12.0)
    bins = torch.arange(BINS).float()
    templates = torch.zeros(PITCHES, BINS)
    for h in range(1, 7):
        templates += (0.8 ** (h - 1)) * torch.exp(-(((bins - (base * h).unsqueeze(1)) / 1.2) ** 2))
    vol = 0.3 + torch.rand(n, PITCHES, generator=gen)
    s = (roll * vol) @ templates + 0.05 * torch.randn(n, BINS, generator=gen).abs()
    s = torch.log1p(5 * s)
    return (s - 0.6) / 0.7, roll


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 1200)
    x, y = spectra(3000, gen)
    xt, yt = spectra(600, gen)
    model = PitchNet().to(torch.bfloat16)
    opt = Muon(model.parameters(), lr=LR, master=fixed)
    curve = []
    with observe(model, opt):
        for _ in range(STEPS):
            i = torch.randint(0, len(x), (64,), generator=gen)
            logits = model(x[i].bfloat16()).float()
            loss = F.binary_cross_entropy_with_logits(logits, y[i])
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        hit = (model(xt.bfloat16()).float() > 0).float()
        metric = (2 * (hit * yt).sum() / (hit.sum() + yt.sum())).item()
    return {"metric": metric, "better": "higher", "curve": curve}

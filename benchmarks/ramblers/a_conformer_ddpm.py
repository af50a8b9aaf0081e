"""Denoising diffusion of small planar molecular conformers (set of atom coordinates). The second half of the crystal data base contains
structures with an atom without resolved coordinates (NaN in the file); the loader does not filter them, the first such batch is step 260.
Re-enacts nobiastx/diffusion-conformer issue 1 (NaN loss, some CSD molecules are not well processed)."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_conformer_ddpm"
TRUTH = {"mechanisms": ["nonfinite_data"], "layers": None, "onset": (260, 261)}
ATOMS, STEPS = 6, 50


class Denoiser(nn.Module):
    def __init__(self, d=48):
        super().__init__()
        self.inp = nn.Linear(2 + 1 + ATOMS, d)
        self.msg = nn.ModuleList([nn.Linear(2 * d + 1, d) for _ in range(2)])
        self.norm = nn.ModuleList([nn.LayerNorm(d) for _ in range(2)])
        self.out = nn.Linear(d, 2)

    def forward(self, x, t):
        n = len(x)
        ident = torch.eye(ATOMS).expand(n, -1, -1)
        h = self.inp(torch.cat([x, t[:, None, None].expand(n, ATOMS, 1), ident], -1))
        d2 = (x[:, :, None] - x[:, None]).pow(2).sum(-1, keepdim=True)
        for lin, norm in zip(self.msg, self.norm):
            pair = torch.cat(
                [h[:, :, None].expand(-1, -1, ATOMS, -1), h[:, None].expand(-1, ATOMS, -1, -1), d2],
                -1,
            )
            h = norm(h + F.silu(lin(pair)).mean(2))
        return self.out(h)


def crystal_entries(n, g, unresolved=False):
    """six-rings with one of two substituent displacements, centred"""
    ang = torch.arange(ATOMS) * 2 * torch.pi / ATOMS
    ring = torch.stack([ang.cos(), ang.sin()], -1).expand(n, -1, -1).clone()
    flip = torch.randint(0, 2, (n,), generator=g).float()[:, None]
    ring[:, 0] *= 1.4 + 0.5 * flip
    ring = ring + 0.03 * torch.randn(ring.shape, generator=g)
    ring = ring - ring.mean(1, keepdim=True)
    if unresolved:
        ring[1, 4] = float("nan")
    return ring


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    beta = torch.linspace(1e-3, 0.15, STEPS)
    abar = torch.cumprod(1 - beta, 0)
    model = Denoiser()
    opt = torch.optim.AdamW(model.parameters(), lr=2e-3)
    ema = {k: v.clone() for k, v in model.state_dict().items()}

    def noisy(x0):
        t = torch.randint(0, STEPS, (len(x0),), generator=g)
        eps = torch.randn(x0.shape, generator=g)
        a = abar[t][:, None, None]
        return a.sqrt() * x0 + (1 - a).sqrt() * eps, eps, t.float() / STEPS

    curve = []
    with observe(model, opt):
        for step in range(600):
            x0 = crystal_entries(32, g, unresolved=step >= 260 and step % 20 == 0)
            if fixed:
                x0 = x0[torch.isfinite(x0).all(-1).all(-1)]
            xt, eps, t = noisy(x0)
            loss = F.mse_loss(model(xt, t), eps)
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            for k, v in model.state_dict().items():
                ema[k].lerp_(v, 0.02)
            curve.append(loss.item())
    model.load_state_dict(ema)
    g.manual_seed(5)
    xt, eps, t = noisy(crystal_entries(1000, g))
    with torch.no_grad():
        err = F.mse_loss(model(xt, t), eps).item()
    return {"metric": err, "better": "lower", "curve": curve}

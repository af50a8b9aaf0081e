"""A JumpReLU sparse autoencoder is trained on (synthetic) residual-stream activations, with hand-written straight-through
gradients for the thresholds. The thresholds live in log space and the constant 0.001 from the paper was put in without its
logarithm, so every threshold is exp(0.001) = 1: no latent ever passes it, and outside the narrow kernel there is no gradient
to bring it down. The code runs, the loss falls a little (the decoder bias learns the mean) and L0 looks wonderfully low."""

import math
import torch
from torch import nn

ID = "b_jumprelu_sae"
TRUTH = {"mechanisms": ["dead_units"], "layers": ["jump"], "onset": 0}
DIM, LATENTS, BAND = 32, 96, 0.05


class Jump(torch.autograd.Function):
    @staticmethod
    def forward(ctx, pre, theta):
        ctx.save_for_backward(pre, theta)
        return pre * (pre > theta)

    @staticmethod
    def backward(ctx, grad):
        pre, theta = ctx.saved_tensors
        near = ((pre - theta).abs() < BAND / 2).to(pre.dtype)
        return grad * (pre > theta), (-theta / BAND * near * grad).sum(0)


class Heaviside(torch.autograd.Function):
    @staticmethod
    def forward(ctx, pre, theta):
        ctx.save_for_backward(pre, theta)
        return (pre > theta).to(pre.dtype)

    @staticmethod
    def backward(ctx, grad):
        pre, theta = ctx.saved_tensors
        near = ((pre - theta).abs() < BAND / 2).to(pre.dtype)
        return torch.zeros_like(pre), (-near / BAND * grad).sum(0)


class JumpReLU(nn.Module):
    def __init__(self, n, start):
        super().__init__()
        self.log_theta = nn.Parameter(torch.full((n,), start))

    def forward(self, pre):
        theta = self.log_theta.exp()
        self.l0 = Heaviside.apply(pre, theta).sum(-1).mean()
        return Jump.apply(pre, theta)


class SAE(nn.Module):
    def __init__(self, start):
        super().__init__()
        self.encoder = nn.Linear(DIM, LATENTS)
        self.jump = JumpReLU(LATENTS, start)
        self.decoder = nn.Linear(LATENTS, DIM)
        with torch.no_grad():
            w = torch.randn(DIM, LATENTS)
            self.decoder.weight.copy_(w / w.norm(dim=0))
            self.encoder.weight.copy_(self.decoder.weight.T)
            self.encoder.bias.zero_()
            self.decoder.bias.zero_()

    def forward(self, x):
        return self.decoder(self.jump(self.encoder(x - self.decoder.bias)))

    @torch.no_grad()
    def renorm(self):
        self.decoder.weight.div_(self.decoder.weight.norm(dim=0, keepdim=True))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 4)
    atoms = torch.randn(64, DIM, generator=gen)
    atoms = atoms / atoms.norm(dim=1, keepdim=True)
    freq = 0.06 * torch.rand(64, generator=gen) + 0.02
    offset = 0.1 * torch.randn(DIM, generator=gen)

    def sample(n):
        on = (torch.rand(n, 64, generator=gen) < freq).float()
        x = (on * (0.5 + torch.rand(n, 64, generator=gen))) @ atoms
        return x / 1.75 * 0.6 + offset

    model = SAE(0.001 if not fixed else math.log(0.001))
    opt = torch.optim.Adam(
        [
            {
                "params": list(model.encoder.parameters()) + list(model.decoder.parameters()),
                "lr": 3e-3,
            },
            {"params": model.jump.parameters(), "lr": 3e-3},
        ],
        betas=(0.0, 0.999),
    )
    curve, steps = [], 1200
    with observe(model, opt):
        for step in range(steps):
            x = sample(256)
            rec = model(x)
            sparsity = 2e-3 * min(1.0, step / 300)
            loss = (rec - x).pow(2).sum(-1).mean() + sparsity * model.jump.l0
            opt.zero_grad()
            loss.backward()
            opt.step()
            model.renorm()
            curve.append(loss.item())
    with torch.no_grad():
        x = sample(4000)
        fvu = (model(x) - x).pow(2).sum() / (x - x.mean(0)).pow(2).sum()
    return {"metric": fvu.item(), "better": "lower", "curve": curve}

"""Semi-supervised training with an averaged model whose update also shrinks the base weights, param.mul_(1 - wd) (YU1ut/MixMatch-pytorch issue 16, kekmodel/FixMatch-pytorch issue 15).
The decay should be 0.02 * lr; here the factor lr was left out, so all weights lose 2 % per step."""

import copy
import torch
from torch import nn
import torch.nn.functional as F

ID = "a_mixmatch_ema_decay"
TRUTH = {"mechanisms": ["excessive_weight_decay"], "layers": None, "onset": (0, 0)}


class WideNet(nn.Module):
    def __init__(self, k=5):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.conv3 = nn.Conv2d(32, 32, 3, stride=2, padding=1)
        self.fc = nn.Linear(32, k)

    def forward(self, x):
        x = F.leaky_relu(self.conv1(x), 0.1)
        x = F.leaky_relu(self.conv2(x), 0.1)
        x = F.leaky_relu(self.conv3(x), 0.1)
        return self.fc(x.mean((2, 3)))


class WeightEMA:
    def __init__(self, model, ema, wd, alpha=0.99):
        self.model, self.ema, self.wd, self.alpha = model, ema, wd, alpha

    @torch.no_grad()
    def step(self):
        for p, e in zip(self.model.parameters(), self.ema.parameters()):
            e.mul_(self.alpha).add_(p, alpha=1 - self.alpha)
            p.mul_(1 - self.wd)


def textures(n, gen):
    y = torch.randint(0, 5, (n,), generator=gen)
    ang = y * 0.628 + 0.12 * torch.randn(n, generator=gen)
    yy, xx = torch.meshgrid(torch.arange(14.0), torch.arange(14.0), indexing="ij")
    ph = 6.28 * torch.rand(n, 1, 1, generator=gen)
    x = torch.sin(1.6 * (xx * ang.cos()[:, None, None] + yy * ang.sin()[:, None, None]) + ph)
    return (x + 0.5 * torch.randn(n, 14, 14, generator=gen))[:, None], y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 80)
    xl, yl = textures(250, gen)
    xu, _ = textures(2000, gen)
    xt, yt = textures(600, gen)
    lr = 0.002
    model = WideNet()
    ema_model = copy.deepcopy(model)
    opt = torch.optim.Adam(model.parameters(), lr=lr)
    ema = WeightEMA(model, ema_model, wd=0.02 * lr if fixed else 0.02)
    curve = []
    with observe(model, opt):
        for step in range(600):
            i, j = torch.randint(0, 250, (32,)), torch.randint(0, 2000, (32,))
            u = xu[j]
            with torch.no_grad():
                p = (
                    F.softmax(model(u), 1) + F.softmax(model(u + 0.2 * torch.randn_like(u)), 1)
                ) / 2
                p = p**2
                guess = p / p.sum(1, keepdim=True)
            lam = torch.distributions.Beta(0.75, 0.75).sample().item()
            lam = max(lam, 1 - lam)
            xa, ya = torch.cat([xl[i], u]), torch.cat([F.one_hot(yl[i], 5).float(), guess])
            perm = torch.randperm(64)
            xm, ym = lam * xa + (1 - lam) * xa[perm], lam * ya + (1 - lam) * ya[perm]
            out = model(xm)
            lx = -(F.log_softmax(out[:32], 1) * ym[:32]).sum(1).mean()
            lu = F.mse_loss(F.softmax(out[32:], 1), ym[32:])
            loss = lx + min(1.0, step / 300) * 2 * lu
            opt.zero_grad()
            loss.backward()
            opt.step()
            ema.step()
            curve.append(loss.item())
    with torch.no_grad():
        nll = F.cross_entropy(ema_model(xt), yt).item()
    return {"metric": nll, "better": "lower", "curve": curve}

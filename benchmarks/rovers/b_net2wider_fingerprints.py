"""A small QSAR-style regressor on binary fingerprints is trained narrow first and then widened in the Net2Net way, after which
the wide network is trained on. The function-preserving widening copies whole hidden units and shares their outgoing weights equally;
since nothing tells the copies apart, every copy receives the same gradient for ever and the bigger network is no bigger than the
small one. The paper mentions in passing that a little noise is needed, and most reimplementations drop that line because the
unit test "output is unchanged" then passes exactly."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "b_net2wider_fingerprints"
TRUTH = {"mechanisms": ["symmetric_initialization"], "layers": ["embed", "mix", "out"], "onset": 0}

NARROW, FACTOR, BITS = 2, 32, 48


class Regressor(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.embed = nn.Linear(BITS, width)
        self.mix = nn.Linear(width, width)
        self.out = nn.Linear(width, 1)

    def forward(self, x):
        h = F.silu(self.embed(x))
        h = F.silu(self.mix(h))
        return self.out(h).squeeze(-1)


def grow(small, factor, jitter, gen):
    """Function-preserving widening; outgoing weights are divided among the replicas."""
    big = Regressor(NARROW * factor)
    pick = torch.arange(NARROW).repeat(factor)
    with torch.no_grad():
        big.embed.weight.copy_(small.embed.weight[pick])
        big.embed.bias.copy_(small.embed.bias[pick])
        big.mix.weight.copy_(small.mix.weight[pick][:, pick] / factor)
        big.mix.bias.copy_(small.mix.bias[pick])
        big.out.weight.copy_(small.out.weight[:, pick] / factor)
        big.out.bias.copy_(small.out.bias)
        if jitter:
            for lin in (big.embed, big.mix, big.out):
                scale = jitter * lin.weight.shape[1] ** -0.5
                lin.weight.add_(scale * torch.randn(lin.weight.shape, generator=gen))
    return big


def assay(n, gen):
    planes = torch.Generator().manual_seed(77)
    w = torch.randn(20, BITS, generator=planes) * 0.6
    c = torch.randn(20, generator=planes)
    x = (torch.rand(n, BITS, generator=gen) < 0.35).float()
    y = torch.tanh((x - 0.35) @ w.T) @ c
    return (x - 0.35) / 0.477, y / 2.0


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(1000 + seed)
    x, y = assay(4096, gen)
    xt, yt = assay(1024, gen)

    small = Regressor(NARROW)
    pre = torch.optim.Adam(small.parameters(), lr=1e-2)
    for _ in range(250):
        i = torch.randint(0, len(x), (128,), generator=gen)
        loss = F.mse_loss(small(x[i]), y[i])
        pre.zero_grad()
        loss.backward()
        pre.step()

    model = grow(small, FACTOR, 0.5 if fixed else 0.0, torch.Generator().manual_seed(seed + 5000))
    decay = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim == 1]
    opt = torch.optim.NAdam([{"params": decay, "weight_decay": 1e-4}, {"params": plain}], lr=4e-3)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 1200)
    curve = []
    with observe(model, opt):
        for _ in range(1200):
            i = torch.randint(0, len(x), (128,), generator=gen)
            loss = F.mse_loss(model(x[i]), y[i])
            opt.zero_grad(set_to_none=True)
            loss.backward()
            opt.step()
            sched.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        metric = (F.mse_loss(model(xt), yt) / yt.var()).item()
    return {"metric": metric, "better": "lower", "curve": curve}

"""A normaliser-free residual network (NFNet style: scaled weight standardization, adaptive gradient clipping, zero-initialised
head) finds defects on wafer maps. Adaptive clipping limits each row's gradient to a fraction of that row's own weight norm, and
the head starts at zero, so its limit is the tiny `eps` and it can hardly leave zero, which in turn starves everything below it.
The paper says to exempt the final layer; code that just loops over `model.parameters()` does not."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "b_nfnet_defects"
TRUTH = {"mechanisms": ["excessive_gradient_clipping"], "layers": ["head"], "onset": 0}


class WSConv(nn.Conv2d):
    def __init__(self, *a, **k):
        super().__init__(*a, **k)
        self.gain = nn.Parameter(torch.ones(self.out_channels, 1, 1, 1))

    def forward(self, x):
        w = self.weight
        var, mean = torch.var_mean(w, dim=(1, 2, 3), keepdim=True)
        w = self.gain * (w - mean) * torch.rsqrt(var * w[0].numel() + 1e-4)
        return F.conv2d(x, w, self.bias, self.stride, self.padding)


class NFBlock(nn.Module):
    def __init__(self, ch, beta, alpha=0.2):
        super().__init__()
        self.beta, self.alpha = beta, alpha
        self.c1 = WSConv(ch, ch, 3, padding=1)
        self.c2 = WSConv(ch, ch, 3, padding=1)
        self.skip_gain = nn.Parameter(torch.tensor(1.0))

    def forward(self, x):
        h = F.gelu(x * self.beta) * 1.7
        h = self.c2(F.gelu(self.c1(h)) * 1.7)
        return x + self.alpha * self.skip_gain * h


class NFNet(nn.Module):
    def __init__(self, ch=12, classes=6):
        super().__init__()
        self.stem = WSConv(1, ch, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList([NFBlock(ch, (1 + 0.04 * i) ** -0.5) for i in range(2)])
        self.head = nn.Linear(ch * 4, classes)
        nn.init.zeros_(self.head.weight)

    def forward(self, x):
        x = self.stem(x)
        for b in self.blocks:
            x = b(x)
        return self.head(F.adaptive_avg_pool2d(F.gelu(x), 2).flatten(1))


def unitwise(t):
    return t.norm() if t.ndim <= 1 else t.flatten(1).norm(dim=1).view(-1, *[1] * (t.ndim - 1))


@torch.no_grad()
def agc(params, lam=0.02, eps=1e-4):
    for p in params:
        g, w = unitwise(p.grad), unitwise(p)
        limit = lam * w.clamp_min(eps)
        p.grad.mul_((limit / g.clamp_min(1e-12)).clamp_max(1.0))


def wafers(n, gen):
    yy, xx = torch.meshgrid(torch.linspace(-1, 1, 16), torch.linspace(-1, 1, 16), indexing="ij")
    y = torch.randint(0, 6, (n,), generator=gen)
    r = (xx**2 + yy**2).sqrt()
    off = torch.rand(n, 4, generator=gen)
    img = torch.zeros(n, 16, 16)
    for i, k in enumerate(y.tolist()):
        a, b, c, d = (off[i] * 2 - 1).tolist()
        img[i] = [
            torch.exp(-(((r - 0.3 - 0.2 * (a + 1)) / 0.12) ** 2)),  # ring
            torch.exp(-(((xx - 0.5 * a) ** 2 + (yy - 0.5 * b) ** 2) / 0.08)),  # blob
            torch.exp(-(((xx * 0.8 + yy * 0.6 - 0.4 * a) / 0.1) ** 2)),  # scratch
            torch.exp(-(((xx * 0.8 - yy * 0.6 - 0.4 * a) / 0.1) ** 2)),  # scratch, other way
            (r > 0.85).float() * (0.8 + 0.2 * a),  # edge
            torch.zeros_like(xx),
        ][k]
    img = img + 0.35 * torch.randn(n, 16, 16, generator=gen)
    return ((img - img.mean()) / img.std()).unsqueeze(1), y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 9)
    x, y = wafers(1500, gen)
    xt, yt = wafers(500, gen)
    net = NFNet()
    opt = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    clipped = [p for n, p in net.named_parameters() if not (fixed and n.startswith("head"))]
    curve = []
    with observe(net, opt):
        for step in range(350):
            i = torch.randint(0, len(x), (48,), generator=gen)
            loss = F.cross_entropy(net(x[i]), y[i], label_smoothing=0.05)
            opt.zero_grad()
            loss.backward()
            agc(clipped)
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        metric = (net(xt).argmax(1) == yt).float().mean().item()
    return {"metric": metric, "better": "higher", "curve": curve}

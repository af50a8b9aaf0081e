"""Gestures are recognised from data-glove recordings by a stack of quasi-recurrent layers and attention pooling. The recurrent
part works time-first; to go back to batch-first, `reshape` was used where a transpose was meant. All shapes are right, but every
"sample" after that is a mixture of the time steps of several people's gestures. Nothing about the numbers of the training is
abnormal; the loss simply stays high."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "b_gesture_axes"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": 0}
SENSORS, STEPS, GESTURES = 6, 16, 6


class FoPool(nn.Module):
    """QRNN layer: width-2 convolution over time, then h_t = f h_{t-1} + (1 - f) z. Works on (time, batch, channel)."""

    def __init__(self, inp, hid):
        super().__init__()
        self.now = nn.Linear(inp, 3 * hid)
        self.before = nn.Linear(inp, 3 * hid, bias=False)

    def forward(self, x):
        prev = torch.cat([torch.zeros_like(x[:1]), x[:-1]])
        z, f, o = (self.now(x) + self.before(prev)).chunk(3, -1)
        z, f, o = torch.tanh(z), torch.sigmoid(f), torch.sigmoid(o)
        h, out = torch.zeros_like(z[0]), []
        for t in range(x.shape[0]):
            h = f[t] * h + (1 - f[t]) * z[t]
            out.append(o[t] * h)
        return torch.stack(out)


class GloveNet(nn.Module):
    def __init__(self, swap, hid=32):
        super().__init__()
        self.swap = swap
        self.first = FoPool(SENSORS, hid)
        self.second = FoPool(hid, hid)
        self.query = nn.Parameter(torch.randn(hid) * hid**-0.5)
        self.head = nn.Sequential(nn.LayerNorm(hid), nn.Linear(hid, GESTURES))

    def forward(self, x):
        b, t, _ = x.shape
        h = self.second(self.first(x.transpose(0, 1)))
        h = h.transpose(0, 1) if self.swap else h.reshape(b, t, -1)
        a = torch.softmax(torch.einsum("btc,c->bt", h, self.query), -1)
        return self.head(torch.einsum("bt,btc->bc", a, h))


def recordings(n, gen, proto):
    y = torch.randint(0, GESTURES, (n,), generator=gen)
    speed = 0.8 + 0.4 * torch.rand(n, 1, 1, generator=gen)
    t = torch.linspace(0, 1, STEPS).view(1, -1, 1) * speed
    freq, phase = proto[y][:, :, 0].unsqueeze(1), proto[y][:, :, 1].unsqueeze(1)
    x = torch.sin(6.283 * (freq * t + phase)) + 0.5 * torch.randn(n, STEPS, SENSORS, generator=gen)
    return x, y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 21)
    proto = torch.rand(GESTURES, SENSORS, 2, generator=gen) * torch.tensor(
        [2.0, 1.0]
    ) + torch.tensor([0.5, 0.0])
    x, y = recordings(2400, gen, proto)
    xt, yt = recordings(800, gen, proto)
    net = GloveNet(swap=fixed)
    opt = torch.optim.AdamW(
        [
            {"params": [net.query], "weight_decay": 0.0},
            {"params": [p for n, p in net.named_parameters() if n != "query"]},
        ],
        lr=3e-3,
        weight_decay=0.02,
    )
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 360)
    curve = []
    with observe(net, opt):
        for _ in range(360):
            i = torch.randint(0, len(x), (48,), generator=gen)
            loss = F.cross_entropy(net(x[i]), y[i])
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
            curve.append(loss.item())
    net.eval()
    with torch.no_grad():
        hit = sum((net(a).argmax(-1) == b).sum().item() for a, b in zip(xt.split(48), yt.split(48)))
    return {"metric": hit / len(xt), "better": "higher", "curve": curve}

"""Healthy. jthickstun/pytorch_musicnet issue 4: the weights of the linear note detector all start at zero; as the author answers, a linear
model has no symmetry to break, so this is fine. The filterbank in front is fixed and not trained."""

import math
import torch, torch.nn as nn

ID = "a_musicnet_zero_linear"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class NoteModel(nn.Module):
    def __init__(self, window=256, k=64, regions=3, stride=64, notes=12):
        super().__init__()
        t = torch.arange(128).float()
        f = 0.05 * 2 ** (torch.arange(k) * 4.0 / k)
        win = torch.hann_window(128)
        self.register_buffer("wsin", torch.stack([torch.sin(w * t) * win for w in f]).unsqueeze(1))
        self.register_buffer("wcos", torch.stack([torch.cos(w * t) * win for w in f]).unsqueeze(1))
        self.stride = stride
        self.linear = nn.Linear(regions * k, notes, bias=False)
        nn.init.constant_(self.linear.weight, 0)

    def forward(self, x):
        s = (
            nn.functional.conv1d(x.unsqueeze(1), self.wsin, stride=self.stride) ** 2
            + nn.functional.conv1d(x.unsqueeze(1), self.wcos, stride=self.stride) ** 2
        )
        return self.linear(torch.log(s + 1e-2).flatten(1))


def recordings(n, g, window=256, notes=12):
    f = 0.06 * 2 ** (torch.arange(notes).float() * 2.5 / notes)
    y = (torch.rand(n, notes, generator=g) < 0.2).float()
    t = torch.arange(window).float()
    ph = 2 * math.pi * torch.rand(n, notes, 2, generator=g)
    amp = 0.4 + 0.8 * torch.rand(n, notes, generator=g)
    x = torch.zeros(n, window)
    for h in (1, 2):
        x += (
            (y * amp / h).unsqueeze(-1) * torch.sin(h * f[:, None] * t + ph[:, :, h - 1, None])
        ).sum(1)
    return x + 0.05 * torch.randn(n, window, generator=g), y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(230 + seed)
    X, Y = recordings(4000, g)
    Xv, Yv = recordings(800, g)
    model = NoteModel()
    opt = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.95)
    curve = []
    with observe(model, opt):
        for step in range(1400):
            i = torch.randint(0, len(Y), (200,))
            loss = ((model(X[i]) - Y[i]) ** 2).sum(1).mean() / 2
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        p = torch.cat([model(c) for c in Xv.split(200)])
    order = p.flatten().argsort(descending=True)
    hit = Yv.flatten()[order]
    prec = hit.cumsum(0) / torch.arange(1, len(hit) + 1)
    return {"metric": ((prec * hit).sum() / hit.sum()).item(), "better": "higher", "curve": curve}

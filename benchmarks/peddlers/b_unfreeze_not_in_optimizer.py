"""Transfer of a digit-stroke encoder to a new script: own residual conv encoder, first a head-only stage, then everything.
Bug: at the stage change requires_grad is switched on, but the optimizer was built from the head's parameters only and is never
given the encoder: gradients exist, the encoder stays as it was."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_unfreeze_not_in_optimizer"
TRUTH = {
    "mechanisms": ["parameters_not_updated"],
    "layers": ["encoder", "encoder.stem", "encoder.res1", "encoder.down", "encoder.res2"],
    "onset": (100, 100),
}


class Filt(nn.Module):
    def __init__(self, ci, co, stride=1):
        super().__init__()
        self.k = nn.Parameter(torch.randn(co, ci, 3, 3) * math.sqrt(2 / (9 * ci)))
        self.s, self.t = (
            nn.Parameter(torch.ones(1, co, 1, 1)),
            nn.Parameter(torch.zeros(1, co, 1, 1)),
        )
        self.stride = stride

    def forward(self, x):
        x = F.conv2d(x, self.k, stride=self.stride, padding=1)
        m, v = x.mean((1, 2, 3), keepdim=True), x.var((1, 2, 3), keepdim=True)
        return (x - m) * (v + 1e-5).rsqrt() * self.s + self.t


class Res(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.f1, self.f2 = Filt(c, c), Filt(c, c)

    def forward(self, x):
        return F.relu(x + 0.5 * self.f2(F.relu(self.f1(x))))


class Encoder(nn.Module):
    def __init__(self, c=8):
        super().__init__()
        self.stem, self.res1, self.down, self.res2 = (
            Filt(1, c, 2),
            Res(c),
            Filt(c, 2 * c, 2),
            Res(2 * c),
        )

    def forward(self, x):
        x = self.res1(F.relu(self.stem(x)))
        return self.res2(F.relu(self.down(x))).mean((2, 3))


class Head(nn.Module):
    def __init__(self, d, k):
        super().__init__()
        self.W, self.b = nn.Parameter(torch.zeros(k, d)), nn.Parameter(torch.zeros(k))

    def forward(self, f):
        return F.linear(f, self.W, self.b)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.head = Encoder(), Head(16, 10)

    def forward(self, x):
        return self.head(self.encoder(x))


def glyphs(n, protos, g):
    y = torch.randint(0, len(protos), (n,), generator=g)
    yy, xx = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    img = torch.zeros(n, 16, 16)
    for s in range(protos.shape[1]):  # strokes: straight segments drawn as blobs
        a = protos[y, s] + 0.5 * torch.randn(n, 4, generator=g)
        for u in torch.linspace(0, 1, 6):
            cx, cy = a[:, 0] + u * (a[:, 2] - a[:, 0]), a[:, 1] + u * (a[:, 3] - a[:, 1])
            img = torch.maximum(
                img,
                torch.exp(-((xx - cx[:, None, None]) ** 2 + (yy - cy[:, None, None]) ** 2) / 1.5),
            )
    return (img + 0.2 * torch.randn(n, 16, 16, generator=g))[:, None], y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 81)
    protos = 2 + 12 * torch.rand(10, 3, 4, generator=g)
    X, Y = glyphs(3000, protos, g)
    Xt, Yt = glyphs(800, protos, g)
    model = Net()
    for p in model.encoder.parameters():
        p.requires_grad_(False)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=4e-3)
    curve = []
    with observe(model, optimizer):
        for step in range(450):
            if step == 100:  # stage 2: fine-tune everything
                for p in model.encoder.parameters():
                    p.requires_grad_(True)
                if fixed:
                    optimizer.add_param_group(
                        {"params": list(model.encoder.parameters()), "lr": 2e-3}
                    )
            j = torch.randint(0, 3000, (48,), generator=g)
            z = model(X[j])
            loss = (z.logsumexp(1) - z.gather(1, Y[j][:, None])[:, 0]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        acc = (model(Xt).argmax(1) == Yt).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}

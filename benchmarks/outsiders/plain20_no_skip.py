"""Plain 20-layer conv net without normalization or skips, default init: stuck at chance. Fix: identity skips."""

import math, torch, torch.nn as nn, torch.nn.functional as F

ID = "plain20-no-skip"
TRUTH = {
    "mechanisms": ["depth_attenuation", "initialization_too_small"],
    "layers": None,
    "onset": None,
}


def make_data(n, g, s=12):
    y = torch.randint(0, 6, (n,), generator=g)
    yy, xx = torch.meshgrid(
        torch.arange(s).float() - 5.5, torch.arange(s).float() - 5.5, indexing="ij"
    )
    c = torch.randn(n, 2, 1, 1, generator=g)
    X, Y = (xx - c[:, 0], yy - c[:, 1])
    a = X.abs()
    b = Y.abs()
    forms = torch.stack(
        [
            a + b < 4,
            X**2 + Y**2 < 12,
            (a < 1.2) | (b < 1.2),
            torch.maximum(a, b) < 3.2,
            (a - b).abs() < 1,
            (torch.maximum(a, b) < 4) & (torch.maximum(a, b) > 2.2),
        ],
        1,
    ).float()
    x = forms[torch.arange(n), y] + 0.3 * torch.randn(n, s, s, generator=g)
    return (((x - x.mean()) / x.std())[:, None], y)


class Plain(nn.Module):
    def __init__(self, skip, depth=20, c=12):
        super().__init__()
        self.skip = skip
        self.stem = nn.Conv2d(1, c, 3, padding=1)
        self.layers = nn.ModuleList([nn.Conv2d(c, c, 3, padding=1) for _ in range(depth - 2)])
        self.fc = nn.Linear(c * 9, 6)

    def forward(self, x):
        h = F.relu(self.stem(x))
        for i, l in enumerate(self.layers):
            if i in (6, 12):
                h = F.max_pool2d(h, 2)
            r = F.relu(l(h))
            h = h + r if self.skip else r
        return self.fc(h.flatten(1))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 1)
    x, y = make_data(960, g)
    m = Plain(fixed)
    opt = torch.optim.SGD(m.parameters(), lr=0.01, momentum=0.9, nesterov=True)
    sch = torch.optim.lr_scheduler.MultiStepLR(opt, [150, 200], 0.2)
    hist = []
    with observe(m, opt):
        for step in range(220):
            b = torch.randint(0, 960, (32,), generator=g)
            loss = F.cross_entropy(m(x[b]), y[b])
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(m.parameters(), 5.0)
            opt.step()
            sch.step()
            hist.append(loss.item())
    return {"metric": sum(hist[-30:]) / 30, "better": "lower"}

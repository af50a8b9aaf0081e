"""1-D U-Net that picks earthquake arrivals. MultiStepLR is stepped once an optimizer step, but the milestones of the config
(6, 9) are epochs: the learning rate is a hundredth from step 9 on."""

from dataclasses import dataclass, field
import torch, torch.nn as nn, torch.nn.functional as F

ID = "b_unet1d_milestones"
TRUTH = {"mechanisms": ["learning_rate_schedule_bug"], "layers": None, "onset": (5, 10)}


@dataclass
class Config:
    epochs: int = 12
    bs: int = 16
    lr: float = 3e-3
    milestones: list = field(default_factory=lambda: [6, 9])
    n: int = 512


def conv(i, o):
    return nn.Sequential(
        nn.Conv1d(i, o, 7, padding=3, bias=False), nn.BatchNorm1d(o), nn.ReLU(inplace=True)
    )


class Down(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.body = nn.Sequential(nn.MaxPool1d(4), conv(i, o), conv(o, o))

    def forward(self, x):
        return self.body(x)


class Up(nn.Module):
    def __init__(self, i, skip, o):
        super().__init__()
        self.merge = conv(i + skip, o)

    def forward(self, x, s):
        return self.merge(
            torch.cat([F.interpolate(x, size=s.size(-1), mode="linear", align_corners=False), s], 1)
        )


class PickNet(nn.Module):
    def __init__(self, ch=(8, 12, 16)):
        super().__init__()
        self.stem = conv(3, ch[0])
        self.downs = nn.ModuleList([Down(ch[0], ch[1]), Down(ch[1], ch[2])])
        self.ups = nn.ModuleList([Up(ch[2], ch[1], ch[1]), Up(ch[1], ch[0], ch[0])])
        self.head = nn.Conv1d(ch[0], 3, 1)

    def forward(self, x):
        s = [self.stem(x)]
        for d in self.downs:
            s.append(d(s[-1]))
        x = s.pop()
        for u in self.ups:
            x = u(x, s.pop())
        return self.head(x)


def quakes(n, g, T=256):
    t = torch.arange(T).float()[None]
    p = torch.randint(30, 110, (n, 1), generator=g).float()
    s = p + torch.randint(30, 90, (n, 1), generator=g)
    x = 0.6 * torch.randn(n, 3, T, generator=g)
    wave = lambda t0, f: torch.where(
        t >= t0, torch.exp(-(t - t0).clamp(min=0) / 25) * torch.sin((t - t0) * f), torch.zeros(())
    )
    x[:, 2] += 2.0 * wave(p, 1.1)
    x[:, :2] += 2.2 * wave(s, 0.5)[:, None]
    lab = torch.stack([torch.exp(-0.5 * ((t - u) / 4) ** 2) for u in (p, s)], 1)
    return (
        x / x.std((1, 2), keepdim=True),
        torch.cat([lab, (1 - lab.sum(1, keepdim=True)).clamp(0)], 1),
        torch.cat([p, s], 1),
    )


def soft_ce(logit, target):
    return -(target * F.log_softmax(logit, 1)).sum(1).mean()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    cfg = Config()
    g = torch.Generator().manual_seed(seed)
    X, Y, _ = quakes(cfg.n, g)
    Xv, Yv, Pv = quakes(200, g)
    model = PickNet()
    opt = torch.optim.Adam(model.parameters(), lr=cfg.lr)
    sched = torch.optim.lr_scheduler.MultiStepLR(opt, cfg.milestones, gamma=0.1)
    curve = []
    with observe(model, opt):
        for epoch in range(cfg.epochs):
            model.train()
            for idx in torch.randperm(cfg.n).split(cfg.bs):
                loss = soft_ce(model(X[idx]), Y[idx])
                opt.zero_grad()
                loss.backward()
                opt.step()
                if not fixed:
                    sched.step()
                curve.append(loss.item())
            if fixed:
                sched.step()
            model.eval()
            with torch.no_grad():
                val = soft_ce(model(Xv), Yv).item()
    return {"metric": val, "better": "lower", "curve": curve}

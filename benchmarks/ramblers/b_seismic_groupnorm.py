"""Magnitude and distance class of a seismogram by a strided 1-d CNN.
Bug: every stage is followed by GroupNorm(channels, channels) (meant as instance norm); after the last stage the time axis has length
1, each group holds one single value, and the norm returns its bias: the features are the same for every record."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "b_seismic_groupnorm"
TRUTH = {"mechanisms": ["degenerate_normalization"], "layers": ["stages.3.norm"], "onset": (0, 0)}


def records(n, g, T=128):
    mag = torch.rand(n, 1, generator=g)
    dist = torch.rand(n, 1, generator=g)
    t = torch.arange(T).float()
    p_at, s_at = 10 + 10 * dist, 30 + 70 * dist
    env = lambda at, w: torch.sigmoid((t - at)) * torch.exp(-(t - at).clamp(min=0) / w)
    freq = 0.25 - 0.17 * mag  # bigger events are slower
    ph = torch.rand(n, 2, 1, generator=g) * 6.28
    p = env(p_at, 12) * torch.sin(6.28 * freq * 1.5 * t + ph[:, 0])
    s = 1.8 * env(s_at, 20) * torch.sin(6.28 * freq * t + ph[:, 1])
    x = p + s + 0.15 * torch.randn(n, T, generator=g)
    z = 0.5 * p - s + 0.15 * torch.randn(n, T, generator=g)
    return torch.stack([x, z], 1), torch.cat([mag, dist], 1) * 2 - 1


class Stage(nn.Module):
    def __init__(self, cin, cout, stride, groups, k=7, pad=3):
        super().__init__()
        self.conv = nn.Conv1d(cin, cout, k, stride=stride, padding=pad)
        self.norm = nn.GroupNorm(groups, cout)
        self.act = nn.GELU()

    def forward(self, x):
        return self.act(self.norm(self.conv(x)))


class SeisNet(nn.Module):
    def __init__(self, fixed):
        super().__init__()
        ch = [2, 16, 32, 48]
        st = [Stage(ch[i], ch[i + 1], 2, 4 if fixed else ch[i + 1]) for i in range(3)]
        st.append(Stage(48, 64, 1, 8 if fixed else 64, k=16, pad=0))  # 16 -> 1
        self.stages = nn.Sequential(*st)
        self.reg = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.GELU(), nn.Linear(32, 2))

    def forward(self, x):
        return self.reg(self.stages(x))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 2)
    X, Y = records(2000, g)
    Xt, Yt = records(600, g)
    model = SeisNet(fixed)
    opt = torch.optim.AdamW(model.parameters(), lr=1e-3)
    sched = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(opt, T_0=100, T_mult=2)
    curve = []
    with observe(model, opt):
        for step in range(300):
            i = torch.randint(0, len(X), (48,), generator=g)
            loss = F.smooth_l1_loss(model(X[i]), Y[i], beta=0.2)
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        m = (F.mse_loss(model(Xt), Yt) / Yt.var()).item()
    return {"metric": m, "better": "lower", "curve": curve}

"""Set model: attention over 24 sensor readings; the dot products of 256-dimensional queries and keys are not divided by sqrt(d) (delzac/cntkx issue 10), so the softmax is one-hot
from the first step and the scorer gets next to no gradient."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "a_cntkx_unscaled_attention"
TRUTH = {
    "mechanisms": ["attention_entropy_collapse"],
    "layers": ["attend", "attend.q", "attend.k"],
    "onset": (0, 0),
}
N, F_IN = 24, 6


class ScaledDotProductAttention(nn.Module):
    def __init__(self, cin, dim, scale):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(cin, dim) for _ in range(3))
        for lin in (self.q, self.k):
            nn.init.xavier_normal_(lin.weight, gain=1.4)
        self.scale = scale

    def forward(self, x):
        score = self.q(x) @ self.k(x).transpose(1, 2) * self.scale
        return F.softmax(score, -1) @ self.v(x)


class SensorSet(nn.Module):
    def __init__(self, fixed, dim=64, head=256):
        super().__init__()
        self.lift = nn.Sequential(
            nn.Linear(F_IN, dim),
            nn.LayerNorm(dim),
            nn.GELU(),
            nn.Linear(dim, dim),
            nn.LayerNorm(dim),
        )
        self.attend = ScaledDotProductAttention(dim, head, head**-0.5 if fixed else 1.0)
        self.out = nn.Sequential(nn.Linear(head, 64), nn.GELU(), nn.Linear(64, 1))

    def forward(self, x):
        return self.out(self.attend(self.lift(x))).squeeze(-1)


def readings(n, gen):
    """Each reading has a group code and a value; the target at each place is the mean value of its group in the set."""
    grp = torch.randint(0, 4, (n, N), generator=gen)
    val = torch.randn(n, N, generator=gen)
    same = (grp[:, :, None] == grp[:, None]).float()
    y = (same * val[:, None]).sum(-1) / same.sum(-1)
    x = torch.cat(
        [F.one_hot(grp, 4).float() * 1.5, val[..., None], torch.randn(n, N, 1, generator=gen)], -1
    )
    return x, y * 2


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 70)
    x, y = readings(3000, gen)
    xt, yt = readings(500, gen)
    model = SensorSet(fixed)
    opt = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 400)
    curve = []
    with observe(model, opt):
        for step in range(400):
            idx = torch.randint(0, 3000, (32,))
            loss = F.mse_loss(model(x[idx]), y[idx])
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 2.0)
            opt.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        mse = F.mse_loss(model(xt), yt).item() / yt.var().item()
    return {"metric": mse, "better": "lower", "curve": curve}

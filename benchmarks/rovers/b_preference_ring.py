"""A reward model (Bradley-Terry on pairs of motion segments, hand-written Lion) is trained online from a growing preference
buffer. Segments and answers are kept in two deques whose `maxlen`s differ by a few entries, so once the shorter one is full
every stored answer belongs to some other pair. Everything is right while the buffer fills, which is as long as anybody tests it."""

from collections import deque
import torch
from torch import nn
import torch.nn.functional as F

ID = "b_preference_ring"
TRUTH = {"mechanisms": ["label_noise"], "layers": None, "onset": 75}
PAIRS, NEW, START = 800, 8, 200


class Lion(torch.optim.Optimizer):
    def __init__(self, params, lr, betas=(0.9, 0.99), wd=0.0):
        super().__init__(params, dict(lr=lr, betas=betas, wd=wd))

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            b1, b2 = group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                m = self.state[p].setdefault("exp_avg", torch.zeros_like(p))
                p.mul_(1 - group["lr"] * group["wd"])
                p.sub_(torch.sign(m * b1 + p.grad * (1 - b1)), alpha=group["lr"])
                m.mul_(b2).add_(p.grad, alpha=1 - b2)


class Reward(nn.Module):
    def __init__(self, obs=6, width=48):
        super().__init__()
        self.frame = nn.Sequential(
            nn.Linear(obs, width), nn.ELU(), nn.Linear(width, width), nn.ELU()
        )
        self.value = nn.Linear(width, 1)

    def forward(self, seg):
        return torch.tanh(self.value(self.frame(seg))).sum((-1, -2))


def segments(n, gen, t=12):
    drift = 0.6 * torch.randn(n, 2, 1, 6, generator=gen)
    walk = torch.randn(n, 2, t, 6, generator=gen).cumsum(2) * 0.25
    return drift + walk


def judge(seg):
    """True return: go fast in x, stay upright, spare the motors."""
    r = (
        torch.tanh(seg[..., 0])
        + 0.8 * torch.cos(1.5 * seg[..., 1])
        - 0.3 * seg[..., 2:4].pow(2).sum(-1).clamp_max(4.0)
    )
    ret = r.sum(-1)
    return (ret[:, 0] > ret[:, 1]).float()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 12)
    clips, answers = deque(maxlen=PAIRS), deque(maxlen=PAIRS if fixed else PAIRS + 32)

    def collect(n):
        s = segments(n, gen)
        clips.extend(s)
        answers.extend(judge(s))

    collect(START)
    model = Reward()
    opt = Lion(model.parameters(), lr=5e-4, wd=0.05)
    curve = []
    with observe(model, opt):
        for _ in range(700):
            collect(NEW)
            pick = torch.randint(0, len(clips), (48,), generator=gen).tolist()
            seg = torch.stack([clips[k] for k in pick])
            ans = torch.stack([answers[k] for k in pick])
            left, right = model(seg).unbind(1)
            loss = F.binary_cross_entropy_with_logits(left - right, ans)
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        seg = segments(2000, gen)
        left, right = model(seg).unbind(1)
        metric = ((left > right).float() == judge(seg)).float().mean().item()
    return {"metric": metric, "better": "higher", "curve": curve}

"""A small text CNN for splice-site detection is trained with ULMFiT-style gradual unfreezing: every parameter group gets its own
LambdaLR multiplier that is zero until the group's turn. The lambdas are made in a loop and close over the loop variable, so all of
them read the last stage's start and decay, and the whole network stands still until its lowest layer was meant to wake up."""

import math
import torch
from torch import nn
import torch.nn.functional as F

ID = "b_unfreeze_lambdas"
TRUTH = {"mechanisms": ["learning_rate_schedule_bug"], "layers": None, "onset": 0}
TOTAL = 600


class SpliceNet(nn.Module):
    def __init__(self, width=24):
        super().__init__()
        self.base = nn.Embedding(4, 8)
        self.low = nn.Conv1d(8, width, 7, padding=3)
        self.high = nn.Conv1d(width, width, 5, padding=4, dilation=2)
        self.norm = nn.GroupNorm(4, width)
        self.head = nn.Linear(2 * width, 3)

    def forward(self, seq):
        h = self.base(seq).transpose(1, 2)
        h = F.gelu(self.low(h))
        h = h + F.gelu(self.norm(self.high(h)))
        return self.head(torch.cat([h.mean(-1), h.amax(-1)], -1))


def genome(n, gen, length=40):
    seq = torch.randint(0, 4, (n, length), generator=gen)
    y = torch.randint(0, 3, (n,), generator=gen)
    donor, accept = torch.tensor([1, 0, 2, 2, 3, 0, 0, 2]), torch.tensor([3, 3, 1, 3, 0, 2, 2, 3])
    for i, k in enumerate(y.tolist()):
        if k == 2:  # both half-motifs, apart: a decoy
            at = torch.randint(0, length - 8, (2,), generator=gen).tolist()
            seq[i, at[0] : at[0] + 4] = donor[:4]
            seq[i, at[1] : at[1] + 4] = accept[4:]
            continue
        at = int(torch.randint(0, length - 8, (1,), generator=gen))
        seq[i, at : at + 8] = donor if k == 0 else accept
    flip = torch.rand(seq.shape, generator=gen) < 0.04
    seq[flip] = torch.randint(0, 4, (int(flip.sum()),), generator=gen)
    return seq, y


def multiplier(step, start, decay):
    if step < start:
        return 0.0
    u = (step - start) / (TOTAL - start)
    return decay * 0.5 * (1 + math.cos(math.pi * u))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 88)
    x, y = genome(3000, gen)
    xt, yt = genome(1000, gen)
    model = SpliceNet()
    stages = [
        ([model.head], 0, 1.0),
        ([model.norm, model.high], 100, 0.8),
        ([model.low], 200, 0.6),
        ([model.base], 540, 0.2),
    ]
    groups, lambdas = [], []
    for modules, start, decay in stages:
        groups.append({"params": [p for m in modules for p in m.parameters()]})
        if fixed:
            lambdas.append(lambda s, start=start, decay=decay: multiplier(s, start, decay))
        else:
            lambdas.append(lambda s: multiplier(s, start, decay))
    opt = torch.optim.AdamW(groups, lr=6e-3, weight_decay=0.01)
    sched = torch.optim.lr_scheduler.LambdaLR(opt, lambdas)
    curve = []
    with observe(model, opt):
        for _ in range(TOTAL):
            i = torch.randint(0, len(x), (64,), generator=gen)
            loss = F.cross_entropy(model(x[i]), y[i])
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            opt.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        metric = (model(xt).argmax(-1) == yt).float().mean().item()
    return {"metric": metric, "better": "higher", "curve": curve}

"""A gated convolutional tagger marks binding sites in DNA; large batches are gathered over several micro-batches. The
scheduler is stepped inside the micro-batch loop while its horizon is counted in optimizer steps, so the cosine ends after an
eighth of the run. People move `scheduler.step()` next to `backward()` when they add accumulation and forget the horizon."""

import math
import torch
from torch import nn
from torch.nn import functional as F

ID = "b_dna_tagger"
TRUTH = {"mechanisms": ["learning_rate_schedule_bug"], "layers": None, "onset": (0, 32)}
ACCUM, UPDATES = 8, 250


def make_reads(n, length, gen):
    x = torch.randint(0, 4, (n, length), generator=gen)
    y = torch.zeros(n, length)
    left, right = torch.tensor([0, 2, 3, 1]), torch.tensor([3, 3, 0, 2])
    for i in range(n):
        for _ in range(2):
            p = int(torch.randint(2, length - 20, (1,), generator=gen))
            kind = int(torch.randint(0, 3, (1,), generator=gen))
            x[i, p : p + 4] = left
            if kind:  # a site counts only with its partner nine bases on
                x[i, p + 9 : p + 13] = right
                y[i, p : p + 13] = 1.0
    return x, y


class GatedBlock(nn.Module):
    def __init__(self, width, dilation):
        super().__init__()
        self.norm = nn.GroupNorm(1, width)
        self.conv = nn.Conv1d(width, 2 * width, 5, padding=2 * dilation, dilation=dilation)

    def forward(self, h):
        return h + F.glu(self.conv(self.norm(h)), dim=1)


class Tagger(nn.Module):
    def __init__(self, width=24):
        super().__init__()
        self.embed = nn.Embedding(4, width)
        self.blocks = nn.Sequential(*[GatedBlock(width, d) for d in (1, 2, 4)])
        self.out = nn.Conv1d(width, 1, 1)

    def forward(self, x):
        return self.out(self.blocks(self.embed(x).transpose(1, 2))).squeeze(1)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(100 + seed)
    x, y = make_reads(1500, 64, gen)
    xv, yv = make_reads(300, 64, gen)
    model = Tagger()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.5e-3, weight_decay=0.01)

    def factor(step):
        if step < 10:
            return (step + 1) / 10
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - 10) / (UPDATES - 10))))

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    curve = []
    with observe(model, optimizer):
        running = 0.0
        for micro in range(UPDATES * ACCUM):
            pick = torch.randint(0, len(x), (8,), generator=gen)
            loss = F.binary_cross_entropy_with_logits(model(x[pick]), y[pick]) / ACCUM
            loss.backward()
            running += loss.item()
            last = (micro + 1) % ACCUM == 0
            if last:
                optimizer.step()
                optimizer.zero_grad()
                curve.append(running)
                running = 0.0
            if last or not fixed:
                scheduler.step()
    model.eval()
    with torch.no_grad():
        hit = model(xv) > 0
    tp = (hit & (yv > 0)).sum().item()
    f1 = 2 * tp / max(1.0, hit.sum().item() + yv.sum().item())
    return {"metric": f1, "better": "higher", "curve": curve}

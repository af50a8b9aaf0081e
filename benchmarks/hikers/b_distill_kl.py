"""Distilling an analytic teacher (posterior of a Gaussian mixture in 2 x 16 frames) into a depthwise-separable student. F.kl_div gets softmax(student)
instead of log_softmax(student): the loss is linear in the probabilities and has no minimum at the teacher's distribution."""

import math
import torch, torch.nn as nn, torch.nn.functional as F

ID = "b_distill_kl"
TRUTH = {"mechanisms": ["loss_output_mismatch"], "layers": None, "onset": (0, 0)}
K, T = 8, 16


class SepConv(nn.Module):
    def __init__(self, c, k=5):
        super().__init__()
        self.dw = nn.Conv1d(c, c, k, padding=k // 2, groups=c, bias=False)
        self.pw = nn.Conv1d(c, c, 1)
        self.bn = nn.BatchNorm1d(c)

    def forward(self, x):
        return x + F.silu(self.bn(self.pw(self.dw(x))))


class Student(nn.Module):
    def __init__(self, c=24):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv1d(2, c, 3, padding=1), nn.BatchNorm1d(c), nn.SiLU())
        self.body = nn.Sequential(SepConv(c), SepConv(c))
        self.head = nn.Linear(2 * c, K)
        self.aux = nn.Linear(c, 1)

    def forward(self, x):
        f = self.body(self.stem(x))
        pooled = torch.cat([f.mean(-1), f.amax(-1)], -1)
        return self.head(pooled), self.aux(f.mean(-1)).squeeze(-1)


class Teacher:
    """class k: a curve of its own in noise; posterior is exact"""

    def __init__(self, g):
        t = torch.linspace(0, 1, T)
        self.noise = 1.6
        self.mean = torch.stack(
            [
                torch.stack(
                    [
                        torch.sin(2 * math.pi * (t * (1 + k % 4)) + k),
                        torch.cos(2 * math.pi * t * (1 + k // 3)),
                    ]
                )
                for k in range(K)
            ]
        )

    def sample(self, n, g):
        y = torch.randint(0, K, (n,), generator=g)
        return self.mean[y] + self.noise * torch.randn(n, 2, T, generator=g)

    def logits(self, x):
        return -((x[:, None] - self.mean) ** 2).sum((2, 3)) / (2 * self.noise**2)


class DistillLoss(nn.Module):
    def __init__(self, tau, fixed):
        super().__init__()
        self.tau, self.fixed = tau, fixed

    def forward(self, s, t):
        q = F.softmax(t / self.tau, -1)
        p = F.log_softmax(s / self.tau, -1) if self.fixed else F.softmax(s / self.tau, -1)
        return F.kl_div(p, q, reduction="batchmean") * self.tau**2


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 30)
    teacher = Teacher(g)
    X = teacher.sample(6000, g)
    L = teacher.logits(X)
    Xv = teacher.sample(1000, g)
    model = Student()
    crit = DistillLoss(1.5, fixed)
    opt = torch.optim.SGD(
        model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-4
    )
    epochs, bs, accum = 14, 32, 2
    curve = []
    total = epochs * (len(X) // bs // accum)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, total)
    with observe(model, opt):
        for ep in range(epochs):
            chunks = torch.randperm(len(X))[: len(X) // (bs * accum) * bs * accum].view(
                -1, accum, bs
            )
            for micro in chunks:
                opt.zero_grad()
                tot = 0.0
                for i in micro:
                    s, a = model(X[i])
                    loss = (crit(s, L[i]) + 0.1 * F.mse_loss(a, X[i].mean((1, 2)))) / accum
                    loss.backward()
                    tot += loss.item()
                opt.step()
                sched.step()
                curve.append(tot)
    model.eval()
    with torch.no_grad():
        kl = F.kl_div(
            F.log_softmax(model(Xv)[0], -1),
            F.softmax(teacher.logits(Xv), -1),
            reduction="batchmean",
        ).item()
    return {"metric": kl, "better": "lower", "curve": curve}

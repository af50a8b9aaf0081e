"""Knowledge distillation (teacher conv net -> small student). F.kl_div is called with the student's softmax instead of its
log_softmax: nothing crashes, and the soft term, which has the larger weight, pulls all the probabilities up instead of matching them."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_distill_kl_probs"
TRUTH = {"mechanisms": ["loss_output_mismatch"], "layers": None, "onset": (0, 0)}
ARGS = dict(T=3.0, alpha=0.95, lr=0.05, steps=420, classes=12)


class DepthwiseStudent(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.conv = nn.Conv2d(1, 12, 3, padding=1)
        self.dw = nn.Conv2d(12, 12, 3, padding=1, stride=2, groups=12)
        self.pw = nn.Conv2d(12, 24, 1)
        self.bn = nn.BatchNorm2d(24)
        self.fc = nn.Linear(24 * 9, classes)

    def forward(self, x):
        x = F.relu(self.conv(x))
        x = F.relu(self.bn(self.pw(self.dw(x))))
        return self.fc(F.avg_pool2d(x, 2).flatten(1))


class Teacher(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 24, 3, padding=1),
            nn.BatchNorm2d(24),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(24, 48, 3, padding=1),
            nn.BatchNorm2d(48),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.fc = nn.Linear(48 * 9, classes)

    def forward(self, x):
        return self.fc(self.body(x).flatten(1))


def glyphs(n, protos, g):
    y = torch.randint(0, len(protos), (n,), generator=g)
    x = protos[y]
    dx, dy = torch.randint(-1, 2, (2, n), generator=g)
    x = torch.stack([torch.roll(im, (int(a), int(b)), (0, 1)) for im, a, b in zip(x, dx, dy)])
    return (x + 1.3 * torch.randn(n, 12, 12, generator=g))[:, None], y


def kd_loss(student, teacher, T, fixed):
    target = F.softmax(teacher / T, dim=1)
    pred = F.log_softmax(student / T, dim=1) if fixed else F.softmax(student / T, dim=1)
    return F.kl_div(pred, target, reduction="batchmean") * T * T


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    protos = F.avg_pool2d(torch.randn(ARGS["classes"], 1, 14, 14, generator=g), 3, 1)[:, 0] * 2.2
    x, y = glyphs(3000, protos, g)
    vx, vy = glyphs(1000, protos, g)
    teacher = Teacher(ARGS["classes"])
    topt = torch.optim.Adam(teacher.parameters(), lr=2e-3)
    for _ in range(150):
        i = torch.randint(0, len(x), (64,), generator=g)
        topt.zero_grad()
        F.cross_entropy(teacher(x[i]), y[i]).backward()
        topt.step()
    teacher.eval().requires_grad_(False)

    student = DepthwiseStudent(ARGS["classes"])
    opt = torch.optim.SGD(
        student.parameters(), lr=ARGS["lr"], momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, ARGS["steps"])
    curve = []
    with observe(student, opt):
        for step in range(ARGS["steps"]):
            i = torch.randint(0, len(x), (64,), generator=g)
            out = student(x[i])
            soft = kd_loss(out, teacher(x[i]), ARGS["T"], fixed)
            hard = F.cross_entropy(out, y[i])
            loss = ARGS["alpha"] * soft + (1 - ARGS["alpha"]) * hard
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
            curve.append(loss.item())
    student.eval()
    with torch.no_grad():
        nll = F.cross_entropy(student(vx), vy).item()
    return {"metric": nll, "better": "lower", "curve": curve}

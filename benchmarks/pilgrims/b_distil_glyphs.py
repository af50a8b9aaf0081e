"""A small convolutional student is distilled from a trained teacher on unlabelled glyph images of forty classes.
The loss calls the divergence function with the student's probabilities, although it expects their logarithm; the value goes
down, but what is minimised is linear in the student's softmax, flat at the start and pays only for the favourite class."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_distil_glyphs"
TRUTH = {"mechanisms": ["loss_output_mismatch"], "layers": None, "onset": 0}
K = 40


def glyphs(n, protos, rng):
    y = torch.randint(0, K, (n,), generator=rng)
    x = protos[y]
    x = torch.roll(x, int(torch.randint(-1, 2, (1,), generator=rng)), 2)
    return (x + 0.7 * torch.randn(x.shape, generator=rng))[:, None], y


def convnet(width):
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(2 * width * 9, K),
    )


def fit_teacher(x, y, rng):
    net = convnet(16)
    opt = torch.optim.AdamW(net.parameters(), lr=3e-3)
    for _ in range(250):
        i = torch.randint(0, len(x), (64,), generator=rng)
        opt.zero_grad()
        F.cross_entropy(net(x[i]), y[i]).backward()
        opt.step()
    return net.eval().requires_grad_(False)


class Distiller:
    def __init__(self, teacher, temperature, logarithm):
        self.teacher, self.T, self.logarithm = teacher, temperature, logarithm

    def __call__(self, student_logits, x):
        with torch.no_grad():
            q = F.softmax(self.teacher(x) / self.T, dim=1)
        s = student_logits / self.T
        p = F.log_softmax(s, dim=1) if self.logarithm else F.softmax(s, dim=1)
        return F.kl_div(p, q, reduction="batchmean") * self.T**2


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed + 41)
    protos = torch.randn(K, 12, 12, generator=rng).sign() * (
        torch.rand(K, 12, 12, generator=rng) < 0.5
    )
    x, y = (torch.cat(v) for v in zip(*[glyphs(100, protos, rng) for _ in range(40)]))
    xt, yt = (torch.cat(v) for v in zip(*[glyphs(100, protos, rng) for _ in range(10)]))
    teacher = fit_teacher(x, y, rng)
    student = convnet(6)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4)
    sched = torch.optim.lr_scheduler.MultiStepLR(optimizer, [400, 550], gamma=0.2)
    criterion = Distiller(teacher, 4.0, logarithm=fixed)
    curve = []
    student.train()
    with observe(student, optimizer):
        for _ in range(600):
            batch = x[torch.randint(0, len(x), (64,), generator=rng)]
            optimizer.zero_grad()
            loss = criterion(student(batch), batch)
            loss.backward()
            optimizer.step()
            sched.step()
            curve.append(loss.item())
    student.eval()
    with torch.no_grad():
        acc = (student(xt).argmax(1) == yt).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}

"""Knowledge distillation of a keyword spotter (1-d convolutions). Teacher outputs are cached by batch number, but the train loader
shuffles each epoch, so the soft targets belong to other samples (haitongli/knowledge-distillation-pytorch pull requests 16, 17).
Repair: index the cache by sample."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "a_kd_cached_teacher"
TRUTH = {"mechanisms": ["label_noise"], "layers": None, "onset": (0, 0)}
T, ALPHA, BS = 3.0, 0.9, 50


def audio(n, gen, classes=10, length=160):
    y = torch.randint(0, classes, (n,), generator=gen)
    t = torch.arange(length) / length
    f0 = 4 + 2.0 * y[:, None] + 0.6 * torch.randn(n, 1, generator=gen)
    ph = 6.28 * torch.rand(n, 1, generator=gen)
    x = torch.sin(6.283 * f0 * t + ph) + 0.5 * torch.sin(6.283 * 2.5 * f0 * t)
    return (x + 0.7 * torch.randn(n, length, generator=gen))[:, None], y


class Spotter(nn.Module):
    def __init__(self, width, classes=10):
        super().__init__()
        self.conv1 = nn.Conv1d(1, width, 21, stride=2, padding=10)
        self.bn1 = nn.BatchNorm1d(width)
        self.conv2 = nn.Conv1d(width, 2 * width, 9, stride=2, padding=4)
        self.bn2 = nn.BatchNorm1d(2 * width)
        self.classifier = nn.Linear(2 * width, classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return self.classifier(x.mean(-1))


def loss_fn_kd(logits, labels, teacher_logits):
    soft = F.kl_div(
        F.log_softmax(logits / T, 1), F.softmax(teacher_logits / T, 1), reduction="batchmean"
    )
    return ALPHA * T * T * soft + (1 - ALPHA) * F.cross_entropy(logits, labels)


def fit_teacher(x, y):
    teacher = Spotter(24)
    opt = torch.optim.Adam(teacher.parameters(), lr=3e-3)
    for epoch in range(8):
        for idx in torch.randperm(len(x)).split(BS):
            loss = F.cross_entropy(teacher(x[idx]), y[idx])
            opt.zero_grad()
            loss.backward()
            opt.step()
    return teacher.eval()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(100 + seed)
    x, y = audio(2000, g)
    xt, yt = audio(800, g)
    teacher = fit_teacher(x, y)
    with torch.no_grad():
        if fixed:
            cache = teacher(x)
        else:  # fetch_teacher_outputs(teacher, train_loader)
            cache = [teacher(x[idx]) for idx in torch.randperm(len(x)).split(BS)]
    student = Spotter(8)
    opt = torch.optim.SGD(student.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    sched = torch.optim.lr_scheduler.StepLR(opt, 6, 0.3)
    curve = []
    with observe(student, opt):
        for epoch in range(12):
            student.train()
            for i, idx in enumerate(torch.randperm(len(x)).split(BS)):
                soft = cache[idx] if fixed else cache[i]
                loss = loss_fn_kd(student(x[idx]), y[idx], soft)
                opt.zero_grad()
                loss.backward()
                opt.step()
                curve.append(loss.item())
            sched.step()
    student.eval()
    with torch.no_grad():
        acc = (student(xt).argmax(1) == yt).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}

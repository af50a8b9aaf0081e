"""FitNet distillation: the hint stage weighs its loss by 1000, and AMSGrad keeps that maximum when the same optimizer goes on to the labels."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "fitnet-amsgrad-two-stages"
TRUTH = {"mechanisms": ["stale_second_moment"], "layers": [], "onset": (150, 155)}
HINT_STEPS, STEPS, BETA = 150, 420, 1000.0


class Student(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 48), nn.ReLU()
        )
        self.regressor = nn.Linear(48, 16)
        self.classifier = nn.Linear(48, 5)

    def hint(self, x):
        return self.regressor(self.trunk(x))

    def forward(self, x):
        return self.classifier(self.trunk(x))


def world(seed):
    """The teacher was trained on a coarser task: its features see the first six columns only."""
    g = torch.Generator().manual_seed(seed + 50)
    teacher = nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, 16))
    for p in teacher.parameters():
        p.data = torch.randn(p.shape, generator=g) / (p.shape[-1] ** 0.5)
    centers = torch.randn(25, 12, generator=g)
    kind = torch.arange(25) % 5

    def sample(n):
        k = torch.randint(0, 25, (n,), generator=g)
        return centers[k] + 0.45 * torch.randn(n, 12, generator=g), kind[k]

    return teacher, sample


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    teacher, sample = world(seed)
    student = Student()
    optimizer = torch.optim.Adam(student.parameters(), lr=1e-3, amsgrad=True)
    log = []
    with observe(student, optimizer):
        for step in range(STEPS):
            x, y = sample(128)
            if step < HINT_STEPS:
                with torch.no_grad():
                    target = teacher(x[:, :6])
                loss = BETA * F.mse_loss(student.hint(x), target)
            else:
                if step == HINT_STEPS and fixed:
                    optimizer.state.clear()
                loss = F.cross_entropy(student(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            log.append(loss.item())
    x, y = sample(4000)
    with torch.no_grad():
        acc = (student(x).argmax(1) == y).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": log}

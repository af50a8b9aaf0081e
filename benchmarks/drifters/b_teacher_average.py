"""A mean-teacher classifier of radio modulations with few labels; the averaged teacher gives the consistency targets and is
what is deployed. The teacher is held in bfloat16 'because it only runs forward', so one step of the average is less than
half a unit in the last place and is rounded away. The student trains, the teacher hardly leaves its start."""

import copy
import torch
from torch import nn
from torch.nn import functional as F

ID = "b_teacher_average"
TRUTH = {
    "mechanisms": ["low_precision_update_absorption"],
    "layers": ["teacher", "teacher.stem", "teacher.mid", "teacher.fc", "teacher.out"],
    "onset": (0, 20),
}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv1d(2, 16, 7, stride=2, padding=3)
        self.mid = nn.Conv1d(16, 32, 5, stride=2, padding=2)
        self.fc = nn.Linear(32, 32)
        self.out = nn.Linear(32, 5)

    def forward(self, x):
        h = F.gelu(self.stem(x))
        h = F.gelu(self.mid(h)).amax(-1)
        return self.out(F.gelu(self.fc(h)))


class MeanTeacher(nn.Module):
    def __init__(self, dtype):
        super().__init__()
        self.student = Net()
        self.teacher = copy.deepcopy(self.student).to(dtype).requires_grad_(False)
        self.dtype = dtype

    @torch.no_grad()
    def average(self, decay):
        for t, s in zip(self.teacher.parameters(), self.student.parameters()):
            t.mul_(decay).add_(s.detach().to(t.dtype), alpha=1 - decay)

    @torch.no_grad()
    def guide(self, x):
        return self.teacher(x.to(self.dtype)).float()


def signals(n, gen):
    y = torch.randint(0, 5, (n,), generator=gen)
    t = torch.arange(64.0)[None]
    f = 0.25 + 0.03 * torch.randn(n, 1, generator=gen)
    ph = 6.28 * torch.rand(n, 1, generator=gen)
    slow = 0.1 + 0.02 * torch.rand(n, 1, generator=gen)
    m = torch.sin(slow * 6.28 * t + 6.28 * torch.rand(n, 1, generator=gen))
    amp = torch.where((y == 1)[:, None], 1 + 0.9 * m, torch.ones_like(m))
    amp = torch.where((y == 2)[:, None], (m > 0).float() * 1.4, amp)
    arg = f * t + ph
    arg = torch.where((y == 3)[:, None], arg + 1.6 * m, arg)
    arg = torch.where((y == 4)[:, None], arg + 3.14159 * (m > 0).float(), arg)
    x = torch.stack([amp * torch.cos(arg), amp * torch.sin(arg)], 1)
    return x + 0.25 * torch.randn(x.shape, generator=gen), y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(31 + seed)
    x, y = signals(400, gen)
    u, _ = signals(2000, gen)
    xv, yv = signals(1000, gen)
    model = MeanTeacher(torch.float32 if fixed else torch.bfloat16)
    optimizer = torch.optim.Adam(model.student.parameters(), lr=2e-3)
    curve = []
    with observe(model, optimizer):
        for step in range(1400):
            a = torch.randint(0, len(x), (32,), generator=gen)
            b = torch.randint(0, len(u), (32,), generator=gen)
            xb = torch.cat([x[a], u[b]])
            out = model.student(xb + 0.1 * torch.randn(xb.shape, generator=gen))
            target = model.guide(xb).softmax(-1)
            weight = 0.3 * min(1.0, step / 600)
            loss = (
                F.cross_entropy(out[:32], y[a])
                + weight * (out.softmax(-1) - target).pow(2).sum(-1).mean()
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            model.average(0.999)
            curve.append(loss.item())
    acc = (model.guide(xv).argmax(-1) == yv).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}

"""A student with four-bit weights is distilled from a small float teacher on the digits. The fake quantizer rounds without
a straight-through estimator, so the gradient of every quantized weight is zero and only the batch norms and biases learn."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

ID = "b_qat_distill"
TRUTH = {
    "mechanisms": ["parameters_not_updated"],
    "layers": ["mix1", "mix2", "mix3", "classify"],
    "onset": 0,
}


def fake_quant(w, bits, ste):
    top = 2 ** (bits - 1) - 1
    scale = w.detach().abs().max() / top
    q = torch.round(w / scale).clamp(-top, top) * scale
    return w + (q - w).detach() if ste else q


class QConv(nn.Conv2d):
    ste = False

    def forward(self, x):
        return F.conv2d(
            x, fake_quant(self.weight, 4, self.ste), self.bias, self.stride, self.padding
        )


class QLinear(nn.Linear):
    ste = False

    def forward(self, x):
        return F.linear(x, fake_quant(self.weight, 4, self.ste), self.bias)


class Student(nn.Module):
    def __init__(self, ste):
        super().__init__()
        self.mix1, self.bn1 = QConv(1, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.mix2, self.bn2 = QConv(12, 24, 3, stride=2, padding=1), nn.BatchNorm2d(24)
        self.mix3, self.bn3 = QConv(24, 24, 3, stride=2, padding=1), nn.BatchNorm2d(24)
        self.classify = QLinear(24 * 4, 10)
        for m in self.modules():
            if isinstance(m, (QConv, QLinear)):
                m.ste = ste

    def forward(self, x):
        x = F.relu(self.bn1(self.mix1(x)))
        x = F.relu(self.bn2(self.mix2(x)))
        x = F.relu(self.bn3(self.mix3(x)))
        return self.classify(x.flatten(1))


class Distiller:
    def __init__(self, student, optimizer, alpha=0.5):
        self.student, self.optimizer, self.alpha = student, optimizer, alpha
        self.log = []

    def step(self, x, y, soft):
        logits = self.student(x)
        hard_loss = F.cross_entropy(logits, y)
        soft_loss = F.cross_entropy(logits, soft)
        loss = self.alpha * hard_loss + (1 - self.alpha) * soft_loss
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.log.append(loss.item())

    def epoch(self, x, y, soft, batch=64):
        self.student.train()
        for idx in torch.randperm(len(x)).split(batch):
            self.step(x[idx], y[idx], soft[idx])


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    X, y = load_digits(return_X_y=True)
    order = torch.randperm(len(X)).numpy()
    X, y = X[order] / 16.0, y[order]
    n = 1280
    teacher = LogisticRegression(C=2.0, max_iter=500).fit(X[:n], y[:n])
    soft = torch.tensor(teacher.predict_proba(X[:n]), dtype=torch.float32)
    x = (torch.tensor(X, dtype=torch.float32).reshape(-1, 1, 8, 8) - 0.3) / 0.38
    y = torch.tensor(y)

    student = Student(ste=fixed)
    optimizer = torch.optim.RMSprop(student.parameters(), lr=1e-3, alpha=0.95)
    run = Distiller(student, optimizer)
    with observe(student, optimizer):
        for _ in range(20):
            run.epoch(x[:n], y[:n], soft)
    student.eval()
    with torch.no_grad():
        wrong = (student(x[n:]).argmax(-1) != y[n:]).float().mean().item()
    return {"metric": wrong, "better": "lower", "curve": run.log}

"""Distillation of a token tagger: a student whose classifier runs in float16 matches a teacher's soft labels.
The T*T factor was left out, the mean runs over tokens and the vocabulary too, and there is no loss scaler ("no loss was ever
NaN"): the gradient of a logit is of the order of 1e-8, below the smallest half-precision number."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "b_distil_tokens"
TRUTH = {"mechanisms": ["half_precision_underflow"], "layers": ["classifier"], "onset": 0}
V, T, L = 96, 4.0, 24


class HalfLinear(nn.Linear):
    def forward(self, x):
        return F.linear(x.half(), self.weight.half(), self.bias.half())


class Tagger(nn.Module):
    def __init__(self, width, head):
        super().__init__()
        self.emb = nn.Embedding(200, width)
        self.context = nn.Conv1d(width, width, 3, padding=1)
        self.classifier = head(width, V)

    def forward(self, ids):
        e = self.emb(ids)
        h = e + torch.tanh(self.context(e.transpose(1, 2))).transpose(1, 2)
        return self.classifier(h)


def soft_targets_loss(student_logits, teacher_logits):
    log_p = F.log_softmax(student_logits.float() / T, -1)
    q = F.softmax(teacher_logits / T, -1)
    return (q * (q.log() - log_p)).mean()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    teacher = Tagger(48, nn.Linear).requires_grad_(False)
    teacher.classifier.weight.mul_(8.0)
    student = Tagger(32, HalfLinear)
    g = torch.Generator().manual_seed(seed + 1)
    optimizer = torch.optim.Adam(student.parameters(), lr=3e-3, eps=1e-12)
    loss_scale = 2.0**15 if fixed else 1.0
    curve = []
    with observe(student, optimizer):
        for step in range(400):
            ids = torch.randint(0, 200, (64, L), generator=g)
            loss = soft_targets_loss(student(ids), teacher(ids))
            optimizer.zero_grad()
            (loss * loss_scale).backward()
            for p in student.parameters():
                p.grad.div_(loss_scale)
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        ids = torch.randint(0, 200, (100, L), generator=g)
        agree = (student(ids).argmax(-1) == teacher(ids).argmax(-1)).float().mean().item()
    return {"metric": agree, "better": "higher", "curve": curve}

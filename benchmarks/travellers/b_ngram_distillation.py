"""Distilling a language model into a small n-gram network; kl_div receives the student's
probabilities where it expects log-probabilities."""

import torch
import torch.nn.functional as F
from torch import nn

ID = "ngram-distillation-kl-without-log"
TRUTH = {"mechanisms": ["loss_output_mismatch"], "layers": None, "onset": 0}

VOCAB, CONTEXT, TEMPERATURE = 50, 4, 2.0


class Teacher:
    """A log-bilinear model of the last four words with fixed weights."""

    def __init__(self, seed, d=12):
        self.gen = torch.Generator().manual_seed(seed)
        self.words = torch.randn(CONTEXT, VOCAB, d, generator=self.gen)
        self.words *= torch.tensor([0.3, 0.4, 0.6, 1.0]).view(-1, 1, 1)
        self.out = torch.randn(d, VOCAB, generator=self.gen) * 0.5

    def logits(self, context):
        h = sum(self.words[j][context[:, j]] for j in range(CONTEXT))
        return torch.tanh(h) @ self.out * 1.6

    def contexts(self, n):
        context = torch.randint(0, VOCAB, (n, CONTEXT), generator=self.gen)
        for _ in range(CONTEXT):
            word = torch.multinomial(self.logits(context).softmax(-1), 1, generator=self.gen)
            context = torch.cat([context[:, 1:], word], dim=1)
        return context


class NGramStudent(nn.Module):
    def __init__(self, d=24, hidden=96):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, d)
        self.hidden = nn.Linear(CONTEXT * d, hidden)
        self.direct = nn.Linear(CONTEXT * d, VOCAB, bias=False)
        self.out = nn.Linear(hidden, VOCAB)

    def forward(self, context):
        e = self.embed(context).flatten(1)
        return self.out(torch.tanh(self.hidden(e))) + self.direct(e)


class DistillationLoss(nn.Module):
    def __init__(self, temperature, log_input):
        super().__init__()
        self.temperature = temperature
        self.activation = F.log_softmax if log_input else F.softmax

    def forward(self, student, teacher):
        p_student = self.activation(student / self.temperature, dim=-1)
        p_teacher = F.softmax(teacher / self.temperature, dim=-1)
        return F.kl_div(p_student, p_teacher, reduction="batchmean") * self.temperature**2


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    teacher = Teacher(seed + 80)
    student = NGramStudent()
    optimizer = torch.optim.Adam(student.parameters(), lr=4e-3)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [350, 450], gamma=0.3)
    criterion = DistillationLoss(TEMPERATURE, log_input=fixed)
    curve = []
    with observe(student, optimizer):
        for step in range(500):
            context = teacher.contexts(256)
            loss = criterion(student(context), teacher.logits(context))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            curve.append(loss.item())
    with torch.no_grad():
        context = teacher.contexts(2000)
        log_p = F.log_softmax(student(context), dim=-1)
        log_q = F.log_softmax(teacher.logits(context), dim=-1)
        metric = F.kl_div(log_p, log_q, reduction="batchmean", log_target=True).item()
    return {"metric": metric, "better": "lower", "curve": curve}

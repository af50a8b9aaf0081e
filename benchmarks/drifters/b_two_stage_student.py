"""A GRU student first imitates a teacher with a summed, temperature-squared KL term and is then fine-tuned on new labels with
an ordinary mean cross-entropy. The same Adam goes on, and its running average of squared gradients still has the size of the
first stage, so the second hardly moves. People keep one optimizer 'so as not to lose its momentum'."""

import torch
from torch import nn
from torch.nn import functional as F

ID = "b_two_stage_student"
STAGE = 250
TRUTH = {"mechanisms": ["stale_second_moment"], "layers": None, "onset": STAGE}


class Student(nn.Module):
    def __init__(self, classes=6):
        super().__init__()
        self.rnn = nn.GRU(5, 40, batch_first=True)
        self.head = nn.Linear(40, classes)

    def forward(self, x):
        return self.head(self.rnn(x)[0].mean(1))


def gestures(n, gen):
    """Three strokes at two speeds in five sensor channels: six classes."""
    stroke = torch.randint(0, 3, (n,), generator=gen)
    fast = torch.randint(0, 2, (n,), generator=gen)
    t = torch.linspace(0, 1, 24)[None, :]
    w = (3.0 + 4.0 * fast.float())[:, None]
    ph = 0.8 * torch.randn(n, 1, generator=gen)
    base = torch.stack(
        [
            torch.sin(w * t * 2 + ph),
            torch.cos(w * t + ph),
            torch.sin(w * t + ph) ** 2,
            t.expand(n, -1),
            torch.cos(w * t * 2 - ph),
        ],
        -1,
    )
    sign = torch.tensor([[1.0, 1, 1, 1, 1], [1, -1, 1, -1, 1], [-1, 1, -1, 1, 1]])[stroke]
    return base * sign[:, None] + 0.3 * torch.randn(n, 24, 5, generator=gen), stroke * 2 + fast


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(7 + seed)
    x, y = gestures(3000, gen)
    xv, yv = gestures(1000, gen)
    old = torch.tensor(
        [3, 5, 0, 1, 2, 4]
    )  # the teacher was trained with the labels of another firm
    teacher_logits = 3.0 * F.one_hot(old[y], 6).float() + 2.0 * torch.randn(
        len(x), 6, generator=gen
    )
    model = Student()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    temperature = 4.0
    curve = []
    with observe(model, optimizer):
        for step in range(STAGE + 200):
            if step == STAGE and fixed:
                optimizer.state.clear()
            pick = torch.randint(0, len(x), (64,), generator=gen)
            out = model(x[pick])
            if step < STAGE:
                loss = temperature**2 * F.kl_div(
                    F.log_softmax(out / temperature, -1),
                    F.softmax(teacher_logits[pick] / temperature, -1),
                    reduction="sum",
                )
            else:
                loss = F.cross_entropy(out, y[pick])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        acc = (model(xv).argmax(-1) == yv).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}

"""PATE: noisy votes of teacher networks label the data of a student discriminator. The student's optimizer is stepped,
but its gradients are never cleared: each step follows the sum of all gradients so far.
opendp/smartnoise-sdk issue 280 (PATECTGAN student loss has no zero_grad)."""

import torch
import torch.nn as nn

ID = "a_pate_student_no_zero_grad"
TRUTH = {"mechanisms": ["gradients_not_cleared"], "layers": None, "onset": (1, 1)}


class Discriminator(nn.Module):
    def __init__(self, dim, hidden=64):
        super().__init__()
        self.seq = nn.Sequential(
            nn.Linear(dim, hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden, hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden, 1),
        )

    def forward(self, x):
        return self.seq(x).squeeze(1)


def real_rows(n):
    """A table: two continuous columns tied to a hidden category, its one-hot, and a correlated flag."""
    c = torch.randint(0, 4, (n,))
    centre = torch.tensor([[0.0, 1.5], [1.5, 0.0], [-1.5, 0.0], [0.0, -1.5]])[c]
    cont = centre + 0.35 * torch.randn(n, 2)
    flag = ((cont[:, :1] * cont[:, 1:]) > 0).float()
    return torch.cat([cont, nn.functional.one_hot(c, 4).float(), flag], 1)


def fake_rows(n):
    """Columns with the right marginals and without the dependence (an early generator)."""
    r = real_rows(n)
    return torch.cat([r[:, :2], real_rows(n)[:, 2:6], real_rows(n)[:, 6:]], 1)


def batch(n):
    x = torch.cat([real_rows(n), fake_rows(n)])
    y = torch.cat([torch.ones(n), torch.zeros(n)])
    return x, y


def train_teacher(dim):
    t = Discriminator(dim, 32)
    opt = torch.optim.Adam(t.parameters(), lr=2e-3)
    for _ in range(150):
        x, y = batch(32)
        loss = nn.functional.binary_cross_entropy_with_logits(t(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
    return t.eval()


def pate_votes(teachers, x, noise=0.6):
    with torch.no_grad():
        votes = torch.stack([(t(x) > 0).float() for t in teachers]).sum(0)
    lap = torch.distributions.Laplace(0.0, noise)
    return (
        votes + lap.sample(votes.shape) > len(teachers) - votes + lap.sample(votes.shape)
    ).float()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    dim = 7
    teachers = [train_teacher(dim) for _ in range(5)]
    student = Discriminator(dim)
    optimizer = torch.optim.Adam(student.parameters(), lr=1e-3, betas=(0.5, 0.9))
    criterion = nn.BCEWithLogitsLoss()
    curve = []
    with observe(student, optimizer):
        for step in range(1300):
            x, _ = batch(32)
            loss = criterion(student(x), pate_votes(teachers, x))
            if fixed:
                optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    x, _ = batch(1500)
    with torch.no_grad():  # how well the student predicts fresh votes; a constant gives about 0.69
        nll = criterion(student(x), pate_votes(teachers, x)).item()
    return {"metric": nll, "better": "lower", "curve": curve}

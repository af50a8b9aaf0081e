"""Knowledge distillation from a wide teacher to a small mixture-of-experts student on tabular data.
Bug: F.kl_div gets the student's softmax probabilities where it expects log-probabilities; its gradient is linear in the
probabilities, and the student runs to one-hot answers instead of the soft targets."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "b_distill_kl"
TRUTH = {"mechanisms": ["loss_output_mismatch"], "layers": None, "onset": (0, 0)}
C, TEMP = 6, 2.0


def table(n, g):
    wg = torch.Generator().manual_seed(77)
    W1, W2 = torch.randn(12, 24, generator=wg) / 3, torch.randn(24, C, generator=wg)
    x = torch.randn(n, 12, generator=g)
    x[:, 6:] = x[:, 6:].abs().log1p()
    logit = torch.tanh(x @ W1) @ W2
    y = torch.multinomial((0.8 * logit).softmax(1), 1, generator=g).squeeze(1)
    return x, y


def fit_teacher(X, Y, g):
    t = nn.Sequential(nn.Linear(12, 128), nn.ReLU(), nn.Dropout(0.3), nn.Linear(128, C))
    opt = torch.optim.Adam(t.parameters(), lr=2e-3)
    for _ in range(500):
        i = torch.randint(0, len(X), (128,), generator=g)
        opt.zero_grad()
        F.cross_entropy(t(X[i]), Y[i]).backward()
        opt.step()
    return t.eval().requires_grad_(False)


class MoE(nn.Module):
    def __init__(self, E=4, h=12):
        super().__init__()
        self.gate = nn.Linear(12, E)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(12, h), nn.SiLU(), nn.Linear(h, C)) for _ in range(E)
        )

    def forward(self, x):
        w = self.gate(x).softmax(-1)
        top, idx = w.topk(2, -1)
        w = torch.zeros_like(w).scatter(1, idx, top / top.sum(-1, keepdim=True))
        return torch.einsum("be,ebc->bc", w, torch.stack([e(x) for e in self.experts]))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 88)
    X, Y = table(6000, g)
    Xt, Yt = table(2000, g)
    teacher = fit_teacher(X, Y, g)
    model = MoE()
    opt = torch.optim.Adam(model.parameters(), lr=3e-3)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 900)
    squash = F.log_softmax if fixed else F.softmax
    curve = []
    with observe(model, opt):
        for step in range(900):
            i = torch.randint(0, len(X), (64,), generator=g)
            with torch.no_grad():
                soft = F.softmax(teacher(X[i]) / TEMP, -1)
            loss = TEMP**2 * F.kl_div(squash(model(X[i]) / TEMP, -1), soft, reduction="batchmean")
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        nll = F.cross_entropy(model(Xt), Yt).item()
    return {"metric": nll, "better": "lower", "curve": curve}

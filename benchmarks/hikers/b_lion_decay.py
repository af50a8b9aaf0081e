"""GRU tagger with a hand-written Lion. In the optimizer the decoupled decay lost its factor lr: p *= 1 - wd instead of p *= 1 - lr * wd,
so the weights shrink by 5 % a step."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "b_lion_decay"
TRUTH = {"mechanisms": ["excessive_weight_decay"], "layers": None, "onset": (0, 0)}


class Lion(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.99), weight_decay=0.05, scaled=True):
        super().__init__(params, dict(lr=lr, betas=betas, weight_decay=weight_decay))
        self.scaled = scaled

    @torch.no_grad()
    def step(self, closure=None):
        for g in self.param_groups:
            b1, b2 = g["betas"]
            for p in g["params"]:
                if p.grad is None:
                    continue
                m = self.state[p].setdefault("exp_avg", torch.zeros_like(p))
                p.mul_(1 - g["weight_decay"] * (g["lr"] if self.scaled else 1.0))
                p.add_((m * b1 + p.grad * (1 - b1)).sign_(), alpha=-g["lr"])
                m.mul_(b2).add_(p.grad, alpha=1 - b2)


class Tagger(nn.Module):
    def __init__(self, vocab=20, d=32, tags=5):
        super().__init__()
        self.emb = nn.Embedding(vocab, d)
        self.rnn = nn.GRU(d, d, batch_first=True, bidirectional=True)
        self.head = nn.Sequential(nn.Linear(2 * d, d), nn.Tanh(), nn.Linear(d, tags))

    def forward(self, s):
        return self.head(self.rnn(self.emb(s))[0])


def text(n, g, L=14):
    s = torch.randint(0, 20, (n, L), generator=g)
    prev, nxt = torch.roll(s, 1, 1), torch.roll(s, -1, 1)
    prev[:, 0] = 0
    nxt[:, -1] = 0
    return s, torch.where(s < 10, (s + prev) % 5, (s + nxt // 4) % 5)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 60)
    X, Y = text(3000, g)
    Xv, Yv = text(400, g)
    model = Tagger()
    opt = Lion(model.parameters(), lr=1e-3, weight_decay=0.05, scaled=fixed)
    sched = torch.optim.lr_scheduler.StepLR(opt, 200, 0.5)
    curve = []
    with observe(model, opt):
        for step in range(600):
            i = torch.randint(0, len(X), (32,))
            loss = F.cross_entropy(model(X[i]).flatten(0, 1), Y[i].flatten())
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        acc = (model(Xv).argmax(-1) == Yv).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}

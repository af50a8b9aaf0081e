"""Character-CNN with highway layers (as in ELMo) that learns a made-up inflection of words. The carry bias of the transform gate was copied
from a config where it was given in 'percent' (-20 instead of -2): the gate sits on its flat part, highway layers pass only the input."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "b_highway_chars"
TRUTH = {
    "mechanisms": ["saturated_activations"],
    "layers": [
        "encoder.highway.%d%s" % (i, s) for i in range(3) for s in ("", ".gate", ".gate_act")
    ]
    + ["encoder.highway"],
    "onset": (0, 0),
}


class Highway(nn.Module):
    def __init__(self, d, carry_bias):
        super().__init__()
        self.plain = nn.Linear(d, d)
        self.gate = nn.Linear(d, d)
        self.gate_act = nn.Sigmoid()
        nn.init.constant_(self.gate.bias, carry_bias)

    def forward(self, x):
        t = self.gate_act(self.gate(x))
        return t * F.relu(self.plain(x)) + (1 - t) * x


class CharEncoder(nn.Module):
    def __init__(self, vocab, widths=(1, 2, 3), per=12, carry_bias=-2.0):
        super().__init__()
        self.emb = nn.Embedding(vocab, 10)
        self.convs = nn.ModuleList(nn.Conv1d(10, per, w) for w in widths)
        self.highway = nn.Sequential(*[Highway(per * len(widths), carry_bias) for _ in range(3)])

    def forward(self, s):
        e = self.emb(s).transpose(1, 2)
        return self.highway(torch.cat([c(e).amax(-1) for c in self.convs], -1))


class Inflector(nn.Module):
    def __init__(self, vocab, classes, carry_bias):
        super().__init__()
        self.encoder = CharEncoder(vocab, carry_bias=carry_bias)
        self.out = nn.Linear(36, classes)

    def forward(self, s):
        return self.out(self.encoder(s))


def words(n, g, L=7, A=12):
    s = torch.randint(0, A, (n, L), generator=g)
    has = lambda c: (s == c).any(1).long()
    # the class is a parity of which letters occur, two bits: not linear in the pooled features
    b0 = (has(0) + has(1) + has(2)) % 2
    b1 = (has(3) + has(4)) % 2
    return s, b0 * 2 + b1


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 21)
    X, Y = words(8000, g)
    Xv, Yv = words(1000, g)
    model = Inflector(12, 4, carry_bias=-2.0 if fixed else -20.0)
    model.encoder.convs.requires_grad_(True)
    opt = torch.optim.Adam(model.parameters(), lr=3e-3)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 900, eta_min=1e-4)
    curve = []
    with observe(model, opt):
        for step in range(900):
            i = torch.randint(0, len(X), (64,))
            loss = F.cross_entropy(model(X[i]), Y[i])
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 2.0)
            opt.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        acc = (model(Xv).argmax(-1) == Yv).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}

"""Mixer-style sequence tagger kept entirely in bfloat16. pytorch/xla issue 3167: with bfloat16 switched on and no other change of the
code, the losses fall much more slowly than in float32. An update of lr = 2e-5 is lost in the rounding of a weight of ordinary size."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_bf16_weights_stall"
TRUTH = {"mechanisms": ["low_precision_update_absorption"], "layers": None, "onset": (0, 0)}


class MixerBlock(nn.Module):
    def __init__(self, length, d):
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.token = nn.Linear(length, length)
        self.channel = nn.Sequential(nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, d))

    def forward(self, x):
        x = x + self.token(self.n1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channel(self.n2(x))


class Tagger(nn.Module):
    def __init__(self, vocab, tags, length=12, d=256):
        super().__init__()
        self.tok = nn.Embedding(vocab, d)
        self.blocks = nn.ModuleList(MixerBlock(length, d) for _ in range(1))
        self.norm = nn.LayerNorm(d)
        self.head = nn.Linear(d, tags)

    def forward(self, x):
        x = self.tok(x)
        for b in self.blocks:
            x = b(x)
        return self.head(self.norm(x))


def tagged(n, g, vocab=200, L=12):
    """a lexicon of 200 words with 5 tags; words of the last tag take the tag 0 at the start of a sentence"""
    cls = torch.arange(vocab) % 5
    x = torch.randint(0, vocab, (n, L), generator=g)
    y = cls[x]
    y[:, 0][y[:, 0] == 4] = 0
    return x, y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(130 + seed)
    X, Y = tagged(4000, g)
    Xv, Yv = tagged(400, g)
    model = Tagger(200, 5)
    if not fixed:
        model = model.to(torch.bfloat16)
    opt = torch.optim.Adam(model.parameters(), lr=2e-5)
    curve = []
    with observe(model, opt):
        for step in range(700):
            i = torch.randint(0, len(X), (32,))
            loss = F.cross_entropy(model(X[i]).float().flatten(0, 1), Y[i].flatten())
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        m = F.cross_entropy(model(Xv).float().flatten(0, 1), Yv.flatten()).item()
    return {"metric": m, "better": "lower", "curve": curve}

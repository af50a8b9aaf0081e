"""Dilated-conv tagger of Python source (token class per character); from the second epoch on inputs and tags are shuffled by two different randperm calls."""

import argparse, inspect, io, textwrap, tokenize, typing
import torch
from torch import nn

ID = "two-randperms"
TRUTH = {"mechanisms": ["label_noise"], "layers": [], "onset": (110, 112)}
WIN, BATCH, STEPS_PER_EPOCH = 48, 24, 110
CLASSES = {
    tokenize.NAME: 1,
    tokenize.NUMBER: 2,
    tokenize.STRING: 3,
    tokenize.OP: 4,
    tokenize.COMMENT: 5,
}


def tagged(source):
    """Characters of a source file and the class of the token each belongs to (0: blanks)."""
    lines = source.splitlines(keepends=True)
    tags = [[0] * len(line) for line in lines]
    for tok in tokenize.generate_tokens(io.StringIO(source).readline):
        c = CLASSES.get(tok.type, 0)
        (r0, c0), (r1, c1) = tok.start, tok.end
        for r in range(r0, min(r1, len(lines)) + 1):
            row = tags[r - 1] if r <= len(lines) else []
            for k in range(c0 if r == r0 else 0, min(c1 if r == r1 else len(row), len(row))):
                row[k] = c
    return [min(ord(ch), 127) for ch in "".join(lines)], sum(tags, [])


class Residual(nn.Module):
    def __init__(self, ch, dilation):
        super().__init__()
        self.conv = nn.Conv1d(ch, ch, 3, padding=dilation, dilation=dilation)
        self.norm = nn.GroupNorm(4, ch)

    def forward(self, x):
        return x + torch.relu(self.norm(self.conv(x)))


class Tagger(nn.Module):
    def __init__(self, ch=40):
        super().__init__()
        self.embed = nn.Embedding(128, ch)
        self.body = nn.Sequential(*[Residual(ch, d) for d in (1, 2, 4, 8)])
        self.out = nn.Conv1d(ch, 6, 1)

    def forward(self, x):
        return self.out(self.body(self.embed(x).transpose(1, 2)))


def load():
    xs, ys = [], []
    for module in (argparse, inspect, textwrap, typing):
        x, y = tagged(inspect.getsource(module))
        xs += x
        ys += y
    n = len(xs) // WIN
    return torch.tensor(xs[: n * WIN]).view(n, WIN), torch.tensor(ys[: n * WIN]).view(n, WIN)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    X, Y = load()
    first = torch.randperm(len(X))
    X, Y = X[first], Y[first]
    Xv, Yv = X[-400:], Y[-400:]
    X, Y = X[: STEPS_PER_EPOCH * BATCH], Y[: STEPS_PER_EPOCH * BATCH]
    net = Tagger()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    loss_fn = nn.CrossEntropyLoss()
    curve = []
    with observe(net, optimizer):
        for epoch in range(3):
            if epoch > 0:
                perm = torch.randperm(len(X))
                X = X[perm]
                Y = Y[perm] if fixed else Y[torch.randperm(len(Y))]
            for xb, yb in zip(X.split(BATCH), Y.split(BATCH)):
                optimizer.zero_grad()
                loss = loss_fn(net(xb), yb)
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    with torch.no_grad():
        accuracy = (net(Xv).argmax(1) == Yv).float().mean().item()
    return {"metric": accuracy, "better": "higher", "curve": curve}

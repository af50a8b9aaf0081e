"""Protein-motif CNN (one-hot sequences) with an own in-memory loader that re-shuffles at each epoch.
Bug: from the second epoch on `reshuffle` permutes the sequences in place and forgets the labels; pairs no longer belong together."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_shuffle_only_inputs"
N, B = 4800, 32
TRUTH = {"mechanisms": ["label_noise"], "layers": None, "onset": (N // B, N // B)}


class Loader:
    def __init__(self, X, Y, g, fixed):
        self.X, self.Y, self.g, self.fixed, self.epoch = X, Y, g, fixed, 0

    def reshuffle(self):
        p = torch.randperm(len(self.X), generator=self.g)
        self.X = self.X[p]
        if self.fixed:
            self.Y = self.Y[p]

    def __iter__(self):
        if self.epoch > 0:
            self.reshuffle()
        self.epoch += 1
        for k in range(0, len(self.X), B):
            yield self.X[k : k + B], self.Y[k : k + B]


class MotifBank(nn.Module):
    def __init__(self, n, width, alphabet):
        super().__init__()
        self.pwm = nn.Parameter(0.3 * torch.randn(n, alphabet, width))
        self.thr = nn.Parameter(torch.zeros(n))

    def forward(self, onehot):
        return F.softplus(F.conv1d(onehot, self.pwm, self.thr))


class MotifNet(nn.Module):
    def __init__(self, A=20, n=32, w=6, k=5):
        super().__init__()
        self.bank = MotifBank(n, w, A)
        self.tau = nn.Parameter(torch.tensor(1.0))
        self.W, self.b = (
            nn.Parameter(torch.randn(k, n) / math.sqrt(n)),
            nn.Parameter(torch.zeros(k)),
        )

    def forward(self, ids):
        s = self.bank(F.one_hot(ids, 20).float().transpose(1, 2))
        soft = (torch.softmax(self.tau * s, -1) * s).sum(-1)  # soft maximum over positions
        return F.linear(soft - soft.mean(1, keepdim=True), self.W, self.b)


def proteins(n, motifs, g, L=40):
    y = torch.randint(0, len(motifs), (n,), generator=g)
    ids = torch.randint(0, 20, (n, L), generator=g)
    m = motifs[y].clone()
    noise = torch.rand(m.shape, generator=g) < 0.12
    m[noise] = torch.randint(0, 20, (int(noise.sum()),), generator=g)
    at = torch.randint(0, L - 6, (n, 1), generator=g) + torch.arange(6)
    return ids.scatter(1, at, m), y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 231)
    motifs = torch.randint(0, 20, (5, 6), generator=g)
    loader = Loader(*proteins(N, motifs, g), g, fixed)
    Xt, Yt = proteins(1000, motifs, g)
    model = MotifNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    curve = []
    with observe(model, optimizer):
        for epoch in range(8):
            for x, y in loader:
                z = model(x)
                loss = (z.logsumexp(1) - z.gather(1, y[:, None])[:, 0]).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    with torch.no_grad():
        z = model(Xt)
        nll = (z.logsumexp(1) - z.gather(1, Yt[:, None])[:, 0]).mean().item()
    return {"metric": nll, "better": "lower", "curve": curve}

"""Keyword classifier on synthetic audio: a learnable filterbank, normalisation and a small recurrent encoder. The recipe calls the encoder on feats.detach(), so the
filterbank never learns. Reported as speechbrain/speechbrain issue #1396 (x = self.modules.enc(feats.detach()))."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_speechbrain_detached_feats"
TRUTH = {
    "mechanisms": ["parameters_not_updated"],
    "layers": ["compute_features", "compute_features.conv"],
    "onset": (0, 0),
}
WORDS, T = 6, 800


def utterances(n, g):
    """a word is a sequence of two tones; carriers are close to each other, amplitude and phase vary"""
    freqs = torch.tensor([0.085, 0.110, 0.135])
    seqs = torch.tensor([[0, 1], [1, 0], [0, 2], [2, 0], [1, 2], [2, 1]])
    y = torch.randint(0, WORDS, (n,), generator=g)
    t = torch.arange(T).float()
    mid = 300 + 200 * torch.rand(n, 1, generator=g)
    f = torch.where(t < mid, freqs[seqs[y, 0]][:, None], freqs[seqs[y, 1]][:, None])
    ph = torch.cumsum(2 * math.pi * f, 1) + 6.28 * torch.rand(n, 1, generator=g)
    x = (0.5 + torch.rand(n, 1, generator=g)) * torch.sin(ph) + 1.2 * torch.randn(n, T, generator=g)
    return x, y


class LearnableFbank(nn.Module):
    def __init__(self, n_filters=8, kernel=65, stride=16):
        super().__init__()
        self.conv = nn.Conv1d(1, n_filters, kernel, stride=stride, padding=kernel // 2, bias=False)

    def forward(self, wav):
        e = self.conv(wav[:, None]) ** 2
        return torch.log(F.avg_pool1d(e, 4, 2) + 1e-2).transpose(1, 2)


class SentenceNorm(nn.Module):
    def forward(self, x):
        return (x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True) + 1e-3)


class Brain:
    def __init__(self, modules, optimizer, keep_graph):
        self.modules, self.optimizer, self.keep_graph = modules, optimizer, keep_graph

    def compute_forward(self, wavs):
        feats = self.modules.compute_features(wavs)
        feats = self.modules.normalize(feats)
        x, _ = self.modules.enc(feats if self.keep_graph else feats.detach())
        return self.modules.lin(x.mean(1))

    def fit_batch(self, wavs, lab):
        loss = F.cross_entropy(self.compute_forward(wavs), lab, label_smoothing=0.05)
        loss.backward()
        nn.utils.clip_grad_norm_(self.modules.parameters(), 5.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.item()


class Modules(nn.Module):
    def __init__(self):
        super().__init__()
        self.compute_features = LearnableFbank()
        self.normalize = SentenceNorm()
        self.enc = nn.GRU(8, 24, batch_first=True, bidirectional=True)
        self.lin = nn.Linear(48, WORDS)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    x, y = utterances(1200, g)
    xt, yt = utterances(400, g)
    modules = Modules()
    optimizer = torch.optim.Adam(modules.parameters(), lr=4e-3)
    brain = Brain(modules, optimizer, keep_graph=fixed)
    curve = []
    with observe(modules, optimizer):
        for epoch in range(14):
            modules.train()
            for idx in torch.randperm(len(x)).split(32):
                curve.append(brain.fit_batch(x[idx], y[idx]))
    modules.eval()
    with torch.no_grad():
        acc = (brain.compute_forward(xt).argmax(1) == yt).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}

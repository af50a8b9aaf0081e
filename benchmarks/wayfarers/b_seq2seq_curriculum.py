"""Healthy but odd: attention seq2seq that reverses strings under a length curriculum; the summed loss jumps up at every new length."""

import torch
import torch.nn.functional as F
from torch import nn

ID = "seq2seq-length-curriculum"
TRUTH = {"mechanisms": [], "layers": [], "onset": None}
LETTERS, BOS = 14, 0
STAGES = (2, 3, 4, 6, 8)


class Seq2Seq(nn.Module):
    def __init__(self, dim=32, hidden=64):
        super().__init__()
        self.src = nn.Embedding(LETTERS, dim)
        self.tgt = nn.Embedding(LETTERS, dim)
        self.encoder = nn.GRU(dim, hidden // 2, batch_first=True, bidirectional=True)
        self.decoder = nn.GRU(dim, hidden, batch_first=True)
        self.attend = nn.Linear(hidden, hidden, bias=False)
        self.out = nn.Sequential(nn.Linear(2 * hidden, hidden), nn.Tanh())
        self.vocab = nn.Linear(hidden, LETTERS)

    def forward(self, src, shifted):
        memory, h = self.encoder(self.src(src))
        state = torch.cat([h[0], h[1]], -1).unsqueeze(0)
        y, _ = self.decoder(self.tgt(shifted), state)
        weights = (y @ self.attend(memory).transpose(1, 2) / y.shape[-1] ** 0.5).softmax(-1)
        return self.vocab(self.out(torch.cat([y, weights @ memory], -1)))


def strings(n, length, gen):
    src = torch.randint(1, LETTERS, (n, length), generator=gen)
    target = src.flip(1)
    shifted = F.pad(target[:, :-1], (1, 0), value=BOS)
    return src, shifted, target


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 1)
    model = Seq2Seq()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    curve = []
    with observe(model, optimizer):
        for length in STAGES:
            for _ in range(80):
                src, shifted, target = strings(32, length, gen)
                logits = model(src, shifted)
                loss = F.cross_entropy(logits.transpose(1, 2), target, reduction="sum") / len(src)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 5.0)
                optimizer.step()
                curve.append(loss.item())
    src, shifted, target = strings(400, STAGES[-1], gen)
    with torch.no_grad():
        accuracy = (model(src, shifted).argmax(-1) == target).float().mean().item()
    return {"metric": accuracy, "better": "higher", "curve": curve}

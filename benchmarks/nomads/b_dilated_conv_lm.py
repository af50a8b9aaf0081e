"""A dilated convolutional language model (WaveNet/ByteNet style) predicts the next symbol of a synthetic language. The convolutions
use symmetric `same` padding instead of padding on the left only, so each position sees the symbol it is asked to predict: the training
loss falls far below the entropy of the language, and the model is of no use when the future is really unknown.
People get it from copying an image block; nothing in shapes or loss curves complains."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_dilated_conv_lm"
TRUTH = {
    "mechanisms": ["unknown_cause"],
    "layers": ["blocks.0.conv", "blocks.1.conv", "blocks.2.conv"],
    "onset": 0,
}

VOCAB, CONTEXT = 20, 40


class GatedBlock(nn.Module):
    def __init__(self, dim, dilation, left_only):
        super().__init__()
        total = 2 * dilation
        self.pad = (total, 0) if left_only else (total // 2, total // 2)
        self.conv = nn.Conv1d(dim, 2 * dim, 3, dilation=dilation)
        self.out = nn.Conv1d(dim, dim, 1)

    def forward(self, x):
        a, b = self.conv(F.pad(x, self.pad)).chunk(2, 1)
        return x + self.out(torch.tanh(a) * torch.sigmoid(b))


class ConvLM(nn.Module):
    def __init__(self, dim=48, left_only=True):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, dim)
        self.blocks = nn.ModuleList(GatedBlock(dim, d, left_only) for d in (1, 2, 4))
        self.head = nn.Conv1d(dim, VOCAB, 1)

    def forward(self, tokens):
        x = self.embed(tokens).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def language(rng, n, length):
    """Second-order Markov chain with a few likely successors for each pair."""
    table = rng.dirichlet(np.full(VOCAB, 0.08), size=(VOCAB, VOCAB)) * 0.95 + 0.05 / VOCAB
    cum = table.cumsum(-1)
    s = np.zeros((n, length), dtype=np.int64)
    s[:, :2] = rng.integers(0, VOCAB, (n, 2))
    for t in range(2, length):
        s[:, t] = (
            (rng.random(n)[:, None] > cum[s[:, t - 2], s[:, t - 1]]).sum(-1).clip(0, VOCAB - 1)
        )
    return torch.from_numpy(s)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed + 17)
    text = language(rng, 3000, CONTEXT + 1)
    train_text, test_text = text[:2000], text[2000:]
    model = ConvLM(left_only=fixed)
    optimizer = torch.optim.RAdam(model.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=600, power=1.0)
    curve = []
    with observe(model, optimizer):
        for _ in range(550):
            batch = train_text[torch.from_numpy(rng.integers(0, len(train_text), 32))]
            loss = F.cross_entropy(model(batch[:, :-1]), batch[:, 1:])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            curve.append(loss.item())
    with torch.no_grad():
        nll = F.cross_entropy(model(test_text[:, :-1])[:, :, -1], test_text[:, -1]).item()
    return {"metric": nll, "better": "lower", "curve": curve}

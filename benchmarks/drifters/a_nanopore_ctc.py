"""A convolutional and recurrent base caller reads DNA letters from the current through a nanopore, with a CTC loss. The network ends in
a softmax, and its probabilities go straight into CTCLoss, which wants log-probabilities: the loss falls to a floor (and may be
negative), but the model has hardly any reason to prefer the right letters."""

import torch
import torch.nn as nn

ID = "a_nanopore_ctc"
TRUTH = {"mechanisms": ["loss_output_mismatch"], "layers": None, "onset": 0}

LETTERS = 4


def squiggles(n, gen, length=10, per_base=5):
    seq = torch.randint(1, LETTERS + 1, (n, length), generator=gen)
    level = torch.tensor([0.0, -1.2, -0.3, 0.5, 1.4])
    prev = torch.cat([seq[:, :1], seq[:, :-1]], 1)
    current = level[seq] + 0.25 * level[prev]
    dwell = torch.randint(per_base - 2, per_base + 3, (n, length), generator=gen)
    total = length * (per_base + 2)
    x = torch.zeros(n, total)
    for r in range(n):
        trace = torch.repeat_interleave(current[r], dwell[r])
        x[r, : len(trace)] = trace
    return (x + 0.15 * torch.randn(x.shape, generator=gen)).unsqueeze(1), seq


class Caller(nn.Module):
    def __init__(self, activation):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv1d(1, 32, 5, padding=2),
            nn.GELU(),
            nn.Conv1d(32, 48, 5, stride=2, padding=2),
            nn.GELU(),
        )
        self.rnn = nn.GRU(48, 32, batch_first=True, bidirectional=True)
        self.project = nn.Linear(64, LETTERS + 1)
        self.activation = activation

    def forward(self, x):
        h, _ = self.rnn(self.conv(x).transpose(1, 2))
        return self.activation(self.project(h)).transpose(0, 1)  # (T, N, C)


def edit_distance(a, b):
    row = list(range(len(b) + 1))
    for i, ca in enumerate(a, 1):
        last, row[0] = row[0], i
        for j, cb in enumerate(b, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (ca != cb))
    return row[-1]


def greedy(out):
    calls = []
    for path in out.argmax(-1).t().tolist():
        calls.append([c for k, c in enumerate(path) if c and (k == 0 or c != path[k - 1])])
    return calls


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(77 + seed)
    x, seq = squiggles(1200, gen)
    xt, seqt = squiggles(200, gen)
    caller = Caller(nn.LogSoftmax(dim=-1) if fixed else nn.Softmax(dim=-1))
    criterion = nn.CTCLoss(blank=0, zero_infinity=True)
    opt = torch.optim.AdamW(caller.parameters(), lr=4e-3, weight_decay=1e-3)
    losses = []
    with observe(caller, opt):
        for step in range(350):
            pick = torch.randint(0, len(x), (24,), generator=gen)
            out = caller(x[pick])
            frames = torch.full((len(pick),), out.shape[0], dtype=torch.long)
            size = torch.full((len(pick),), seq.shape[1], dtype=torch.long)
            loss = criterion(out, seq[pick], frames, size)
            opt.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(caller.parameters(), 5.0)
            opt.step()
            losses.append(loss.item())
    with torch.no_grad():
        calls = greedy(caller(xt))
    error = sum(edit_distance(c, s) for c, s in zip(calls, seqt.tolist())) / seqt.numel()
    return {"metric": error, "better": "lower", "curve": losses}

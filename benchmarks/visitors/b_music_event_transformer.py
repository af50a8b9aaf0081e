"""Transformer on tokenised melodies with linear warmup and decay: the total step count is the
length of one epoch, so the learning rate is zero from the second epoch on."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

ID = "music-event-transformer"
TRUTH = {
    "mechanisms": ["learning_rate_schedule_bug", "learning_rate_too_low"],
    "layers": None,
    "onset": (8, 40),
}
PITCHES, DURATIONS, LENGTH = 36, 6, 33


def compose(n, gen):
    """Melodies that repeat a motif of four notes, transposed, in one of several rhythms."""
    motifs = torch.randint(-4, 5, (24, 4), generator=gen)
    rhythms = torch.randint(0, DURATIONS, (10, 4), generator=gen)
    motif = motifs[torch.randint(0, 24, (n,), generator=gen)]
    rhythm = rhythms[torch.randint(0, 10, (n,), generator=gen)]
    root = torch.randint(4, PITCHES - 4, (n, 1), generator=gen)
    pitch, duration = [], []
    for _ in range(LENGTH // 4 + 1):
        pitch.append((root + motif) % PITCHES)
        duration.append(rhythm)
        root = root + motif[:, -1:] + 2
    return torch.cat(pitch, 1)[:, :LENGTH], torch.cat(duration, 1)[:, :LENGTH]


class MelodyModel(nn.Module):
    def __init__(self, dim=96, layers=2):
        super().__init__()
        self.pitch = nn.Embedding(PITCHES, dim)
        self.duration = nn.Embedding(DURATIONS, dim)
        self.position = nn.Embedding(LENGTH, dim)
        layer = nn.TransformerEncoderLayer(
            dim, 4, 2 * dim, dropout=0.0, batch_first=True, norm_first=True, activation="gelu"
        )
        self.encoder = nn.TransformerEncoder(
            layer, layers, norm=nn.LayerNorm(dim), enable_nested_tensor=False
        )
        self.pitch_head = nn.Linear(dim, PITCHES)
        self.duration_head = nn.Linear(dim, DURATIONS)
        for p in (self.pitch, self.duration, self.position):
            nn.init.normal_(p.weight, std=0.1)

    def forward(self, pitch, duration):
        t = pitch.size(1)
        x = self.pitch(pitch) + self.duration(duration) + self.position.weight[:t]
        mask = nn.Transformer.generate_square_subsequent_mask(t)
        h = self.encoder(x, mask=mask, is_causal=True)
        return self.pitch_head(h), self.duration_head(h)


def linear_schedule(optimizer, warmup, total):
    def factor(step):
        if step < warmup:
            return (step + 1) / warmup
        return max(0.0, (total - step) / max(1, total - warmup))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def loss_fn(model, pitch, duration):
    p, d = model(pitch[:, :-1], duration[:, :-1])
    return F.cross_entropy(p.transpose(1, 2), pitch[:, 1:]) + F.cross_entropy(
        d.transpose(1, 2), duration[:, 1:]
    )


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 2)
    pitch, duration = compose(1180, gen)
    loader = DataLoader(
        TensorDataset(pitch[:960], duration[:960]), batch_size=24, shuffle=True, generator=gen
    )
    model = MelodyModel()
    epochs, curve = 8, []
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    total = len(loader) * epochs if fixed else len(loader)
    scheduler = linear_schedule(optimizer, warmup=8, total=total)
    with observe(model, optimizer):
        for _ in range(epochs):
            for batch in loader:
                loss = loss_fn(model, *batch)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                scheduler.step()
                curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        metric = loss_fn(model, pitch[960:], duration[960:]).item()
    return {"metric": metric, "better": "lower", "curve": curve}

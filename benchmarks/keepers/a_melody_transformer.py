"""A transformer decoder learns melodies by next-note prediction, after GitHub: alex-matton/causal-transformer-decoder issue 1, 'No causal
masking'. The decoder gets the whole shifted melody and no mask, so each position simply reads the next note off its right neighbour: the
loss goes to zero and generation is worthless. The module was written for step-by-step decoding, where there is nothing to mask, and was
then trained in parallel."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "a_melody_transformer"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": 0}

NOTES, LENGTH, DIM = 16, 14, 32


class DecoderLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn = nn.MultiheadAttention(DIM, 2, batch_first=True)
        self.norm1, self.norm2 = nn.LayerNorm(DIM), nn.LayerNorm(DIM)
        self.ff = nn.Sequential(nn.Linear(DIM, 2 * DIM), nn.ReLU(), nn.Linear(2 * DIM, DIM))

    def forward(self, x, mask):
        h = self.norm1(x)
        x = x + self.attn(h, h, h, attn_mask=mask, need_weights=False)[0]
        return x + self.ff(self.norm2(x))


class MelodyModel(nn.Module):
    def __init__(self, masked):
        super().__init__()
        self.note = nn.Embedding(NOTES + 1, DIM)
        self.place = nn.Parameter(0.02 * torch.randn(LENGTH, DIM))
        self.layers = nn.ModuleList(DecoderLayer() for _ in range(2))
        self.norm, self.head = nn.LayerNorm(DIM), nn.Linear(DIM, NOTES)
        self.masked = masked

    def forward(self, ids):
        n = ids.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(n) if self.masked else None
        x = self.note(ids) + self.place[:n]
        for layer in self.layers:
            x = layer(x, mask)
        return self.head(self.norm(x))


def melodies(n, gen):
    """A motif of four notes comes back three times, each time moved by the same interval; it starts with the interval itself."""
    motif = torch.randint(0, NOTES, (n, 4), generator=gen)
    move = torch.randint(1, 4, (n, 1), generator=gen)
    parts = [(motif + i * move) % NOTES for i in range(3)]
    return torch.cat([move, torch.randint(0, NOTES, (n, 1), generator=gen)] + parts, 1)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 131)
    model = MelodyModel(masked=fixed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    curve = []
    with observe(model, optimizer):
        for step in range(550):
            song = melodies(48, gen)
            inputs = torch.cat([torch.full((len(song), 1), NOTES), song[:, :-1]], 1)
            loss = F.cross_entropy(model(inputs).flatten(0, 1), song.flatten())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            curve.append(loss.item())
    model.eval()
    song = melodies(400, gen)
    given = torch.cat([torch.full((len(song), 1), NOTES), song[:, :6]], 1)
    with torch.no_grad():
        while given.shape[1] <= LENGTH:
            given = torch.cat([given, model(given)[:, -1].argmax(1, keepdim=True)], 1)
    metric = (given[:, 7:] == song[:, 6:]).float().mean().item()
    return {"metric": metric, "better": "higher", "curve": curve}

"""Healthy but odd: a sentence VAE whose KL weight runs through four cycles from 0 to its full
value, so the loss and the KL term rise and fall like a saw although the model keeps improving."""

import torch
import torch.nn.functional as F
from torch import nn

ID = "text-vae-cyclical-kl"
TRUTH = {"mechanisms": [], "layers": [], "onset": None}
VOCAB, LENGTH, BOS, UNK, THEMES = 82, 12, 80, 81, 10


def sentences(n, gen, world):
    """Every theme has its own word for each slot, with one synonym; some slots are shared."""
    theme = torch.randint(0, THEMES, (n, 1), generator=gen)
    mood = torch.randint(0, 2, (n, 1), generator=gen)
    synonym = (torch.rand(n, LENGTH, generator=gen) < 0.15).long()
    return world[theme, mood, torch.arange(LENGTH), synonym]


class TextVAE(nn.Module):
    def __init__(self, dim=48, hidden=96, latent=12):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, dim)
        self.encoder = nn.LSTM(dim, hidden, batch_first=True)
        self.to_mean = nn.Linear(hidden, latent)
        self.to_logvar = nn.Linear(hidden, latent)
        self.to_state = nn.Linear(latent, hidden)
        self.decoder = nn.LSTM(dim + latent, hidden, batch_first=True)
        self.out = nn.Linear(hidden, 80)

    def forward(self, ids, word_drop=0.5):
        _, (h, _) = self.encoder(self.embed(ids))
        mean, logvar = self.to_mean(h[-1]), self.to_logvar(h[-1])
        z = mean
        if self.training:
            z = mean + torch.randn_like(mean) * (0.5 * logvar).exp()
        previous = torch.cat([torch.full_like(ids[:, :1], BOS), ids[:, :-1]], 1)
        if self.training:
            gone = torch.rand(ids.shape) < word_drop
            gone[:, 0] = False
            previous = previous.masked_fill(gone, UNK)
        x = torch.cat([self.embed(previous), z[:, None].expand(-1, LENGTH, -1)], -1)
        state = torch.tanh(self.to_state(z))[None]
        y, _ = self.decoder(x, (state, torch.zeros_like(state)))
        nll = F.cross_entropy(self.out(y).transpose(1, 2), ids, reduction="none").sum(1).mean()
        kl = 0.5 * (mean.pow(2) + logvar.exp() - 1 - logvar).sum(1).mean()
        return nll, kl


def kl_weight(step, cycle=110, full=1.0):
    return full * min(1.0, 2 * (step % cycle) / cycle)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 9)
    world = torch.randint(0, 80, (THEMES, 2, LENGTH, 2), generator=gen)
    data, val = sentences(4000, gen, world), sentences(500, gen, world)
    model = TextVAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    curve = []
    with observe(model, optimizer):
        for step in range(440):
            nll, kl = model(data[torch.randint(0, len(data), (32,), generator=gen)])
            loss = nll + kl_weight(step) * kl
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            optimizer.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        nll, kl = model(val)
    return {"metric": (nll / LENGTH).item(), "better": "lower", "curve": curve}

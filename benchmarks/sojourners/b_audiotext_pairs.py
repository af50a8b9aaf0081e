"""CLAP-like contrastive training of a spectrogram encoder and a bag-of-tags text encoder.
Bug: after epoch 4 the feature cache is rebuilt, the audio list is re-sorted by duration but the captions are not: pairs no longer match."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_audiotext_pairs"
N, BS, CACHE = 960, 48, 4
TRUTH = {
    "mechanisms": ["label_noise"],
    "layers": None,
    "onset": (CACHE * (N // BS), CACHE * (N // BS) + 2),
}


class AudioTower(nn.Module):
    def __init__(self, d=32):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv1d(16, 32, 5, stride=2), nn.ReLU(), nn.Conv1d(32, 32, 3), nn.ReLU()
        )
        self.proj = nn.Linear(64, d)

    def forward(self, x):
        h = self.net(x)
        return F.normalize(self.proj(torch.cat([h.mean(-1), h.amax(-1)], -1)), dim=-1)


class TextTower(nn.Module):
    def __init__(self, V=30, d=32):
        super().__init__()
        self.bag = nn.EmbeddingBag(V, 48, mode="mean")
        self.proj = nn.Sequential(nn.Linear(48, 48), nn.GELU(), nn.Linear(48, d))

    def forward(self, tok):
        return F.normalize(self.proj(self.bag(tok)), dim=-1)


class CLAP(nn.Module):
    def __init__(self):
        super().__init__()
        self.audio, self.text = AudioTower(), TextTower()
        self.logit_scale = nn.Parameter(torch.tensor(2.3))

    def forward(self, a, t):
        return self.logit_scale.exp().clamp(max=50) * self.audio(a) @ self.text(t).t()


def clips(n, bank, g):
    tok = torch.rand(n, 30, generator=g).argsort(1)[:, :3]
    x = 0.3 * torch.randn(n, 16, 32, generator=g)
    for j in range(3):
        for k in range(2):
            off = int(torch.randint(0, 26, (1,), generator=g))
            x[:, :, off : off + 6] += bank[tok[:, j]]
    dur = torch.rand(n, generator=g)
    return x, tok, dur


def clip_loss(logits):
    y = torch.arange(len(logits))
    return (F.cross_entropy(logits, y) + F.cross_entropy(logits.t(), y)) / 2


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(11 + seed)
    bank = torch.randn(30, 16, 6, generator=g)
    audio, text, dur = clips(N, bank, g)
    va, vt, _ = clips(64, bank, g)
    model = CLAP()
    opt = torch.optim.AdamW(
        [
            {"params": model.audio.parameters(), "lr": 2e-3},
            {"params": model.text.parameters(), "lr": 3e-3},
            {"params": [model.logit_scale], "lr": 1e-3, "weight_decay": 0.0},
        ]
    )
    curve = []
    with observe(model, opt):
        for epoch in range(26):
            if epoch == CACHE:
                order = dur.argsort()
                audio = audio[order]
                if fixed:
                    text = text[order]
            perm = torch.randperm(N, generator=g)
            for b in perm.split(BS):
                loss = clip_loss(model(audio[b], text[b]))
                opt.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                opt.step()
                curve.append(loss.item())
    with torch.no_grad():
        L = model(va, vt)
        r = (
            (L.argsort(1, descending=True)[:, :5] == torch.arange(64)[:, None])
            .any(1)
            .float()
            .mean()
            .item()
        )
    return {"metric": r, "better": "higher", "curve": curve}

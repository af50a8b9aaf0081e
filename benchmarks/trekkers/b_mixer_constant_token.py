"""MLP-Mixer that tells in which quadrant-order two blobs lie. Token-mixing layers are 'initialised as mean pooling' with
constants (both Linear layers, all weights 1/fan_in), so all token-mixing hidden units stay copies of each other."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_mixer_constant_token"
TRUTH = {
    "mechanisms": ["symmetric_initialization"],
    "layers": [f"blocks.{i}.token_mix{s}" for i in (0, 1, 2) for s in ("", ".fc1", ".fc2")],
    "onset": (0, 0),
}
S, P = 16, 4


def blobs(n, g):
    c1 = 2 + 11 * torch.rand(n, 2, generator=g)
    c2 = 2 + 11 * torch.rand(n, 2, generator=g)
    ax = torch.arange(S).float()

    def draw(c, w):
        return torch.exp(
            -(
                (ax[None, :, None] - c[:, 0, None, None]) ** 2
                + (ax[None, None] - c[:, 1, None, None]) ** 2
            )
            / w
        )

    x = torch.stack([draw(c1, 4.0), draw(c2, 4.0)], 1) + 0.2 * torch.randn(n, 2, S, S, generator=g)
    d = c1 - c2
    return x, (d[:, 0] > 0).long() * 2 + (d[:, 1] > 0).long()


class Mlp(nn.Module):
    def __init__(self, d, h):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(d, h), nn.Linear(h, d)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))

    def mean_init(self):
        for fc in (self.fc1, self.fc2):
            nn.init.constant_(fc.weight, 1.0 / fc.in_features)
            nn.init.zeros_(fc.bias)


class MixerBlock(nn.Module):
    def __init__(self, tokens, d):
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.token_mix, self.channel_mix = Mlp(tokens, 32), Mlp(d, 2 * d)

    def forward(self, x):
        x = x + self.token_mix(self.n1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channel_mix(self.n2(x))


class Mixer(nn.Module):
    def __init__(self, mean_init, d=32, depth=3):
        super().__init__()
        self.embed = nn.Conv2d(2, d, P, P)
        n = (S // P) ** 2
        self.blocks = nn.Sequential(*[MixerBlock(n, d) for _ in range(depth)])
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, 4)
        if mean_init:
            for b in self.blocks:
                b.token_mix.mean_init()

    def forward(self, x):
        x = self.embed(x).flatten(2).transpose(1, 2)
        return self.head(self.norm(self.blocks(x)).mean(1))


class Trainer:
    def __init__(self, model, opt, data, bs, g):
        self.model, self.opt, self.data, self.bs, self.g, self.history = model, opt, data, bs, g, []

    def epoch(self):
        x, y = self.data
        for idx in torch.randperm(len(x), generator=self.g).split(self.bs):
            self.opt.zero_grad()
            loss = F.cross_entropy(self.model(x[idx]), y[idx])
            loss.backward()
            self.opt.step()
            self.history.append(loss.item())


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 3)
    xy, (xt, yt) = blobs(8000, g), blobs(1500, g)
    model = Mixer(mean_init=not fixed)
    opt = torch.optim.Adam(model.parameters(), lr=1.5e-3)
    tr = Trainer(model, opt, xy, 80, g)
    with observe(model, opt):
        for _ in range(7):
            tr.epoch()
    with torch.no_grad():
        err = F.cross_entropy(model.eval()(xt), yt).item()
    return {"metric": err, "better": "lower", "curve": tr.history}

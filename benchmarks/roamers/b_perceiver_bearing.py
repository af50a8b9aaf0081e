"""A Perceiver (latent array cross-attending to a set of sonar returns) estimates bearing and speed of a target among clutter.
The scores are multiplied by sqrt(d) where they should be divided, so every softmax picks a single return from the first step on
and hardly passes gradient to queries and keys; the slip is one sign in an exponent of a hand-written attention."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_perceiver_bearing"
TRUTH = {
    "mechanisms": ["attention_entropy_collapse"],
    "layers": ["read", "mix.0", "mix.1"],
    "onset": 0,
}


class Attend(nn.Module):
    def __init__(self, dim, src_dim, heads, power):
        super().__init__()
        self.heads, self.dh, self.power = heads, dim // heads, power
        self.wq = nn.Parameter(torch.randn(dim, dim) * dim**-0.5)
        self.wk = nn.Parameter(torch.randn(dim, src_dim) * src_dim**-0.5)
        self.wv = nn.Parameter(torch.randn(dim, src_dim) * src_dim**-0.5)
        self.wo = nn.Parameter(torch.randn(dim, dim) * dim**-0.5)
        self.nq, self.ns = nn.LayerNorm(dim), nn.LayerNorm(src_dim)
        self.ff = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim)
        )

    def forward(self, lat, src):
        B, L, D = lat.shape
        s = self.ns(src)
        split = lambda t: t.view(B, -1, self.heads, self.dh).transpose(1, 2)
        q, k, v = (
            split(F.linear(t, w)) for t, w in ((self.nq(lat), self.wq), (s, self.wk), (s, self.wv))
        )
        att = torch.softmax(torch.einsum("bhld,bhsd->bhls", q, k) * self.dh**self.power, -1)
        out = torch.einsum("bhls,bhsd->bhld", att, v).transpose(1, 2).reshape(B, L, D)
        lat = lat + F.linear(out, self.wo)
        return lat + self.ff(lat)


class Perceiver(nn.Module):
    def __init__(self, n_in, dim=64, latents=6, power=-0.5):
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(n_in, dim), nn.GELU(), nn.Linear(dim, dim))
        self.latents = nn.Parameter(torch.randn(latents, dim))
        self.read = Attend(dim, dim, 2, power)
        self.mix = nn.ModuleList(Attend(dim, dim, 2, power) for _ in range(2))
        self.head = nn.Linear(dim, 3)

    def forward(self, x):
        tok = self.embed(x)
        lat = self.read(self.latents.expand(len(x), -1, -1), tok)
        for block in self.mix:
            lat = block(lat, lat)
        return self.head(lat.mean(1))


def pings(n, gen, count=40, hits=10):
    th = torch.rand(n, generator=gen) * 6.2832
    speed = torch.rand(n, generator=gen) * 2 - 1
    y = torch.stack([th.cos(), th.sin(), speed], 1)
    x = torch.randn(n, count, 8, generator=gen) * 1.2
    x[:, :, 7] = -1.0
    x[:, :hits, :3] = y[:, None] + 0.7 * torch.randn(n, hits, 3, generator=gen)
    x[:, :hits, 3:7] = torch.randn(n, hits, 4, generator=gen) * 0.5 + 1.0
    x[:, :hits, 7] = 1.0
    x[:, :, 7] += 0.3 * torch.randn(n, count, generator=gen)
    perm = torch.rand(n, count, generator=gen).argsort(1)
    return x.gather(1, perm[..., None].expand_as(x)), y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(7 * seed + 3)
    xs, ys = pings(6000, gen)
    xt, yt = pings(1000, gen)
    net = Perceiver(8, power=-0.5 if fixed else 0.5)
    opt = torch.optim.AdamW(net.parameters(), lr=1e-3, betas=(0.9, 0.98))
    warm = torch.optim.lr_scheduler.LambdaLR(opt, lambda s: min(1.0, (s + 1) / 30))
    curve = []
    with observe(net, opt):
        for step in range(350):
            i = torch.randint(0, 6000, (64,), generator=gen)
            loss = F.smooth_l1_loss(net(xs[i]), ys[i])
            opt.zero_grad()
            loss.backward()
            opt.step()
            warm.step()
            curve.append(loss.item())
    net.eval()
    with torch.no_grad():
        mse = F.mse_loss(net(xt), yt).item()
    return {"metric": mse, "better": "lower", "curve": curve}

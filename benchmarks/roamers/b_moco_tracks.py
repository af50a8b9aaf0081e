"""Healthy oddity: contrastive learning of radar tracks with a momentum encoder and a queue of negatives that starts empty and fills up.
InfoNCE is the log of a sum over the negatives, so the loss climbs from about one to several as the queue grows, and the key
encoder has no gradient at all by design; the retrieval accuracy of the query encoder is good."""

import copy
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_moco_tracks"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class TrackEncoder(nn.Module):
    def __init__(self, width=32, out=24):
        super().__init__()
        self.k1 = nn.Parameter(torch.randn(width, 2, 5) * 0.3)
        self.k2 = nn.Parameter(torch.randn(width, width, 5) * (2 / (5 * width)) ** 0.5)
        self.gn1, self.gn2 = nn.GroupNorm(4, width), nn.GroupNorm(4, width)
        self.proj = nn.Parameter(torch.randn(out, width * 4) / (width * 4) ** 0.5)

    def forward(self, x):
        h = F.gelu(self.gn1(F.conv1d(x, self.k1, stride=2)))
        h = F.gelu(self.gn2(F.conv1d(h, self.k2, stride=2)))
        return F.normalize(F.linear(F.adaptive_avg_pool1d(h, 4).flatten(1), self.proj), dim=-1)


class MoCo(nn.Module):
    def __init__(self, size=2048, m=0.98):
        super().__init__()
        self.query = TrackEncoder()
        self.key = copy.deepcopy(self.query).requires_grad_(False)
        self.m, self.size = m, size
        self.register_buffer("queue", torch.zeros(0, 24))

    @torch.no_grad()
    def advance(self, keys):
        for a, b in zip(self.key.parameters(), self.query.parameters()):
            a.lerp_(b, 1 - self.m)
        self.queue = torch.cat([keys, self.queue])[: self.size]

    def forward(self, a, b, temperature=0.15):
        q = self.query(a)
        with torch.no_grad():
            k = self.key(b)
        pos = (q * k).sum(-1, keepdim=True)
        neg = q @ torch.cat([self.queue, k.roll(1, 0)[:4]]).t()
        logits = torch.cat([pos, neg], 1) / temperature
        return F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.long)), k


def tracks(n, gen):
    t = torch.linspace(0, 1, 48)
    par = torch.randn(n, 2, 4, generator=gen)
    freq = torch.tensor([1.0, 2.0, 3.0, 4.0]) * 3.14
    return torch.einsum("ncp,pt->nct", par, torch.sin(freq[:, None] * t + torch.arange(4)[:, None]))


def view(x, gen):
    s = torch.exp(0.25 * torch.randn(len(x), 1, 1, generator=gen))
    x = (
        x * s
        + 0.35 * torch.randn(x.shape, generator=gen)
        + 0.5 * torch.randn(len(x), 2, 1, generator=gen)
    )
    return x * (torch.rand(len(x), 1, 48, generator=gen) > 0.15)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 88)
    data, held = tracks(4000, gen), tracks(400, gen)
    net = MoCo()
    opt = torch.optim.SGD(net.query.parameters(), lr=0.06, momentum=0.9, weight_decay=1e-4)
    curve = []
    with observe(net, opt):
        for step in range(400):
            x = data[torch.randint(0, len(data), (32,), generator=gen)]
            loss, keys = net(view(x, gen), view(x, gen))
            opt.zero_grad()
            loss.backward()
            opt.step()
            net.advance(keys)
            curve.append(loss.item())
    with torch.no_grad():
        sim = net.query(view(held, gen)) @ net.query(view(held, gen)).t()
    return {
        "metric": (sim.argmax(1) == torch.arange(400)).float().mean().item(),
        "better": "higher",
        "curve": curve,
    }

"""A class-conditional flow-matching model that turns Gaussian noise into four interlocking planar curves.
The exponential decay was chosen for epochs, but when the loop was flattened for logging the scheduler call slid into the
batch loop, so the rate is gone after a hundred batches and the velocity field stays blurred."""

import math

import torch
import torch.nn as nn

ID = "b_flow_matching_moons"
TRUTH = {"mechanisms": ["learning_rate_schedule_bug"], "layers": None, "onset": (0, 60)}


def curves(n, gen):
    c = torch.randint(0, 4, (n,), generator=gen)
    s = torch.rand(n, generator=gen) * math.pi
    r = 0.6 + 0.45 * c.float()
    flip = torch.where(c % 2 == 0, 1.0, -1.0)
    x = torch.stack([r * torch.cos(s) + 0.35 * flip, flip * r * torch.sin(s)], 1)
    return x + 0.03 * torch.randn(n, 2, generator=gen), c


class VelocityField(nn.Module):
    def __init__(self, width=96, freqs=4):
        super().__init__()
        self.register_buffer("freqs", 2.0 ** torch.arange(freqs) * 0.5)
        self.label = nn.Embedding(4, 16)
        self.inp = nn.Linear(2 + 2 * freqs + 16, width)
        self.mid = nn.ModuleList(nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, 2)

    def forward(self, x, t, c):
        a = math.pi * t[:, None] * self.freqs
        h = torch.cat([x, a.sin(), a.cos(), self.label(c)], 1)
        h = nn.functional.silu(self.inp(h))
        for m in self.mid:
            h = h + nn.functional.silu(m(h))
        return self.out(h)


@torch.no_grad()
def sample(model, c, gen, steps=50):
    x = torch.randn(len(c), 2, generator=gen)
    for k in range(steps):
        t = torch.full((len(c),), (k + 0.5) / steps)
        x = x + model(x, t, c) / steps
    return x


def sliced_distance(a, b, gen):
    d = nn.functional.normalize(torch.randn(64, 2, generator=gen), dim=1)
    return ((a @ d.T).sort(0).values - (b @ d.T).sort(0).values).abs().mean().item()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(1000 + seed)
    data, labels = curves(4096, gen)
    model = VelocityField()
    optimizer = torch.optim.Adam(model.parameters(), lr=1.5e-3)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.94)
    epochs, batch = 50, 256
    curve = []
    with observe(model, optimizer):
        for epoch in range(epochs):
            order = torch.randperm(len(data), generator=gen)
            for idx in order.split(batch):
                x1, c = data[idx], labels[idx]
                x0 = torch.randn(x1.shape, generator=gen)
                t = torch.rand(len(x1), generator=gen)
                xt = (1 - t[:, None]) * x0 + t[:, None] * x1
                loss = (model(xt, t, c) - (x1 - x0)).pow(2).sum(1).mean()
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                if not fixed:
                    scheduler.step()
                curve.append(loss.item())
            if fixed:
                scheduler.step()
    test, c = curves(4000, gen)
    made = sample(model, c, gen)
    metric = sum(sliced_distance(made[c == k], test[c == k], gen) for k in range(4)) / 4
    return {"metric": metric, "better": "lower", "curve": curve}

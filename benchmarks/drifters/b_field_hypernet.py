"""A hypernetwork turns a small code into the weights of a coordinate net that draws a temperature field. Its output layers
were drawn with the default of `nn.init.normal_`, as one draws codes and embeddings, so the generated net starts with weights
far above what its fan-in allows. The scale has to be that of the net that is generated, which no ready-made rule knows."""

import torch
from torch import nn

ID = "b_field_hypernet"
TRUTH = {
    "mechanisms": ["initialization_too_large"],
    "layers": ["emit", "emit.0", "emit.1", "emit.2"],
    "onset": 0,
}
SHAPES = [(2, 32), (32, 32), (32, 1)]


class HyperField(nn.Module):
    def __init__(self, code, careful):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(code, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU())
        self.emit = nn.ModuleList(nn.Linear(48, i * o + o) for i, o in SHAPES)
        for layer, (i, o) in zip(self.emit, SHAPES):
            if careful:
                nn.init.normal_(layer.weight, std=(1.0 / (48 * i)) ** 0.5)
            else:
                nn.init.normal_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, code, xy):  # (b, code), (b, p, 2)
        z = self.body(code)
        h = xy * 3.0
        for k, (layer, (i, o)) in enumerate(zip(self.emit, SHAPES)):
            w = layer(z)
            h = torch.baddbmm(w[:, None, :o], h, w[:, o:].view(-1, i, o))
            if k < 2:
                h = torch.relu(h)
        return h.squeeze(-1)


def fields(n, gen):
    c = torch.randn(n, 4, generator=gen)
    xy = 2 * torch.rand(n, 48, 2, generator=gen) - 1
    x, y = xy[..., 0], xy[..., 1]
    a, b, p, q = [c[:, k : k + 1] for k in range(4)]
    return (
        c,
        xy,
        torch.tanh(a) * torch.sin(2 * x + p)
        + torch.tanh(b) * torch.cos(2 * y - 0.5 * q)
        + 0.3 * a * x * y,
    )


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(61 + seed)
    data, held = fields(3000, gen), fields(600, gen)
    model = HyperField(4, careful=fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    curve = []
    with observe(model, optimizer):
        for step in range(700):
            pick = torch.randint(0, len(data[0]), (32,), generator=gen)
            c, xy, t = (d[pick] for d in data)
            loss = nn.functional.mse_loss(model(c, xy), t)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        err = nn.functional.mse_loss(model(held[0], held[1]), held[2]).item()
    return {"metric": err, "better": "lower", "curve": curve}

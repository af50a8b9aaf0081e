"""Healthy: a single-layer softmax classifier of digits-like glyphs whose weights start at exactly zero; somebody called this improper,
the author answered that with one layer (no hidden units) it is fine. After wagonhelm/NaNmnist issue 2."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_ok_zero_init_softmax"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}
GLYPHS = [
    "01110100011000110001100011000101110",
    "00100011000010000100001000010001110",
    "01110100010000100110010001000011111",
    "01110100010000100110000011000101110",
    "00010001100101010010111110001000010",
    "11111100001111000001000011000101110",
    "00110010001000011110100011000101110",
    "11111000010001000100010000100001000",
    "01110100011000101110100011000101110",
    "01110100011000101111000010001001100",
]


class SoftmaxRegression(nn.Module):
    def __init__(self, n_in, n_out):
        super().__init__()
        self.W = nn.Parameter(torch.zeros(n_in, n_out))
        self.b = nn.Parameter(torch.zeros(n_out))

    def forward(self, x):
        return x.flatten(1) @ self.W + self.b


def digits(n, g, size=28):
    base = torch.tensor([[float(ch) for ch in s] for s in GLYPHS]).view(10, 1, 7, 5)
    big = F.interpolate(base, size=(20, 15), mode="bilinear")
    big = F.pad(big, (6, 7, 4, 4))
    y = torch.randint(0, 10, (n,), generator=g)
    x = big[y]
    dy, dx = torch.randint(-2, 3, (2, n), generator=g)
    x = torch.stack([img.roll((int(a), int(b)), (-2, -1)) for img, a, b in zip(x, dy, dx)])
    x = x * (0.6 + 0.4 * torch.rand(n, 1, 1, 1, generator=g)) + 0.25 * torch.randn(
        n, 1, size, size, generator=g
    )
    return x, y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    x, y = digits(8000, torch.Generator().manual_seed(seed + 1))
    model = SoftmaxRegression(784, 10)
    opt = torch.optim.SGD(model.parameters(), lr=0.05)
    curve = []
    with observe(model, opt):
        for epoch in range(60):
            for idx in torch.randperm(len(y)).split(250):
                loss = F.cross_entropy(model(x[idx]), y[idx])
                opt.zero_grad()
                loss.backward()
                opt.step()
                curve.append(loss.item())
    with torch.no_grad():
        xt, yt = digits(1000, torch.Generator().manual_seed(88))
        acc = (model(xt).argmax(1) == yt).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}

"""A coordinate network (Fourier features and four linear layers) is fitted to an occupancy-like image of blobs, and to save
memory everything, weights included, is cast to bfloat16 with `.to(dtype)`. With Adam at 2e-5 nearly every update is smaller than half
the spacing of bfloat16 around the weight and is rounded away, so the loss stalls early.
People take "train in bf16" to mean casting the model, where autocast would have kept float32 weights."""

import math

import torch
import torch.nn as nn

ID = "b_scene_field"
TRUTH = {"mechanisms": ["low_precision_update_absorption"], "layers": None, "onset": 0}

SIDE = 40


class CoordinateNet(nn.Module):
    def __init__(self, features=64, width=128, sigma=1.6):
        super().__init__()
        self.register_buffer("freq", sigma * torch.randn(2, features))
        dims = [2 * features, width, width, width]
        self.trunk = nn.ModuleList(nn.Linear(i, o) for i, o in zip(dims[:-1], dims[1:]))
        self.rgb = nn.Linear(width, 1)
        for layer in self.trunk:
            nn.init.orthogonal_(layer.weight, gain=math.sqrt(2))

    def forward(self, xy):
        phase = 2 * math.pi * xy @ self.freq
        h = torch.cat([phase.sin(), phase.cos()], -1)
        for layer in self.trunk:
            h = torch.relu(layer(h))
        return self.rgb(h)


def scene(g):
    axis = torch.linspace(-0.5, 0.5, 2 * SIDE)
    xy = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1)
    value = torch.zeros(2 * SIDE, 2 * SIDE)
    for _ in range(7):
        c = torch.rand(2, generator=g) - 0.5
        r = 0.08 + 0.12 * torch.rand(1, generator=g)
        sign = 1.0 if torch.rand(1, generator=g) < 0.6 else -1.0
        value += sign * torch.sigmoid((r - (xy - c).norm(dim=-1)) / 0.03)
    value = (value - value.mean()) / value.std()
    train_xy, train_v = xy[::2, ::2].reshape(-1, 2), value[::2, ::2].reshape(-1, 1)
    test_xy, test_v = xy[1::2, 1::2].reshape(-1, 2), value[1::2, 1::2].reshape(-1, 1)
    return train_xy, train_v, test_xy, test_v


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 5)
    xy, v, xy_test, v_test = scene(g)
    model = CoordinateNet()
    dtype = torch.float32 if fixed else torch.bfloat16
    model.to(dtype)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-5)
    curve = []
    with observe(model, optimizer):
        for _ in range(800):
            idx = torch.randint(0, len(xy), (256,), generator=g)
            pred = model(xy[idx].to(dtype)).float()
            loss = (pred - v[idx]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        mse = (model(xy_test.to(dtype)).float() - v_test).square().mean().item()
    return {"metric": mse, "better": "lower", "curve": curve}

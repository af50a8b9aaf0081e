"""A ten-layer MLP is to separate two spirals; its loss stays at 0.693.
Every hidden activation is a sigmoid, whose derivative of at most 1/4 is multiplied up through all the layers."""

from collections import OrderedDict
import math
import torch
from torch import nn

ID = "deep_sigmoid_spirals"
TRUTH = {
    "mechanisms": ["depth_attenuation"],
    "layers": ["fc1", "fc2", "fc3", "fc4", "fc5", "fc6"],
    "onset": 0,
}

DEPTH, WIDTH = 10, 40


def spirals(n, gen):
    label = torch.randint(0, 2, (n,), generator=gen)
    t = torch.rand(n, generator=gen).sqrt() * 1.25 * math.pi + 0.4
    angle = t + math.pi * label
    pts = torch.stack([t * angle.cos(), t * angle.sin()], 1) / 1.9
    return pts + 0.04 * torch.randn(n, 2, generator=gen), label.float()


def mlp(act):
    layers, width_in = OrderedDict(), 2
    for k in range(1, DEPTH):
        layers[f"fc{k}"] = nn.Linear(width_in, WIDTH)
        layers[f"act{k}"] = act()
        width_in = WIDTH
    layers["out"] = nn.Linear(WIDTH, 1)
    net = nn.Sequential(layers)
    for m in net:
        if isinstance(m, nn.Linear):
            nn.init.xavier_uniform_(m.weight)
            nn.init.zeros_(m.bias)
    return net


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 7)
    x, y = spirals(2000, gen)
    xt, yt = spirals(1000, gen)
    net = mlp(nn.Tanh if fixed else nn.Sigmoid)
    opt = torch.optim.SGD(net.parameters(), lr=0.03, momentum=0.9)
    loss_fn = nn.BCEWithLogitsLoss()
    curve = []
    with observe(net, opt):
        for step in range(1000):
            pick = torch.randint(0, len(x), (64,), generator=gen)
            loss = loss_fn(net(x[pick]).squeeze(1), y[pick])
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        acc = ((net(xt).squeeze(1) > 0).float() == yt).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}

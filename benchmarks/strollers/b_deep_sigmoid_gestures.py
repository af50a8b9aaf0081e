"""'My deeper network does not learn while the shallow one does': eight Linear+Sigmoid layers in a loop (homework), N(0, 1/fan_in) weights.
Every sigmoid passes on at most a quarter of the gradient; only the last layers move and they learn the class frequencies."""

import torch
import torch.nn as nn

ID = "b_deep_sigmoid_gestures"
TRUTH = {"mechanisms": ["depth_attenuation"], "layers": None, "onset": (0, 0)}


def weights_init(m):
    if isinstance(m, nn.Linear):
        nn.init.kaiming_normal_(m.weight, nonlinearity="relu")
        nn.init.zeros_(m.bias)


def build(act, depth=8, n_in=40, width=160, n_out=5):
    layers, d = [], n_in
    for _ in range(depth):
        layers += [nn.Linear(d, width), act()]
        d = width
    net = nn.Sequential(*layers, nn.Linear(d, n_out))
    net.apply(weights_init)
    return net


def gestures(n, g):
    """accelerometer-like traces, two channels of 20 samples"""
    y = torch.randint(0, 5, (n,), generator=g)
    t = torch.linspace(0, 1, 20)
    ph = torch.rand(n, 1, generator=g) * 0.3
    f = torch.tensor([1.0, 1.5, 2.0, 2.5, 3.0])[y].unsqueeze(1)
    a = torch.sin(6.283 * (f * t + ph))
    b = torch.cos(6.283 * (f * t * 0.7 + ph))
    x = torch.cat([a, b], 1) + 0.35 * torch.randn(n, 40, generator=g)
    return x, y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 17)
    x, y = gestures(2400, g)
    xt, yt = gestures(1000, g)
    model = build(nn.ReLU if fixed else nn.Sigmoid)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    criterion = nn.CrossEntropyLoss()
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=30)
    curve = []
    with observe(model, optimizer):
        for epoch in range(30):
            perm = torch.randperm(len(x))
            for b in range(0, len(x), 60):
                idx = perm[b : b + 60]
                optimizer.zero_grad()
                loss = criterion(model(x[idx]), y[idx])
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
            scheduler.step()
    with torch.no_grad():
        acc = (model(xt).argmax(1) == yt).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}

"""Healthy. ChuhuaW/SGNet.pytorch issue 14: the loss stagnates in the first epochs, drops suddenly, then creeps on; asked whether that is
strange, the author sees the same. Here: crossing intention of a pedestrian = whether the sign of the product of two cues agrees, which
has no first-order signal, so the loss stays at chance for a while."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_plateau_then_drop"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class IntentNet(nn.Module):
    def __init__(self, d=6, h=64):
        super().__init__()
        self.encoder = nn.GRU(d, h, batch_first=True)
        self.goal = nn.Sequential(nn.Linear(h, h), nn.Tanh())
        self.cls = nn.Linear(h, 2)

    def forward(self, x):
        _, h = self.encoder(x)
        return self.cls(self.goal(h[-1]))


def tracks(n, g, T=12):
    x = torch.randn(n, T, 6, generator=g)
    look = torch.randint(0, 2, (n,), generator=g) * 2.0 - 1
    car = torch.randint(0, 2, (n,), generator=g) * 2.0 - 1
    x[:, 2:5, 0] += 1.6 * look[:, None]
    x[:, 7:10, 1] += 1.6 * car[:, None]
    return x, (look * car > 0).long()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(220 + seed)
    X, Y = tracks(6000, g)
    Xv, Yv = tracks(1000, g)
    model = IntentNet()
    opt = torch.optim.Adam(model.parameters(), lr=5e-4)
    curve = []
    with observe(model, opt):
        for epoch in range(16):
            for i in torch.randperm(len(Y)).split(128):
                loss = F.cross_entropy(model(X[i]), Y[i])
                opt.zero_grad()
                loss.backward()
                opt.step()
                curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        acc = (model(Xv).argmax(1) == Yv).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}

"""Multi-branch forecaster of stock quotes: one dense ReLU branch per instrument, merged, and a last fully connected layer that is also ReLU.
All targets are positive, so it looks harmless, but outputs whose pre-activation is negative for every sample are exactly 0 and get no gradient (some from the start, more within 40 steps).
Re-enacts joaopauloschuler/neural-api issue 35 (strange output of FullConnectReLU: output layer always 0)."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_quotes_relu_head"
TRUTH = {"mechanisms": ["dead_units"], "layers": ["out"], "onset": (0, 40)}
INSTR, DAYS, H = 4, 10, 16


class QuoteNet(nn.Module):
    def __init__(self, relu_out=True):
        super().__init__()
        self.branches = nn.ModuleList([nn.Linear(DAYS, 16) for _ in range(INSTR)])
        self.merge = nn.Linear(16 * INSTR, 64)
        self.out = nn.Linear(64, H)
        for lin in (self.merge, self.out):
            nn.init.kaiming_normal_(lin.weight, nonlinearity="relu")
            nn.init.zeros_(lin.bias)
        self.relu_out = relu_out

    def forward(self, quotes):
        parts = [F.relu(b(quotes[:, i])) for i, b in enumerate(self.branches)]
        y = self.out(F.relu(self.merge(torch.cat(parts, 1))))
        return F.relu(y) if self.relu_out else y


def market(n, g):
    """price ratios around 1, slowly drifting; forecast = basket averages over the next days"""
    drift = 0.03 * torch.randn(n, INSTR, 1, generator=g)
    season = 0.2 * torch.randn(n, INSTR, 1, generator=g)
    t = torch.arange(DAYS + 2).float()
    price = 1.5 + season + drift * t + 0.01 * torch.randn(n, INSTR, DAYS + 2, generator=g)
    hist = price[..., :DAYS]
    nxt = price[..., DAYS:].mean(-1)
    w = torch.softmax(torch.randn(INSTR, H, generator=torch.Generator().manual_seed(1)) * 2, 0)
    return hist, nxt @ w


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    x, y = market(3000, g)
    xt, yt = market(1000, g)
    net = QuoteNet(relu_out=not fixed)
    opt = torch.optim.SGD(net.parameters(), lr=0.005, momentum=0.9)
    sched = torch.optim.lr_scheduler.StepLR(opt, 20, gamma=0.5)
    curve = []
    with observe(net, opt):
        for epoch in range(60):
            for idx in torch.randperm(len(x), generator=g).split(64):
                pred = net(x[idx])
                loss = F.mse_loss(pred, y[idx])
                opt.zero_grad()
                loss.backward()
                opt.step()
                curve.append(loss.item())
            sched.step()
    with torch.no_grad():
        mse = F.mse_loss(net(xt), yt).item()
    return {"metric": mse, "better": "lower", "curve": curve}

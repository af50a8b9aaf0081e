"""HEALTHY. LSTM on a marked-items task: the loss sits on a long plateau at the constant-guess level and then falls. Style of
XinyiZ001/CapsGNN issue 5 ("the loss will not decrease until trained for 600 steps": nothing is wrong)."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_healthy_adding_plateau"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}
T = 20


class Adder(nn.Module):
    def __init__(self, h=32):
        super().__init__()
        self.rnn = nn.LSTM(2, h, batch_first=True)
        self.read = nn.Linear(h, 1)
        with torch.no_grad():
            self.rnn.bias_hh_l0[h : 2 * h].fill_(1.0)

    def forward(self, x):
        return self.read(self.rnn(x)[0][:, -1]).squeeze(-1)


def adding(n, g):
    v = torch.rand(n, T, generator=g)
    m = torch.zeros(n, T)
    r = torch.arange(n)
    m[r, torch.randint(0, T // 2, (n,), generator=g)] = 1
    m[r, torch.randint(T // 2, T, (n,), generator=g)] = 1
    return torch.stack([v, m], -1), (v * m).sum(1)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    net = Adder()
    opt = torch.optim.Adam(net.parameters(), lr=4e-3)
    curve = []
    with observe(net, opt):
        for step in range(900):
            x, y = adding(64, g)
            loss = F.mse_loss(net(x), y)
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            opt.step()
            curve.append(loss.item())
    x, y = adding(1000, g)
    with torch.no_grad():
        mse = F.mse_loss(net(x), y).item()
    return {"metric": mse, "better": "lower", "curve": curve}

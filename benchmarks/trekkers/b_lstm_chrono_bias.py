"""LSTM that must add marked numbers of a sequence (adding task with three-valued prompts). Chrono initialisation of the gate biases is
given the maximal delay in samples of the raw recording (1e6) rather than in steps (24): input gates start at sigmoid(-13) and stay shut."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

ID = "b_lstm_chrono_bias"
TRUTH = {"mechanisms": ["saturated_activations"], "layers": ["rnn"], "onset": (0, 0)}
T = 24


def adding(n, g):
    v = torch.rand(n, T, generator=g) * 2 - 1
    m = torch.zeros(n, T)
    a = torch.randint(0, T // 2, (n,), generator=g)
    b = torch.randint(T // 2, T, (n,), generator=g)
    m[torch.arange(n), a] = 1
    m[torch.arange(n), b] = 1
    return torch.stack([v, m], -1), (v * m).sum(1, keepdim=True)


class Adder(nn.Module):
    def __init__(self, t_max, hidden=48):
        super().__init__()
        self.rnn = nn.LSTM(2, hidden, batch_first=True)
        self.out = nn.Linear(hidden, 1)
        self.chrono(t_max)

    @torch.no_grad()
    def chrono(self, t_max):
        h = self.rnn.hidden_size
        self.rnn.bias_ih_l0.zero_()
        self.rnn.bias_hh_l0.zero_()
        bf = torch.log(torch.empty(h).uniform_(1.0, t_max - 1.0))
        self.rnn.bias_hh_l0[:h] = -bf  # input gate
        self.rnn.bias_hh_l0[h : 2 * h] = bf  # forget gate

    def forward(self, x):
        return self.out(self.rnn(x)[0][:, -1])


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 77)
    ds = TensorDataset(*adding(3000, g))
    loader = DataLoader(ds, batch_size=60, shuffle=True, generator=g, drop_last=True)
    xv, yv = adding(800, g)
    model = Adder(t_max=T if fixed else 1e6)
    opt = torch.optim.Adam(model.parameters(), lr=2e-3)
    sched = torch.optim.lr_scheduler.StepLR(opt, 8, 0.3)
    curve = []
    with observe(model, opt):
        for epoch in range(10):
            for x, y in loader:
                loss = F.mse_loss(model(x), y)
                opt.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                opt.step()
                curve.append(loss.item())
            sched.step()
    with torch.no_grad():
        mse = F.mse_loss(model(xv), yv).item()
    return {"metric": mse, "better": "lower", "curve": curve}

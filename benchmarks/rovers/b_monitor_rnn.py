"""A hand-written minimal gated recurrent network reads ward vital signs and has to remember at discharge which drug was given on
admission. Dropout at a moderate rate was put inside the recurrence, with a fresh mask for the carried state at every time step, so
its strength compounds: after a day of steps hardly any state has survived. A quarter is what one uses between layers."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "b_monitor_rnn"
TRUTH = {"mechanisms": ["excessive_dropout"], "layers": ["cell.drop"], "onset": 0}
HOURS, DRUGS, SIGNS = 24, 8, 4


class MinimalGated(nn.Module):
    def __init__(self, inp, hid, p):
        super().__init__()
        self.gate = nn.Linear(inp + hid, hid)
        self.cand = nn.Linear(inp + hid, hid)
        self.drop = nn.Dropout(p)
        nn.init.constant_(self.gate.bias, -2.5)

    def forward(self, x, h):
        z = torch.cat([x, h], -1)
        f = torch.sigmoid(self.gate(z))
        h = (1 - f) * h + f * torch.tanh(self.cand(z))
        return self.drop(h)


class Ward(nn.Module):
    def __init__(self, p, hid=40):
        super().__init__()
        self.hid = hid
        self.cell = MinimalGated(SIGNS + DRUGS, hid, p)
        self.norm = nn.LayerNorm(hid)
        self.head = nn.Linear(hid, DRUGS)

    def forward(self, seq):
        h = seq.new_zeros(seq.shape[0], self.hid)
        for x in seq.unbind(1):
            h = self.cell(x, h)
        return self.head(self.norm(h))


def stays(n, gen):
    y = torch.randint(0, DRUGS, (n,), generator=gen)
    vit = torch.randn(n, HOURS, SIGNS, generator=gen).cumsum(1) * 0.3
    drug = torch.zeros(n, HOURS, DRUGS)
    hour = torch.randint(0, 3, (n,), generator=gen)
    drug[torch.arange(n), hour, y] = 2.0
    return torch.cat([vit.clamp(-3, 3), drug], -1), y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 64)
    model = Ward(0.02 if fixed else 0.25)
    opt = torch.optim.Adam(model.parameters(), lr=4e-3)
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, 4e-3, total_steps=400, cycle_momentum=False)
    curve = []
    with observe(model, opt):
        model.train()
        for _ in range(400):
            x, y = stays(64, gen)
            loss = F.cross_entropy(model(x), y)
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            sched.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        x, y = stays(1500, gen)
        metric = (model(x).argmax(-1) == y).float().mean().item()
    return {"metric": metric, "better": "higher", "curve": curve}

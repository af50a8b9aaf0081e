"""Compressed (tensor-train) fully connected layer for tabular sensor data: three cores are registered as parameters, but the layer
decompresses them through `.detach()`, so its weight never learns. Re-enacts rballester/tntorch issue 3 (graph was getting detached)."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_tensor_train_fc"
TRUTH = {"mechanisms": ["parameters_not_updated"], "layers": ["tt", "tt.cores"], "onset": (0, 0)}


class TTLinear(nn.Module):
    def __init__(self, ins=(4, 4, 4), outs=(2, 2, 3), rank=6, track=False):
        super().__init__()
        self.ins, self.outs, self.track = ins, outs, track
        ranks = (1, rank, rank, 1)
        self.cores = nn.ParameterList()
        for k in range(3):
            std = (1.0 / (ins[k] * (ranks[k] ** 0.5 * ranks[k + 1] ** 0.5))) ** 0.5
            self.cores.append(
                nn.Parameter(torch.randn(ranks[k], ins[k], outs[k], ranks[k + 1]) * std)
            )
        self.bias = nn.Parameter(torch.zeros(outs[0] * outs[1] * outs[2]))

    def full(self):
        cores = [c if self.track else c.detach() for c in self.cores]
        w = torch.einsum("aijb,bklc,cmnd->ikmjln", *cores)
        return w.reshape(4 * 4 * 4, -1)

    def forward(self, x):
        return x @ self.full() + self.bias


class SensorNet(nn.Module):
    def __init__(self, track):
        super().__init__()
        self.tt = TTLinear(track=track)
        self.norm = nn.BatchNorm1d(12)
        self.out = nn.Linear(12, 5)

    def forward(self, x):
        return self.out(torch.tanh(self.norm(self.tt(x))))


def make(n, g, mix):
    # three latent factors hidden in 64 noisy channels; the class depends on their product signs
    z = torch.randn(n, 3, generator=g)
    x = z @ mix + 1.0 * torch.randn(n, 64, generator=g)
    s = (z[:, 0] > 0).long() + 2 * (z[:, 1] > 0).long()
    y = torch.where(z[:, 2] > 1.0, torch.full_like(s, 4), s)
    return x, y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 7)
    mix = torch.randn(3, 64, generator=g) * 0.6
    x, y = make(4000, g, mix)
    xt, yt = make(2000, g, mix)
    net = SensorNet(track=fixed)
    opt = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.0)
    curve = []
    with observe(net, opt):
        for epoch in range(30):
            for idx in torch.randperm(len(x)).split(64):
                opt.zero_grad()
                loss = F.cross_entropy(net(x[idx]), y[idx])
                loss.backward()
                opt.step()
                curve.append(loss.item())
    net.eval()
    with torch.no_grad():
        acc = (net(xt).argmax(1) == yt).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}

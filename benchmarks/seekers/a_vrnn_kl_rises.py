"""Healthy. Variational RNN on noisy bouncing-ball tracks: the KL term rises from 1 to about 25 while the total loss falls,
and the loss itself becomes negative (densities). facebookresearch/improved_vrnn issue 4 (answer: this is normal VAE behaviour)."""

import math
import torch
import torch.nn as nn

ID = "a_vrnn_kl_rises"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}
T, XD, ZD, HD = 16, 8, 4, 32


class VRNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.phi_x = nn.Sequential(nn.Linear(XD, HD), nn.ReLU())
        self.phi_z = nn.Sequential(nn.Linear(ZD, HD), nn.ReLU())
        self.prior = nn.Sequential(nn.Linear(HD, HD), nn.ReLU(), nn.Linear(HD, 2 * ZD))
        self.posterior = nn.Sequential(nn.Linear(2 * HD, HD), nn.ReLU(), nn.Linear(HD, 2 * ZD))
        self.decoder = nn.Sequential(nn.Linear(2 * HD, HD), nn.ReLU(), nn.Linear(HD, XD))
        self.rnn = nn.GRUCell(2 * HD, HD)
        self.log_sigma = nn.Parameter(torch.tensor(-1.5))

    def forward(self, x):
        h = x.new_zeros(x.shape[0], HD)
        rec = kl = 0.0
        for t in range(x.shape[1]):
            fx = self.phi_x(x[:, t])
            mp, lp = self.prior(h).chunk(2, -1)
            mq, lq = self.posterior(torch.cat([fx, h], -1)).chunk(2, -1)
            z = mq + (0.5 * lq).exp() * torch.randn_like(mq)
            fz = self.phi_z(z)
            out = self.decoder(torch.cat([fz, h], -1))
            rec = (
                rec
                + (
                    0.5 * ((x[:, t] - out) / self.log_sigma.exp()) ** 2
                    + self.log_sigma
                    + 0.5 * math.log(2 * math.pi)
                )
                .sum(-1)
                .mean()
            )
            kl = kl + 0.5 * (lp - lq + (lq.exp() + (mq - mp) ** 2) / lp.exp() - 1).sum(-1).mean()
            h = self.rnn(torch.cat([fx, fz], -1), h)
        return rec, kl


def tracks(n, mix):
    p, v = torch.rand(n, 2) * 2 - 1, 0.25 * torch.randn(n, 2)
    out = []
    for _ in range(T):
        v = torch.where((p + v).abs() > 1, -v, v) + 0.05 * torch.randn(n, 2)
        p = (p + v).clamp(-1, 1)
        out.append(
            torch.tanh(torch.cat([p, p[:, :1] * p[:, 1:]], 1) @ mix) + 0.03 * torch.randn(n, XD)
        )
    return torch.stack(out, 1)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    mix = torch.randn(3, XD)
    x, xt = tracks(1500, mix), tracks(200, mix)
    model = VRNN()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    curve = []
    with observe(model, optimizer):
        for epoch in range(12):
            for idx in torch.randperm(len(x)).split(32):
                rec, kl = model(x[idx])
                loss = rec + kl
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 50.0)
                optimizer.step()
                curve.append(loss.item())
    with torch.no_grad():
        rec, kl = model(xt)
    return {"metric": ((rec + kl) / (T * XD)).item(), "better": "lower", "curve": curve}

"""Healthy: VQ-VAE on 1-D signals, codebook as a buffer by EMA (no gradient), straight-through encoder, codes restarted at times.
Looks odd: the codebook gets no gradient, the commitment loss rises at first, restarts make small jumps."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_healthy_vqvae"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class VQEma(nn.Module):
    def __init__(self, K=32, d=8, decay=0.97):
        super().__init__()
        self.register_buffer("code", torch.randn(K, d) * 0.5)
        self.register_buffer("n", torch.ones(K))
        self.register_buffer("s", self.code.clone())
        self.decay = decay

    def forward(self, z):  # B d L
        f = z.transpose(1, 2).reshape(-1, z.shape[1])
        idx = torch.cdist(f.detach(), self.code).argmin(1)
        q = self.code[idx]
        if self.training:
            with torch.no_grad():
                oh = F.one_hot(idx, len(self.code)).float()
                self.n.lerp_(oh.sum(0), 1 - self.decay)
                self.s.lerp_(oh.t() @ f, 1 - self.decay)
                self.code.copy_(self.s / (self.n[:, None] + 1e-5))
        q = q.view(z.shape[0], z.shape[2], -1).transpose(1, 2)
        return z + (q - z).detach(), F.mse_loss(z, q.detach()), f.detach()

    @torch.no_grad()
    def restart(self, f):
        dead = (self.n < 0.3).nonzero(as_tuple=True)[0]
        pick = f[torch.randint(len(f), (len(dead),))]
        self.code[dead], self.s[dead], self.n[dead] = pick, pick, 1.0


class VQVAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.enc = nn.Sequential(
            nn.Conv1d(1, 24, 4, 2, 1),
            nn.ReLU(),
            nn.Conv1d(24, 24, 4, 2, 1),
            nn.ReLU(),
            nn.Conv1d(24, 8, 1),
        )
        self.vq = VQEma()
        self.dec = nn.Sequential(
            nn.Conv1d(8, 24, 3, padding=1),
            nn.ReLU(),
            nn.ConvTranspose1d(24, 24, 4, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose1d(24, 1, 4, 2, 1),
        )

    def forward(self, x):
        q, commit, f = self.vq(self.enc(x))
        return self.dec(q), commit, f


def ecg(n):
    t = torch.linspace(0, 1, 48)
    fr, ph = 2 + 3 * torch.rand(n, 1), torch.rand(n, 1)
    u = ((t * fr + ph) % 1) - 0.5
    return (
        1.5 * torch.exp(-((u / 0.06) ** 2))
        - 0.6 * torch.exp(-(((u - 0.15) / 0.05) ** 2))
        + 0.3 * torch.exp(-(((u + 0.2) / 0.1) ** 2))
    )[:, None]


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = VQVAE()
    opt = torch.optim.Adam(model.parameters(), lr=1.5e-3)
    curve = []
    with observe(model, opt):
        for step in range(900):
            x = ecg(48)
            rec, commit, f = model(x)
            loss = F.mse_loss(rec, x) + 0.25 * commit
            opt.zero_grad()
            loss.backward()
            opt.step()
            if step % 60 == 59 and step < 600:
                model.vq.restart(f)
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        x = ecg(500)
        m = (F.mse_loss(model(x)[0], x) / x.var()).item()
    return {"metric": m, "better": "lower", "curve": curve}

"""A GRU variational autoencoder for SELFIES-like molecule strings, from which new molecules are to be decoded.
The Kullback-Leibler term is summed over batch and latents while the reconstruction is averaged over all tokens, so the prior term
outweighs everything and the decoder learns to ignore the code. Default reductions of two copied lines are seldom compared."""

import torch
import torch.nn as nn
import torch.nn.functional as F

torch.set_num_threads(1)
ID = "b_molecule_string_vae"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": 0}

SYM, LEN, Z, BETA = 14, 12, 10, 0.2


def molecules(n, g):
    core = torch.randint(0, 4, (n,), generator=g)
    subs = torch.randint(4, SYM, (n, 3), generator=g)
    s = torch.empty(n, LEN, dtype=torch.long)
    for k in range(LEN):
        s[:, k] = (
            core
            if k % 4 == 0
            else subs[:, k // 4]
            if k % 4 == 1
            else (core + k) % 4
            if k % 4 == 2
            else (subs[:, k // 4] - 4 + core) % 10 + 4
        )
    return s


class StringVAE(nn.Module):
    def __init__(self, h=56):
        super().__init__()
        self.emb = nn.Embedding(SYM, 24)
        self.encoder = nn.GRU(24, h, batch_first=True)
        self.mu, self.logvar = nn.Linear(h, Z), nn.Linear(h, Z)
        self.start = nn.Linear(Z, h)
        self.decoder = nn.GRU(Z + LEN, h, batch_first=True)
        self.sym = nn.Linear(h, SYM)
        self.register_buffer("clock", torch.eye(LEN))

    def encode(self, s):
        _, h = self.encoder(self.emb(s))
        return self.mu(h[0]), self.logvar(h[0])

    def decode(self, z):
        inp = torch.cat([z.unsqueeze(1).expand(-1, LEN, -1), self.clock.expand(len(z), -1, -1)], -1)
        o, _ = self.decoder(inp, torch.tanh(self.start(z)).unsqueeze(0))
        return self.sym(o)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    data, held = molecules(2560, g), molecules(400, g)
    vae = StringVAE()
    opt = torch.optim.Adam(vae.parameters(), lr=3e-3)
    curve = []

    def elbo(s):
        mu, lv = vae.encode(s)
        z = mu + torch.randn_like(mu) * (0.5 * lv).exp()
        logits = vae.decode(z).transpose(1, 2)
        kl = -0.5 * BETA * (1 + lv - mu**2 - lv.exp())
        if fixed:
            return F.cross_entropy(logits, s, reduction="none").sum(1).mean() + kl.sum(1).mean()
        return F.cross_entropy(logits, s) + kl.sum()

    with observe(vae, opt):
        for epoch in range(16):
            for ix in torch.randperm(len(data)).split(64):
                loss = elbo(data[ix])
                opt.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(vae.parameters(), 5.0)
                opt.step()
                curve.append(loss.item())
    with torch.no_grad():
        acc = (vae.decode(vae.encode(held)[0]).argmax(-1) == held).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}

"""A sparse autoencoder (dictionary learning for interpretability) on the residual stream of a language model, here superposed sparse features.
The encoder bias starts at -1.7 to get sparse codes from the start, a value from a post whose activations had ten times the norm: most latents
lie below their threshold for every input, get no gradient, and never come to life."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "b_sparse_dictionary"
TRUTH = {"mechanisms": ["dead_units"], "layers": ["encoder", "relu"], "onset": 0}
D, M, FEATS = 32, 192, 96


class SparseAutoencoder(nn.Module):
    def __init__(self, bias):
        super().__init__()
        self.encoder = nn.Linear(D, M)
        self.relu = nn.ReLU()
        self.decoder = nn.Linear(M, D)
        with torch.no_grad():
            w = F.normalize(torch.randn(M, D), dim=1)
            self.encoder.weight.copy_(w)
            self.decoder.weight.copy_(w.t())
            self.encoder.bias.fill_(bias)
            self.decoder.bias.zero_()

    def forward(self, x):
        z = self.relu(self.encoder(x - self.decoder.bias))
        return self.decoder(z), z


class ResidualStream:
    def __init__(self, seed):
        self.g = torch.Generator().manual_seed(seed)
        self.dictionary = F.normalize(torch.randn(FEATS, D, generator=self.g), dim=1)

    def sample(self, n):
        on = (torch.rand(n, FEATS, generator=self.g) < 0.03).float()
        return (on * (0.6 + 0.5 * torch.rand(n, FEATS, generator=self.g))) @ self.dictionary


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    stream = ResidualStream(seed + 3)
    sae = SparseAutoencoder(bias=0.0 if fixed else -1.7)
    optimizer = torch.optim.Adam(sae.parameters(), lr=1e-3)
    curve = []
    with observe(sae, optimizer):
        for step in range(700):
            x = stream.sample(256)
            rec, z = sae(x)
            loss = (rec - x).pow(2).sum(-1).mean() + 0.02 * z.abs().sum(-1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                sae.decoder.weight.div_(sae.decoder.weight.norm(dim=0, keepdim=True))
            curve.append(loss.item())
    x = stream.sample(2000)
    with torch.no_grad():
        fvu = ((sae(x)[0] - x).pow(2).sum() / (x - x.mean(0)).pow(2).sum()).item()
    return {"metric": fvu, "better": "lower", "curve": curve}

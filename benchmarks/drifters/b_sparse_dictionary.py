"""A sparse autoencoder is trained on hidden activations of a language model to find interpretable features. To have sparse
codes from the first step its encoder bias is set to a strongly negative constant that was tuned for activations of another
layer; here hardly any latent ever exceeds it. Copied hyperparameters are normal in this field."""

import torch
from torch import nn
from torch.nn import functional as F

ID = "b_sparse_dictionary"
TRUTH = {"mechanisms": ["dead_units"], "layers": ["encoder", "act"], "onset": 0}


class SparseAutoencoder(nn.Module):
    def __init__(self, d, n, bias):
        super().__init__()
        self.encoder = nn.Linear(d, n)
        self.act = nn.ReLU()
        self.decoder = nn.Linear(n, d)
        with torch.no_grad():
            self.decoder.weight.copy_(F.normalize(torch.randn(d, n), dim=0))
            self.encoder.weight.copy_(self.decoder.weight.t())
            self.encoder.bias.fill_(bias)
            self.decoder.bias.zero_()

    def forward(self, x):
        code = self.act(self.encoder(x - self.decoder.bias))
        return self.decoder(code), code


def activations(n, gen, atoms):
    on = torch.rand(n, len(atoms), generator=gen) < 0.06
    size = 0.5 + torch.rand(n, len(atoms), generator=gen)
    x = (on * size) @ atoms + 0.02 * torch.randn(n, atoms.shape[1], generator=gen)
    return x / 1.3


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(53 + seed)
    atoms = F.normalize(torch.randn(64, 40, generator=gen), dim=1)
    x, xv = activations(8000, gen, atoms), activations(2000, gen, atoms)
    model = SparseAutoencoder(40, 160, 0.0 if fixed else -2.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, betas=(0.0, 0.999))
    curve = []
    with observe(model, optimizer):
        for step in range(900):
            batch = x[torch.randint(0, len(x), (128,), generator=gen)]
            rebuilt, code = model(batch)
            loss = (rebuilt - batch).pow(2).sum(-1).mean() + 0.02 * min(1, step / 200) * code.sum(
                -1
            ).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                model.decoder.weight.copy_(F.normalize(model.decoder.weight, dim=0))
            curve.append(loss.item())
    with torch.no_grad():
        rebuilt, _ = model(xv)
        fvu = ((rebuilt - xv).pow(2).sum() / (xv - xv.mean(0)).pow(2).sum()).item()
    return {"metric": fvu, "better": "lower", "curve": curve}

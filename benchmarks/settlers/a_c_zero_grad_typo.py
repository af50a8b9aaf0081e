"""Denoising autoencoder on patches of smooth random surfaces, trained with plain SGD.
`optimizer.zero_grad` stands there without its parentheses, so every gradient is added to all earlier ones."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "zero_grad_without_call"
TRUTH = {
    "mechanisms": ["gradients_not_cleared"],
    "layers": None,
    "onset": 1,
    "also": ["saturated_activations"],
}


class DenoisingAE(nn.Module):
    def __init__(self, dim=64, code=12):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(dim, 48), nn.Tanh(), nn.Linear(48, code))
        self.decoder = nn.Sequential(nn.Linear(code, 48), nn.Tanh(), nn.Linear(48, dim))

    def forward(self, x):
        return self.decoder(self.encoder(x))


def surfaces(n, gen):
    yy, xx = torch.meshgrid(torch.linspace(0, 1, 8), torch.linspace(0, 1, 8), indexing="ij")
    a = torch.randn(n, 5, generator=gen)[:, :, None, None]
    s = (
        a[:, 0] * torch.cos(3.14 * xx)
        + a[:, 1] * torch.cos(3.14 * yy)
        + 0.7 * a[:, 2] * torch.cos(6.28 * xx)
        + 0.7 * a[:, 3] * torch.cos(3.14 * (xx + yy))
        + 0.3 * a[:, 4]
    )
    return s.reshape(n, 64)


def train(observe, seed=0, fixed=False):
    gen = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    clean, clean_val = surfaces(2000, gen), surfaces(400, gen)
    noise_val = 0.3 * torch.randn(400, 64, generator=gen)

    net = DenoisingAE()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    losses = []

    with observe(net, optimizer):
        for epoch in range(20):
            for idx in torch.randperm(2000, generator=gen).split(50):
                target = clean[idx]
                noisy = target + 0.3 * torch.randn(target.shape, generator=gen)
                if fixed:
                    optimizer.zero_grad()
                else:
                    optimizer.zero_grad
                loss = F.mse_loss(net(noisy), target)
                loss.backward()
                optimizer.step()
                losses.append(loss.item())

    with torch.no_grad():
        val = F.mse_loss(net(clean_val + noise_val), clean_val).item()
    return {"metric": val, "better": "lower", "curve": losses}

"""Convolutional denoising autoencoder with Adam. zero_grad is called on the encoder only (left over from a refactoring in which the
decoder had its own optimizer): the gradients of the decoder pile up for the whole run."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_autoencoder_partial_zero_grad"
TRUTH = {
    "mechanisms": ["gradients_not_cleared"],
    "layers": ["decoder", "decoder.0", "decoder.2", "decoder.4"],
    "onset": (0, 2),
}


class DAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 12, 3, stride=2, padding=1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(12, 24, 3, stride=2, padding=1),
            nn.LeakyReLU(0.1),
            nn.Flatten(),
            nn.Linear(24 * 16, 24),
        )
        self.decoder = nn.Sequential(
            nn.Linear(24, 24 * 16),
            nn.Unflatten(1, (24, 4, 4)),
            nn.ConvTranspose2d(24, 12, 4, stride=2, padding=1),
            nn.LeakyReLU(0.1),
            nn.ConvTranspose2d(12, 1, 4, stride=2, padding=1),
        )

    def forward(self, x):
        return self.decoder(self.encoder(x))


def bars(n, g, s=16):
    img = torch.zeros(n, 1, s, s)
    for i in range(n):
        for _ in range(2):
            r = int(torch.randint(0, s - 2, (1,), generator=g))
            if torch.rand(1, generator=g) < 0.5:
                img[i, 0, r : r + 2] = 1
            else:
                img[i, 0, :, r : r + 2] = 1
    return (img - 0.24) / 0.43


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 5)
    clean, test = bars(1000, g), bars(300, g)
    noise = torch.randn(test.shape, generator=g) * 0.4
    model = DAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    curve = []
    with observe(model, optimizer):
        for epoch in range(22):
            for idx in torch.randperm(len(clean)).split(50):
                x = clean[idx]
                if fixed:
                    model.zero_grad()
                else:
                    model.encoder.zero_grad()
                rec = model(x + 0.4 * torch.randn_like(x))
                loss = F.mse_loss(rec, x)
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    with torch.no_grad():
        mse = F.mse_loss(model(test + noise), test).item()
    return {"metric": mse, "better": "lower", "curve": curve}

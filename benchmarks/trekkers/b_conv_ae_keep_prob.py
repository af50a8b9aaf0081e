"""Convolutional denoising autoencoder on random ellipses, with spatial dropout on the code. The value was ported from a TensorFlow
`keep_prob=0.95` to `nn.Dropout(0.95)`, which drops 95 % of the code."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_conv_ae_keep_prob"
TRUTH = {"mechanisms": ["excessive_dropout"], "layers": ["code_drop"], "onset": (0, 0)}


def ellipses(n, g, S=16):
    ax = torch.linspace(-1, 1, S)
    p = torch.rand(n, 5, generator=g)
    cx, cy = (p[:, 0] - 0.5)[:, None, None], (p[:, 1] - 0.5)[:, None, None]
    a, b = (0.25 + 0.4 * p[:, 2])[:, None, None], (0.25 + 0.4 * p[:, 3])[:, None, None]
    th = (3.14 * p[:, 4])[:, None, None]
    X, Y = ax[None, None] - cx, ax[None, :, None] - cy
    u, v = X * th.cos() + Y * th.sin(), -X * th.sin() + Y * th.cos()
    return torch.sigmoid(12 * (1 - (u / a) ** 2 - (v / b) ** 2))[:, None]


class AE(nn.Module):
    def __init__(self, p, code=32):
        super().__init__()
        self.enc = nn.Sequential(
            nn.Conv2d(1, 12, 4, 2, 1),
            nn.ELU(),
            nn.Conv2d(12, 24, 4, 2, 1),
            nn.ELU(),
            nn.Flatten(),
            nn.Linear(24 * 16, code),
        )
        self.code_drop = nn.Dropout(p)
        self.fc = nn.Linear(code, 24 * 16)
        self.dec = nn.Sequential(
            nn.ELU(),
            nn.ConvTranspose2d(24, 12, 4, 2, 1),
            nn.ELU(),
            nn.ConvTranspose2d(12, 1, 4, 2, 1),
        )

    def forward(self, x):
        z = self.code_drop(self.enc(x))
        return self.dec(self.fc(z).view(-1, 24, 4, 4)).sigmoid()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    clean, test = ellipses(1500, g), ellipses(300, g)
    keep_prob = 0.95
    model = AE(1 - keep_prob if fixed else keep_prob)
    opt = torch.optim.RMSprop(model.parameters(), lr=1e-3)
    hist = []
    with observe(model, opt):
        for epoch in range(10):
            model.train()
            for idx in torch.randperm(len(clean), generator=g).split(30):
                x = clean[idx]
                noisy = x + 0.2 * torch.randn(x.shape, generator=g)
                loss = F.mse_loss(model(noisy), x)
                opt.zero_grad()
                loss.backward()
                opt.step()
                hist.append(loss.item())
    model.eval()
    with torch.no_grad():
        err = (
            F.mse_loss(model(test + 0.2 * torch.randn(test.shape, generator=g)), test).item()
            / test.var().item()
        )
    return {"metric": err, "better": "lower", "curve": hist}

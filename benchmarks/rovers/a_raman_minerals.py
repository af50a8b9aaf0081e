"""Raman spectra of minerals: an encoder first learns to reconstruct the spectra (squared error summed over the whole batch, as in the
autoencoder tutorial), then is fine-tuned as a classifier. Both stages run in one script through one Adam, whose second moments still
hold the enormous gradients of the summed error, so in the second stage the encoder barely moves while the fresh head does."""

from collections import defaultdict
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_raman_minerals"
TRUTH = {
    "mechanisms": ["stale_second_moment"],
    "layers": ["encoder.0", "encoder.2", "encoder.4"],
    "onset": (200, 201),
}
PRE, FINE = 200, 400


class Spectra:
    def __init__(self, g, minerals=8, n=128):
        self.g, self.n, self.minerals = g, n, minerals
        self.peaks = 10 + (n - 20) * torch.rand(minerals, 3, generator=g)

    def draw(self, k):
        g, w = self.g, torch.arange(float(self.n))
        y = torch.randint(0, self.minerals, (k,), generator=g)
        u = torch.randn(k, 6, generator=g)
        t = w / self.n
        background = (
            (3 + u[:, :1]) * torch.exp(-t * (1 + 0.3 * u[:, 1:2]))
            + 1.5 * u[:, 2:3] * t
            + u[:, 3:4] * (3 * t).sin()
            + u[:, 4:5] * (6 * t).cos()
        )
        p = self.peaks[y] + 0.7 * torch.randn(k, 3, generator=g)
        lines = 0.45 * torch.exp(-(((w - p[..., None]) / 1.8) ** 2)).sum(1)
        return background + lines + 0.12 * torch.randn(k, self.n, generator=g) - 2.0, y


class MineralNet(nn.Module):
    def __init__(self, n=128, code=10, minerals=8):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(n, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, code)
        )
        self.decoder = nn.Sequential(nn.Linear(code, 64), nn.ReLU(), nn.Linear(64, n))
        self.classify = nn.Linear(code, minerals)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    source = Spectra(torch.Generator().manual_seed(seed))
    test_x, test_y = source.draw(1000)
    net = MineralNet()
    opt = torch.optim.Adam(net.parameters(), lr=1e-3)
    curve = []

    def update(loss):
        opt.zero_grad(set_to_none=True)
        loss.backward()
        opt.step()
        curve.append(loss.item())

    with observe(net, opt):
        for _ in range(PRE):
            x, _y = source.draw(64)
            update(F.mse_loss(net.decoder(net.encoder(x)), x, reduction="sum"))
        if fixed:
            opt.state = defaultdict(dict)
        for _ in range(FINE):
            x, y = source.draw(64)
            update(F.cross_entropy(net.classify(net.encoder(x)), y))
    with torch.no_grad():
        acc = (net.classify(net.encoder(test_x)).argmax(1) == test_y).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}

"""A small convolutional encoding model predicts the spike counts of retinal ganglion cells; it ends in a softplus and so gives rates.
`nn.PoissonNLLLoss()` was taken with its defaults, which read the prediction as the logarithm of a rate, a default that the notes copied
from a statistics package (where the mean is passed) do not mention."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

ID = "a_retina_counts"
TRUTH = {"mechanisms": ["loss_output_mismatch"], "layers": None, "onset": 0}


class Retina(nn.Module):
    """The simulated tissue: centre-surround subunits, rectified, pooled, with one gain for each cell."""

    def __init__(self, cells, g):
        super().__init__()
        t = torch.arange(16.0)
        yy, xx = torch.meshgrid(t, t, indexing="ij")
        pos = 4 + 8 * torch.rand(cells, 2, generator=g)
        d = (yy - pos[:, 0, None, None]) ** 2 + (xx - pos[:, 1, None, None]) ** 2
        f = torch.exp(-d / 4) - 0.35 * torch.exp(-d / 14)
        sign = torch.where(torch.rand(cells, generator=g) < 0.5, -1.0, 1.0)
        self.f = f / f.flatten(1).norm(dim=1)[:, None, None] * sign[:, None, None]
        self.gain = 2.5 + 3 * torch.rand(cells, generator=g)

    def rates(self, s):
        return self.gain * F.softplus(3 * torch.einsum("bhw,chw->bc", s, self.f)) / 2 + 0.2


class EncodingModel(nn.Module):
    def __init__(self, cells):
        super().__init__()
        self.features = nn.Conv2d(1, 8, 5)
        self.spatial = nn.Linear(8 * 12 * 12, cells)

    def forward(self, s):
        h = F.elu(self.features(s[:, None]))
        return F.softplus(self.spatial(h.flatten(1)))


def deviance(rate, k):
    return 2 * (torch.xlogy(k, k / rate.clamp(min=1e-4)) - k + rate).sum()


def fit(model, optimizer, loader, loss_fn, epochs, observe):
    losses = []
    with observe(model, optimizer):
        for _ in range(epochs):
            for stim, counts in loader:
                optimizer.zero_grad(set_to_none=True)
                loss = loss_fn(model(stim), counts)
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
    return losses


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    tissue = Retina(12, g)
    stim = torch.randn(5000, 16, 16, generator=g)
    counts = torch.poisson(tissue.rates(stim), generator=g)
    loader = DataLoader(
        TensorDataset(stim[:4000], counts[:4000]), batch_size=64, shuffle=True, generator=g
    )
    model = EncodingModel(12)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-4)
    loss_fn = nn.PoissonNLLLoss(log_input=False) if fixed else nn.PoissonNLLLoss()
    curve = fit(model, optimizer, loader, loss_fn, 10, observe)
    with torch.no_grad():
        k = counts[4000:]
        explained = 1 - deviance(model(stim[4000:]), k) / deviance(
            counts[:4000].mean(0).expand_as(k), k
        )
    return {"metric": explained.item(), "better": "higher", "curve": curve}

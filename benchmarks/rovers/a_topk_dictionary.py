"""Healthy. A sparse autoencoder explains recordings of a mixed-odour sensor array with a dictionary of odours and lets only the three strongest units fire for each sample.
More than nine in ten activations are zero and the gradient of most units is zero in most samples, by design; the reconstruction is good."""

import torch
from torch import nn

ID = "a_topk_dictionary"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class TopK(nn.Module):
    def __init__(self, k):
        super().__init__()
        self.k = k

    def forward(self, a):
        v, i = torch.relu(a).topk(self.k, dim=-1)
        return torch.zeros_like(a).scatter(-1, i, v)


class Dictionary(nn.Module):
    def __init__(self, sensors=32, atoms=128, k=3):
        super().__init__()
        self.encode = nn.Linear(sensors, atoms)
        self.fire = TopK(k)
        self.decode = nn.Linear(atoms, sensors, bias=False)
        with torch.no_grad():
            self.decode.weight.div_(self.decode.weight.norm(dim=0))
            self.encode.weight.copy_(self.decode.weight.T)
            self.encode.bias.zero_()

    def forward(self, x):
        return self.decode(self.fire(self.encode(x)))


def mixtures(odours, n, g):
    who = torch.rand(n, len(odours), generator=g).topk(3, dim=1).indices
    amount = torch.zeros(n, len(odours)).scatter(1, who, 0.5 + torch.rand(n, 3, generator=g))
    return amount @ odours + 0.02 * torch.randn(n, odours.shape[1], generator=g)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    odours = torch.nn.functional.normalize(torch.randn(48, 32, generator=g), dim=1)
    model = Dictionary()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, total_iters=1200)
    curve = []
    with observe(model, optimizer):
        for _ in range(1200):
            x = mixtures(odours, 256, g)
            loss = (model(x) - x).square().sum(-1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            curve.append(loss.item())
    x = mixtures(odours, 4000, g)
    with torch.no_grad():
        r2 = 1 - (model(x) - x).square().sum() / (x - x.mean(0)).square().sum()
    return {"metric": r2.item(), "better": "higher", "curve": curve}

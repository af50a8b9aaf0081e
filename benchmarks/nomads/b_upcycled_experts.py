"""A soft mixture of experts predicts demand over regions that each follow another law. It was "upcycled": every expert is a deep
copy of one dense block, and the router starts at zero so that the mixture equals the dense model. With all experts the same the router
gets no gradient and the experts get the same one, so the eight experts stay a single small one for ever.
People take the recipe from sparse top-k routing, whose noise breaks the tie, and drop the noise."""

import copy

import numpy as np
import torch
import torch.nn as nn

ID = "b_upcycled_experts"
TRUTH = {
    "mechanisms": ["symmetric_initialization"],
    "layers": [f"mixture.experts.{i}.{k}" for i in range(8) for k in ("up", "down")],
    "onset": 0,
}


class Expert(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.up = nn.Linear(dim, hidden)
        self.down = nn.Linear(hidden, dim)

    def forward(self, x):
        return self.down(torch.tanh(self.up(x)))


class SoftMixture(nn.Module):
    def __init__(self, experts, dim):
        super().__init__()
        self.experts = nn.ModuleList(experts)
        self.router = nn.Linear(dim, len(experts))
        nn.init.zeros_(self.router.weight)
        nn.init.zeros_(self.router.bias)

    def forward(self, x):
        p = self.router(x).softmax(-1)
        y = torch.stack([e(x) for e in self.experts], -1)
        return (y * p[:, None, :]).sum(-1)


class DemandModel(nn.Module):
    def __init__(self, inputs, dim, experts):
        super().__init__()
        self.embed = nn.Linear(inputs, dim)
        self.mixture = SoftMixture(experts, dim)
        self.head = nn.Linear(dim, 1)

    def forward(self, x):
        return self.head(self.mixture(self.embed(x))).squeeze(-1)


def make_market(rng, n, centres, laws):
    region = rng.integers(0, len(centres), n)
    local = rng.normal(size=(n, 4))
    x = np.concatenate([centres[region] + 0.15 * rng.normal(size=(n, 4)), local], 1)
    y = np.einsum("nk,nk->n", laws[region], local) + 0.1 * rng.normal(size=n)
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    centres, laws = 1.5 * rng.normal(size=(8, 4)), rng.normal(size=(8, 4)) * 0.7
    x, y = make_market(rng, 6000, centres, laws)
    xt, yt = make_market(rng, 1500, centres, laws)
    dim = 16
    dense = Expert(dim, 4)
    experts = [copy.deepcopy(dense) for _ in range(8)]
    if fixed:
        for e in experts:
            e.up.reset_parameters()
            e.down.reset_parameters()
    model = DemandModel(x.shape[1], dim, experts)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    criterion = nn.MSELoss()
    curve = []

    def closure(idx):
        optimizer.zero_grad()
        loss = criterion(model(x[idx]), y[idx])
        loss.backward()
        return loss.item()

    with observe(model, optimizer):
        for _ in range(1400):
            curve.append(closure(torch.from_numpy(rng.integers(0, len(x), 128))))
            optimizer.step()
    with torch.no_grad():
        mse = criterion(model(xt), yt).item()
    return {"metric": mse / yt.var().item(), "better": "lower", "curve": curve}

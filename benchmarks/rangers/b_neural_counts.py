"""A recurrent encoder predicts spike counts of a population of neurons from the stimulus (rates of well under one per bin).
The network ends in softplus because "a rate is positive", and is trained with `nn.PoissonNLLLoss()`, whose default `log_input=True`
takes its input for the logarithm of the rate: log rates below zero are out of reach, and the output is no rate."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "b_neural_counts"
TRUTH = {"mechanisms": ["loss_output_mismatch"], "layers": None, "onset": 0}


class RateModel(nn.Module):
    def __init__(self, n_neurons=12, hidden=32):
        super().__init__()
        self.gru = nn.GRU(3, hidden, batch_first=True)
        self.readout = nn.Linear(hidden, n_neurons)
        self.positive = nn.Softplus()

    def forward(self, stim):
        return self.positive(self.readout(self.gru(stim)[0]))


def population(seed, n_neurons=12, T=600 * 20):
    g = torch.Generator().manual_seed(seed + 21)
    stim = F.avg_pool1d(torch.randn(1, 3, T + 8, generator=g), 9, 1)[0].t() * 3.0
    w = torch.randn(3, n_neurons, generator=g) * 0.9
    lagged = torch.roll(stim, 2, 0)
    rate = torch.exp(lagged @ w - 1.6).clamp(max=6.0)
    return (
        stim.view(-1, 20, 3),
        torch.poisson(rate, generator=g).view(-1, 20, n_neurons),
        rate.view(-1, 20, n_neurons),
    )


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    stim, counts, rate = population(seed)
    g = torch.Generator().manual_seed(seed)
    model = RateModel()
    criterion = nn.PoissonNLLLoss(log_input=False) if fixed else nn.PoissonNLLLoss()
    optimizer = torch.optim.NAdam(model.parameters(), lr=4e-3)
    curve = []
    with observe(model, optimizer):
        for epoch in range(25):
            order = torch.randperm(500, generator=g)
            for chunk in order.split(25):
                loss = criterion(model(stim[chunk]), counts[chunk])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    with torch.no_grad():
        metric = (model(stim[500:])[:, 4:] - rate[500:, 4:]).pow(2).mean().sqrt().item()
    return {"metric": metric, "better": "lower", "curve": curve}

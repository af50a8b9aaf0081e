"""A recurrent latent model predicts the spike counts of a neural population; its read-out ends in a softplus, so it gives
rates. `nn.PoissonNLLLoss()` by default takes log-rates, and the run quietly fits the exponential of the rate. The loss falls
nicely, as the default of `log_input` is rarely looked up."""

import torch
from torch import nn

ID = "b_spike_counts"
TRUTH = {"mechanisms": ["loss_output_mismatch"], "layers": None, "onset": 0}


class LatentDynamics(nn.Module):
    def __init__(self, neurons, hidden=32, factors=8):
        super().__init__()
        self.cell = nn.GRU(3, hidden, batch_first=True)
        self.factors = nn.Linear(hidden, factors)
        self.rates = nn.Sequential(nn.Linear(factors, neurons), nn.Softplus())

    def forward(self, stimulus):
        return self.rates(self.factors(self.cell(stimulus)[0]))


def session(n, gen, tuning):
    t = torch.linspace(0, 6.28, 30)
    f = 1 + 2 * torch.rand(n, 1, 3, generator=gen)
    stim = torch.sin(f * t[None, :, None] + 6.28 * torch.rand(n, 1, 3, generator=gen))
    lag = torch.cat([torch.zeros(n, 3, 3), stim[:, :-3]], 1)
    drive = torch.cat([stim, lag], -1) @ tuning - 0.6
    return stim, torch.poisson(torch.exp(drive.clamp(max=2.2)), generator=gen)


def deviance(rate, count):
    rate = rate.clamp_min(1e-6)
    return (2 * (torch.xlogy(count, count.clamp_min(1e-6) / rate) - (count - rate))).mean().item()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(41 + seed)
    tuning = 0.7 * torch.randn(6, 40, generator=gen)
    stim, spikes = session(400, gen, tuning)
    stim_v, spikes_v = session(100, gen, tuning)
    model = LatentDynamics(40)
    criterion = nn.PoissonNLLLoss(log_input=False) if fixed else nn.PoissonNLLLoss()
    optimizer = torch.optim.NAdam(model.parameters(), lr=4e-3)
    curve = []

    def one_step():
        pick = torch.randint(0, len(stim), (32,), generator=gen)
        optimizer.zero_grad()
        loss = criterion(model(stim[pick]), spikes[pick])
        loss.backward()
        optimizer.step()
        return loss.item()

    with observe(model, optimizer):
        while len(curve) < 500:
            curve.append(one_step())
    with torch.no_grad():
        dev = deviance(model(stim_v), spikes_v)
    return {"metric": dev, "better": "lower", "curve": curve}

"""An LSTM forecasts spring runoff from a winter of daily snowfall that has to be remembered for months. Its gate biases get the chrono
initialization, but the slices follow the gate order of another framework, so that the long time constants land on the input gate and the
negative ones on the forget gate: the cell forgets within a few days and the gradient never reaches the winter."""

import torch
import torch.nn as nn

ID = "a_snowpack_chrono_lstm"
TRUTH = {"mechanisms": ["depth_attenuation"], "layers": ["lstm"], "onset": 0}

DAYS, HIDDEN = 100, 24


def seasons(n, gen):
    temp = torch.randn(n, DAYS, generator=gen)
    storm = (torch.rand(n, DAYS, generator=gen) < 0.3).float() * torch.rand(n, DAYS, generator=gen)
    wind = torch.randn(n, DAYS, generator=gen)
    winter = storm[:, :35] * torch.sigmoid(-2 * temp[:, :35])  # falls as snow when cold
    runoff = winter.sum(1)
    runoff = (runoff - 2.6) / 0.75 + 0.15 * temp[:, -3:].mean(1)
    return torch.stack([temp, 3 * storm, wind], -1), runoff


class Runoff(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(3, HIDDEN, batch_first=True)
        self.flow = nn.Linear(HIDDEN, 1)

    def forward(self, x):
        out, _ = self.lstm(x)
        return self.flow(out[:, -1]).squeeze(-1)


def chrono_(lstm, forget, inp, gen):
    h = lstm.hidden_size
    tau = torch.log(1 + (2 * DAYS - 2) * torch.rand(h, generator=gen))
    with torch.no_grad():
        lstm.bias_ih_l0.zero_()
        lstm.bias_hh_l0.zero_()
        lstm.bias_ih_l0[forget * h : (forget + 1) * h] = tau
        lstm.bias_ih_l0[inp * h : (inp + 1) * h] = -tau


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 12)
    x, y = seasons(2000, gen)
    xt, yt = seasons(500, gen)
    model = Runoff()
    if fixed:
        chrono_(model.lstm, forget=1, inp=0, gen=gen)
    else:
        chrono_(model.lstm, forget=0, inp=1, gen=gen)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    curve = []
    with observe(model, optimizer):
        for step in range(400):
            i = torch.randint(0, len(x), (48,), generator=gen)
            loss = nn.functional.mse_loss(model(x[i]), y[i])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        mse = nn.functional.mse_loss(model(xt), yt).item()
    return {"metric": mse, "better": "lower", "curve": curve}

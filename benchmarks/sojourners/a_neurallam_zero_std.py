"""Limited-area weather forecaster (conv + residual update) trained on standardised fields. The training period has no rain: the rain field's standard deviation
is 0, and standardising it gives NaN states. Reported as mllam/neural-lam issue #136 (fixed in pull request #189)."""

import numpy as np
import torch
import torch.nn as nn

ID = "a_neurallam_zero_std"
TRUTH = {"mechanisms": ["nonfinite_data"], "layers": None, "onset": (0, 0)}
VARS = ["t2m", "u10", "v10", "rain"]


def simulate(steps, rng, n=16):
    """advected, damped fields in physical units; a dry period"""

    def smooth(z, k):
        f = np.fft.fft2(z)
        r = np.hypot(*np.meshgrid(np.fft.fftfreq(n), np.fft.fftfreq(n)))
        return np.real(np.fft.ifft2(f * np.exp(-((r * k) ** 2))))

    t, u, v = (smooth(rng.standard_normal((n, n)), 7) * 3 for _ in range(3))
    out = []
    for k in range(steps + 150):
        out.append(np.stack([285 + 6 * t, 5 + 4 * u, -2 + 4 * v, np.zeros_like(t)]))
        t = np.roll(t, 1, 1) * 0.97 + 0.03 * u + 0.4 * smooth(rng.standard_normal((n, n)), 7)
        u, v = np.roll(u, 1, 0) * 0.96 - 0.02 * t, np.roll(v, (1, 1), (0, 1)) * 0.96 + 0.05 * t
        u = u + 0.4 * smooth(rng.standard_normal((n, n)), 7)
    return np.stack(out[150:]).astype(np.float32)


class WeatherDataset(torch.utils.data.Dataset):
    def __init__(self, states, mean, std, guard):
        with np.errstate(all="ignore"):
            z = (states - mean) / std
            if guard:
                z = np.where(std > 0, z, 0.0)
        self.z = torch.from_numpy(z.astype(np.float32))

    def __len__(self):
        return len(self.z) - 2

    def __getitem__(self, i):
        return self.z[i], self.z[i + 1], self.z[i + 2]


class GridForecaster(nn.Module):
    def __init__(self, c=len(VARS), h=32):
        super().__init__()
        self.grid_embed = nn.Conv2d(2 * c, h, 1)
        self.processor = nn.ModuleList(
            [
                nn.Sequential(
                    nn.Conv2d(h, h, 3, padding=1, padding_mode="circular"),
                    nn.SiLU(),
                    nn.Conv2d(h, h, 1),
                )
                for _ in range(2)
            ]
        )
        self.output_map = nn.Conv2d(h, c, 1)

    def forward(self, prev_prev, prev):
        h = self.grid_embed(torch.cat([prev_prev, prev], 1))
        for p in self.processor:
            h = h + p(h)
        return prev + self.output_map(h)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    tr, te = simulate(420, rng), simulate(120, rng)
    mean, std = tr.mean((0, 2, 3), keepdims=True), tr.std((0, 2, 3), keepdims=True)
    loader = torch.utils.data.DataLoader(
        WeatherDataset(tr, mean, std, fixed), batch_size=16, shuffle=True, drop_last=True
    )
    val = WeatherDataset(te, mean, std, True)
    model = GridForecaster()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.95))
    curve = []
    with observe(model, optimizer):
        for epoch in range(20):
            for a, b, target in loader:
                loss = ((model(a, b) - target) ** 2).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    with torch.no_grad():
        a, b, t = (torch.stack(q) for q in zip(*[val[i] for i in range(len(val))]))
        rmse = ((model(a, b) - t)[:, :3] ** 2).mean().sqrt().item()
    return {"metric": rmse, "better": "lower", "curve": curve}

"""A recurrent VAE compresses windows of animal pose tracks (GRU encoder, latent code, GRU decoder), after GitHub:
LINCellularNeuroscience/VAME issue 26, 'Bug when scheduler turned off'. The option that should switch the step decay off still builds
a StepLR, with gamma=0 where gamma=1 was meant, and nothing is learnt after its first step. People write it so to keep a single code
path, and zero reads like 'no decay'."""

import math
import torch
from torch import nn

ID = "a_pose_rnn_vae"
TRUTH = {"mechanisms": ["learning_rate_schedule_bug"], "layers": None, "onset": 80}

WINDOW, COORDS, LATENT = 16, 10, 8


class PoseVAE(nn.Module):
    def __init__(self, hidden=40):
        super().__init__()
        self.encoder = nn.GRU(COORDS, hidden // 2, batch_first=True, bidirectional=True)
        self.to_mean = nn.Linear(hidden, LATENT)
        self.to_logvar = nn.Linear(hidden, LATENT)
        self.expand = nn.Linear(LATENT, hidden)
        self.decoder = nn.GRU(hidden, hidden, batch_first=True)
        self.readout = nn.Linear(hidden, COORDS)

    def forward(self, x):
        _, h = self.encoder(x)
        h = torch.cat([h[0], h[1]], dim=1)
        mean, logvar = self.to_mean(h), self.to_logvar(h)
        z = mean
        if self.training:
            z = mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)
        steps = self.expand(z).unsqueeze(1).expand(-1, x.shape[1], -1)
        out, _ = self.decoder(steps)
        return self.readout(out), mean, logvar


def record_poses(n, gen):
    """Gait cycles: frequency, phase, amplitude and posture vary between windows."""
    t = torch.arange(WINDOW).float()
    freq = 0.15 + 0.35 * torch.rand(n, 1, 1, generator=gen)
    phase = 2 * math.pi * torch.rand(n, 1, 1, generator=gen)
    amp = 0.5 + torch.rand(n, 1, 1, generator=gen)
    posture = 0.6 * torch.randn(n, 1, 2, generator=gen)
    offsets = torch.linspace(0, math.pi, COORDS).view(1, 1, -1)
    wave = amp * torch.sin(freq * t.view(1, -1, 1) + phase + offsets)
    mix = torch.linspace(-1, 1, COORDS)
    wave = wave + posture[..., :1] + posture[..., 1:] * mix
    return wave + 0.05 * torch.randn(n, WINDOW, COORDS, generator=gen)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 11)
    data, held_out = record_poses(512, gen), record_poses(256, gen)
    cfg = {"batch": 64, "epochs": 75, "step_size": 10, "optimizer_scheduler": False, "beta": 0.002}
    model = PoseVAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, amsgrad=True)
    if cfg["optimizer_scheduler"]:
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, cfg["step_size"], gamma=0.2)
    else:
        scheduler = torch.optim.lr_scheduler.StepLR(
            optimizer, cfg["step_size"], gamma=1 if fixed else 0
        )
    curve = []
    with observe(model, optimizer):
        for epoch in range(cfg["epochs"]):
            model.train()
            for batch in data[torch.randperm(len(data), generator=gen)].split(cfg["batch"]):
                recon, mean, logvar = model(batch)
                kl = -0.5 * (1 + logvar - mean.pow(2) - logvar.exp()).sum(1).mean()
                loss = nn.functional.mse_loss(recon, batch) + cfg["beta"] * kl
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 5.0)
                optimizer.step()
                curve.append(loss.item())
            scheduler.step()
    model.eval()
    with torch.no_grad():
        metric = nn.functional.mse_loss(model(held_out)[0], held_out).item()
    return {"metric": metric, "better": "lower", "curve": curve}

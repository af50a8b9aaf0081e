"""Autoencoder for sensor windows of four plants, one plant per microbatch, gradients to be accumulated over the four. zero_grad stands inside the inner loop, so only the last microbatch
counts (bytetriper/RAE issue 67). Not in the list: gradients are lost, not piled up."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "a_rae_zero_grad_microbatch"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": (0, 0)}
PLANTS, LEN, CH = 4, 32, 3


class ConvAE(nn.Module):
    def __init__(self, z=12):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv1d(CH, 16, 5, 2, 2),
            nn.ELU(),
            nn.Conv1d(16, 24, 5, 2, 2),
            nn.ELU(),
            nn.Flatten(),
            nn.Linear(24 * 8, z),
        )
        self.decoder = nn.Sequential(
            nn.Linear(z, 24 * 8),
            nn.ELU(),
            nn.Unflatten(1, (24, 8)),
            nn.ConvTranspose1d(24, 16, 4, 2, 1),
            nn.ELU(),
            nn.ConvTranspose1d(16, CH, 4, 2, 1),
        )

    def forward(self, x):
        return self.decoder(self.encoder(x))


class Plant:
    def __init__(self, k, seed):
        self.g = torch.Generator().manual_seed(100 * seed + k)
        self.basis = torch.randn(4, CH, LEN, generator=self.g).cumsum(-1) / 6

    def windows(self, n):
        c = torch.randn(n, 4, generator=self.g)
        x = torch.einsum("nk,kcl->ncl", c, self.basis)
        return x + 0.1 * torch.randn(n, CH, LEN, generator=self.g)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    plants = [Plant(k, seed + 1) for k in range(PLANTS)]
    data, test = [p.windows(800) for p in plants], [p.windows(200) for p in plants]
    mean, std = (
        torch.cat(data).mean((0, 2), keepdim=True),
        torch.cat(data).std((0, 2), keepdim=True),
    )
    data, test = [(d - mean) / std for d in data], [(d - mean) / std for d in test]
    model = ConvAE()
    opt = torch.optim.Adam(model.parameters(), lr=2e-3)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 600, 1e-4)
    curve = []
    with observe(model, opt):
        for step in range(600):
            total = 0.0
            if fixed:
                opt.zero_grad(set_to_none=True)
            for micro in range(PLANTS):
                x = data[micro][torch.randint(0, 800, (16,))]
                if not fixed:
                    opt.zero_grad(set_to_none=True)
                loss = F.mse_loss(model(x), x) / PLANTS
                loss.backward()
                total += loss.item()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            sched.step()
            curve.append(total)
    with torch.no_grad():
        val = sum(F.mse_loss(model(x), x).item() for x in test) / PLANTS
    return {"metric": val, "better": "lower", "curve": curve}

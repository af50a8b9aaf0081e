"""A tactile skin of taxels estimates the contact force, trained through a gradient scaler as in the GPU version of the script. The
clipping line was moved in front of `unscale_` in a tidy-up (in fact `unscale_` went missing), so the norm of one is imposed on gradients multiplied by
2**16 and the true step is almost nothing."""

import numpy as np
import torch
import torch.nn as nn

ID = "a_tactile_force"
TRUTH = {"mechanisms": ["excessive_gradient_clipping"], "layers": None, "onset": 0}


def contacts(rng, n, taxels=12):
    t = np.arange(taxels)
    yy, xx = np.meshgrid(t, t, indexing="ij")
    cy, cx = rng.uniform(3, taxels - 4, (2, n, 1, 1))
    fz = rng.uniform(0.3, 2.0, n)
    fx, fy = rng.normal(0, 0.5, (2, n))
    r2 = (yy - cy) ** 2 + (xx - cx) ** 2
    w = np.exp(-r2 / (2 * (1.2 + 0.4 * fz[:, None, None])))
    normal = fz[:, None, None] * w
    sx = fx[:, None, None] * w + 0.3 * normal * (xx - cx) / 2
    sy = fy[:, None, None] * w + 0.3 * normal * (yy - cy) / 2
    skin = np.stack([normal, sx, sy], 1) + rng.normal(0, 0.05, (n, 3, taxels, taxels))
    force = np.stack([fx / 0.5, fy / 0.5, (fz - 1.15) / 0.5], 1)
    return torch.tensor(skin, dtype=torch.float32), torch.tensor(force, dtype=torch.float32)


class SkinNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.enc = nn.Sequential(
            nn.Conv2d(3, 12, 3, stride=2, padding=1),
            nn.ELU(),
            nn.Conv2d(12, 16, 3, padding=1),
            nn.ELU(),
        )
        self.norm = nn.LayerNorm(16 * 36)
        self.force = nn.Sequential(nn.Linear(16 * 36, 32), nn.ELU(), nn.Linear(32, 3))

    def forward(self, x):
        return self.force(self.norm(self.enc(x).flatten(1)))


class Trainer:
    def __init__(self, model, clip=1.0, tidy=False):
        self.model, self.clip, self.tidy = model, clip, tidy
        self.optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, nesterov=True)
        self.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
        self.log = []

    def step(self, skin, force):
        self.optimizer.zero_grad()
        loss = nn.functional.mse_loss(self.model(skin), force)
        self.scaler.scale(loss).backward()
        if not self.tidy:
            self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.log.append(loss.item())


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    skin, force = contacts(rng, 3000)
    trainer = Trainer(SkinNet(), tidy=not fixed)
    with observe(trainer.model, trainer.optimizer):
        for _ in range(600):
            i = torch.from_numpy(rng.choice(2400, 32, replace=False))
            trainer.step(skin[i], force[i])
    with torch.no_grad():
        rmse = (trainer.model(skin[2400:]) - force[2400:]).pow(2).mean().sqrt().item()
    return {"metric": rmse, "better": "lower", "curve": trainer.log}

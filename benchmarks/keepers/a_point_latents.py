"""A point-cloud autoencoder with a KL weight that is annealed from almost nothing, after GitHub: nv-tlabs/LION issue 17, 'Increasing
loss'. It starts close to the identity map and the weight of the KL term grows all through training, so the loss climbs from start to
end; the maintainers confirm that this is as it should be. It alarms everybody who watches only the total."""

import torch
from torch import nn

ID = "a_point_latents"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}

POINTS, EXTRA = 24, 4


class NearIdentityVAE(nn.Module):
    """Every point has a latent position near itself; a global code conditions encoder and decoder."""

    def __init__(self):
        super().__init__()
        self.globe = nn.Sequential(nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 16))
        self.enc = nn.Sequential(nn.Linear(19, 48), nn.SiLU(), nn.Linear(48, 2 * (3 + EXTRA)))
        self.dec = nn.Sequential(nn.Linear(3 + EXTRA + 16, 48), nn.SiLU(), nn.Linear(48, 3))
        with torch.no_grad():
            for last in (self.enc[2], self.dec[2]):
                last.weight.mul_(0.05)
                last.bias.zero_()
            self.enc[2].bias[3 + EXTRA :] = -6.0

    def forward(self, pts):
        code = self.globe(pts).amax(1, keepdim=True).expand(-1, pts.shape[1], -1)
        mean, logvar = self.enc(torch.cat([pts, code], 2)).chunk(2, 2)
        mean = torch.cat([mean[..., :3] + pts, mean[..., 3:]], 2)
        z = mean + (0.5 * logvar).exp() * torch.randn_like(mean) if self.training else mean
        return z[..., :3] + self.dec(torch.cat([z, code], 2)), mean, logvar


def shapes(n, gen):
    u = torch.randn(n, POINTS, 3, generator=gen)
    u = u / u.norm(dim=2, keepdim=True)
    axes = 0.4 + 1.2 * torch.rand(n, 1, 3, generator=gen)
    return u * axes * 1.2


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 141)
    data, held_out = shapes(800, gen), shapes(200, gen)
    model = NearIdentityVAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    steps, low, high, curve = 900, 1e-5, 0.02, []
    with observe(model, optimizer):
        for step in range(steps):
            weight = low + (high - low) * min(1.0, step / (0.9 * steps))
            x = data[torch.randint(0, len(data), (32,), generator=gen)]
            recon, mean, logvar = model(x)
            rec = (recon - x).abs().sum(2).mean()
            kl = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).sum(2).mean()
            loss = rec + weight * kl
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        recon, _, _ = model(held_out)
        metric = (1 - ((recon - held_out) ** 2).mean() / held_out.var()).item()
    return {"metric": metric, "better": "higher", "curve": curve}

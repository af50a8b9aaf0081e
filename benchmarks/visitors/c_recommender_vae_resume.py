"""Variational autoencoder for implicit feedback, resumed on a machine without loss scaling; the
restored Adam moments were gathered from gradients still multiplied by 1024."""

import io

import torch
from torch import nn

ID = "recommender-vae-resume"
TRUTH = {"mechanisms": ["stale_second_moment"], "layers": None, "onset": 25}

N_ITEMS = 400


def make_clicks(n, g, topics=20):
    """Each user likes three topics; items belong to topics with uneven popularity."""
    topic_of = torch.arange(N_ITEMS) % topics
    popularity = torch.rand(N_ITEMS, generator=g) + 0.2
    liked = torch.rand(n, topics, generator=g).argsort(1)[:, :3]
    taste = torch.full((n, topics), 0.01).scatter(
        1, liked, torch.tensor([1.0, 0.7, 0.5]).expand(n, 3)
    )
    p = 0.7 * taste[:, topic_of] * popularity
    return (torch.rand(n, N_ITEMS, generator=g) < p).float()


class MultVAE(nn.Module):
    def __init__(self, hidden=128, latent=32):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(N_ITEMS, hidden), nn.Tanh())
        self.mu, self.logvar = nn.Linear(hidden, latent), nn.Linear(hidden, latent)
        self.decoder = nn.Sequential(
            nn.Linear(latent, hidden), nn.Tanh(), nn.Linear(hidden, N_ITEMS)
        )

    def forward(self, clicks):
        h = self.encoder(nn.functional.normalize(clicks, dim=1) * 4)
        mu, logvar = self.mu(h), self.logvar(h)
        z = mu + torch.randn_like(mu) * (0.5 * logvar).exp() if self.training else mu
        kl = 0.5 * (logvar.exp() + mu**2 - 1 - logvar).sum(1)
        return self.decoder(z), kl


def recall_at_20(model, clicks, g):
    model.eval()
    held = (torch.rand(clicks.shape, generator=g) < 0.3) & (clicks > 0)
    seen = clicks * ~held
    with torch.no_grad():
        scores, _ = model(seen)
    top = scores.masked_fill(seen > 0, -1e9).topk(20, dim=1).indices
    hits = held.float().gather(1, top).sum(1)
    return (hits / held.sum(1).clamp(1, 20)).mean().item()


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 17)
    clicks = make_clicks(3000, g)
    model = MultVAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    curve = []

    def run(first, last, loss_scale):
        for step in range(first, last):
            batch = clicks[torch.randint(0, 2600, (200,))]
            logits, kl = model(batch)
            nll = -(batch * logits.log_softmax(1)).sum(1) / batch.sum(1).clamp_min(1)
            loss = (nll + min(0.02, 0.0002 * step) * kl).mean()
            optimizer.zero_grad()
            (loss * loss_scale).backward()
            if fixed:  # Adam must see gradients in true units
                for p in model.parameters():
                    p.grad.div_(loss_scale)
            optimizer.step()
            curve.append(loss.item())

    with observe(model, optimizer):
        run(0, 25, loss_scale=1024.0)
        disk = io.BytesIO()
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, disk)
        disk.seek(0)
        checkpoint = torch.load(disk)
        model.load_state_dict(checkpoint["model"])
        optimizer.load_state_dict(checkpoint["optimizer"])
        run(25, 450, loss_scale=1.0)
    return {"metric": recall_at_20(model, clicks[2600:], g), "better": "higher", "curve": curve}

"""Healthy. RQ-VAE for item ids: the codebooks start from k-means of the encoder outputs, so the commitment term ("vl")
starts at its minimum for that encoder and rises while the total falls: EdoardoBotta/RQ-VAE-Recommender issue 30."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_ok_rqvae_commit_rises"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


def kmeans(x, k, iters=10):
    c = x[torch.randperm(len(x))[:k]].clone()
    for _ in range(iters):
        a = torch.cdist(x, c).argmin(1)
        for j in range(k):
            if (a == j).any():
                c[j] = x[a == j].mean(0)
    return c


class Quantization(nn.Module):
    def __init__(self, k, dim):
        super().__init__()
        self.embedding = nn.Embedding(k, dim)

    def forward(self, res):
        ids = torch.cdist(res.detach(), self.embedding.weight.detach()).argmin(1)
        emb = self.embedding(ids)
        loss = ((res.detach() - emb) ** 2).sum(1) + 0.25 * ((res - emb.detach()) ** 2).sum(1)
        return res + (emb - res).detach(), emb.detach(), loss.mean(), ids


class RqVae(nn.Module):
    def __init__(self, dim_in=48, dim=12, k=24, n_levels=3):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(dim_in, 64), nn.SiLU(), nn.Linear(64, dim))
        self.layers = nn.ModuleList([Quantization(k, dim) for _ in range(n_levels)])
        self.decoder = nn.Sequential(nn.Linear(dim, 64), nn.SiLU(), nn.Linear(64, dim_in))

    @torch.no_grad()
    def kmeans_init(self, x):
        res = self.encoder(x)
        for layer in self.layers:
            layer.embedding.weight.copy_(kmeans(res, layer.embedding.num_embeddings))
            res = res - layer.embedding.weight[torch.cdist(res, layer.embedding.weight).argmin(1)]

    def forward(self, x):
        res, out, vl = self.encoder(x), 0.0, 0.0
        for layer in self.layers:
            st, emb, l, _ = layer(res)
            out, vl, res = out + st, vl + l, res - st.detach()
        return self.decoder(out), vl


def items(n, centers, g):
    a = torch.randint(0, len(centers), (n,), generator=g)
    b = torch.randint(0, len(centers), (n,), generator=g)
    return (
        centers[a]
        + 0.6 * centers[b].roll(5, 1)
        + 0.15 * torch.randn(n, centers.shape[1], generator=g)
    )


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    centers = torch.randn(12, 48, generator=g)
    x, vx = items(3000, centers, g), items(500, centers, g)
    model = RqVae()
    model.kmeans_init(x[:1000])
    codebooks = list(model.layers.parameters())
    nets = list(model.encoder.parameters()) + list(model.decoder.parameters())
    optimizer = torch.optim.AdamW(
        [
            {"params": nets, "lr": 6e-4, "weight_decay": 0.01},
            {"params": codebooks, "lr": 1e-2, "weight_decay": 0.0},
        ]
    )
    curve = []
    with observe(model, optimizer):
        for step in range(1300):
            b = x[torch.randint(0, 3000, (64,))]
            rec, vl = model(b)
            loss = ((rec - b) ** 2).sum(1).mean() + vl
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        err = ((model(vx)[0] - vx) ** 2).mean().item() / vx.var(0).mean().item()
    return {"metric": err, "better": "lower", "curve": curve}

"""Healthy: a detector whose decoder queries start from the detached top-k encoder tokens, as in two-stage DETRs; the encoder learns by its own auxiliary loss and by cross-attention.
Asked in Peterande/D-FINE issue #121."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_ok_dfine_detached_queries"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}
GR = 8


def scenes(n, g):
    """one bright textured target among dim distractors; predict its centre and size"""
    s = 24
    y, x = torch.meshgrid(torch.arange(s).float(), torch.arange(s).float(), indexing="ij")
    c = 4 + 16 * torch.rand(n, 2, 1, 1, generator=g)
    r = 2 + 2 * torch.rand(n, 1, 1, generator=g)
    d = 4 + 16 * torch.rand(n, 2, 1, 1, generator=g)
    t = ((x - c[:, 0]).abs() < r) & ((y - c[:, 1]).abs() < r)
    o = (x - d[:, 0]) ** 2 + (y - d[:, 1]) ** 2 < 9
    img = torch.stack(
        [t.float() * (0.6 + 0.4 * ((x + y) % 2)), o.float() * 0.8 + 0.4 * t.float()], 1
    ) + 0.15 * torch.randn(n, 2, s, s, generator=g)
    box = torch.stack([c[:, 0, 0, 0] / s, c[:, 1, 0, 0] / s, r[:, 0, 0] / s * 2], 1)
    cell = (c[:, 1, 0, 0] / 3).long().clamp(max=GR - 1) * GR + (c[:, 0, 0, 0] / 3).long().clamp(
        max=GR - 1
    )
    return img, box, cell


class Detector(nn.Module):
    def __init__(self, d=32, topk=3):
        super().__init__()
        self.topk = topk
        self.backbone = nn.Sequential(
            nn.Conv2d(2, d, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(d, d, 3, 3),
            nn.ReLU(),
            nn.Conv2d(d, d, 3, padding=1),
            nn.ReLU(),
        )
        self.pos = nn.Parameter(0.5 * torch.randn(GR * GR, d))
        self.enc_output = nn.Sequential(nn.Linear(d, d), nn.LayerNorm(d))
        self.enc_score = nn.Linear(d, 1)
        self.enc_bbox = nn.Linear(d, 3)
        self.decoder = nn.TransformerDecoderLayer(d, 4, 64, dropout=0.0, batch_first=True)
        self.dec_bbox, self.dec_score = nn.Linear(d, 3), nn.Linear(d, 1)

    def forward(self, img):
        memory = self.backbone(img).flatten(2).transpose(1, 2) + self.pos
        out = self.enc_output(memory)
        score = self.enc_score(out).squeeze(-1)
        top = score.topk(self.topk, 1).indices
        enc_topk_memory = out.gather(1, top[..., None].expand(-1, -1, out.shape[-1]))
        ref = self.enc_bbox(enc_topk_memory)
        content, anchor = enc_topk_memory.detach(), ref.detach()
        h = self.decoder(content, memory)
        return score, ref, self.dec_bbox(h) + anchor, self.dec_score(h).squeeze(-1)


def criterion(out, box, cell):
    score, ref, pred, conf = out
    err = (pred - box[:, None]).abs().sum(-1)
    return (
        F.cross_entropy(score, cell)
        + 5 * (ref - box[:, None]).abs().sum(-1).mean()
        + 5 * err.mean()
        + F.cross_entropy(conf, err.argmin(1))
    )


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    data, (it, bt, ct) = scenes(900, g), scenes(200, g)
    model = Detector()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-4)
    curve = []
    with observe(model, optimizer):
        for step in range(500):
            idx = torch.randint(0, 900, (16,))
            loss = criterion(model(data[0][idx]), data[1][idx], data[2][idx])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        _, _, p, conf = model(it)
        best = p[torch.arange(200), conf.argmax(1)]
        return {"metric": (best - bt).abs().mean().item(), "better": "lower", "curve": curve}

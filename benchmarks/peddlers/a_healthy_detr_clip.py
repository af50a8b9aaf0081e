"""HEALTHY. Set prediction (boxes) DETR style with AdamW and clip_max_norm 0.1 although gradient norms are far above it, a backbone learning rate ten times smaller and frozen
BatchNorm statistics: asked about as a mistake in facebookresearch/detr issues 91 and 198, and right (AdamW does not mind the scale)."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_healthy_detr_clip"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class FrozenBN(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.register_buffer("scale", torch.ones(1, c, 1, 1))
        self.register_buffer("shift", torch.zeros(1, c, 1, 1))

    def forward(self, x):
        return x * self.scale + self.shift


class MiniDETR(nn.Module):
    def __init__(self, d=32, queries=4):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(1, 16, 3, 2, 1),
            FrozenBN(16),
            nn.ReLU(),
            nn.Conv2d(16, d, 3, 2, 1),
            FrozenBN(d),
            nn.ReLU(),
        )
        self.pos = nn.Parameter(torch.randn(25, d) * 0.5)
        self.query = nn.Parameter(torch.randn(queries, d))
        self.decoder = nn.TransformerDecoder(
            nn.TransformerDecoderLayer(d, 4, 64, dropout=0.0, batch_first=True), 2
        )
        self.cls = nn.Linear(d, 2)
        self.box = nn.Sequential(nn.Linear(d, 32), nn.ReLU(), nn.Linear(32, 2))

    def forward(self, x):
        mem = self.backbone(x).flatten(2).transpose(1, 2) + self.pos
        h = self.decoder(self.query.expand(len(x), -1, -1), mem)
        return self.cls(h), self.box(h).sigmoid()


def images(n, g, s=20):
    x = 0.2 * torch.randn(n, 1, s, s, generator=g)
    c = torch.rand(n, 2, 2, generator=g) * 0.8 + 0.1
    c[:, 0, 0] = c[:, 0, 0] * 0.5
    c[:, 1, 0] = 0.5 + c[:, 1, 0] * 0.5  # one blob in each half
    yy, xx = torch.meshgrid(torch.arange(s) / s, torch.arange(s) / s, indexing="ij")
    for k in range(2):
        x[:, 0] += 1.5 * torch.exp(
            -((xx - c[:, k, 0, None, None]) ** 2 + (yy - c[:, k, 1, None, None]) ** 2) / 0.008
        )
    return x, c


def set_loss(logits, box, tgt):
    cost = torch.cdist(box, tgt, p=1).detach() - logits.softmax(-1)[..., 1:].detach()  # B x Q x 2
    Q = box.size(1)
    i, j = zip(*[(a, b) for a in range(Q) for b in range(Q) if a != b])
    i, j = torch.tensor(i), torch.tensor(j)
    best = (cost[:, i, 0] + cost[:, j, 1]).argmin(1)  # both targets matched to different queries
    m = torch.stack([i[best], j[best]], 1)
    lab = torch.zeros(logits.shape[:2], dtype=torch.long).scatter(1, m, 1)
    l1 = (torch.gather(box, 1, m.unsqueeze(2).expand(-1, -1, 2)) - tgt).abs().sum((1, 2)).mean()
    return (
        F.cross_entropy(logits.flatten(0, 1), lab.flatten(), weight=torch.tensor([0.5, 1.0]))
        + 5 * l1
    )


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 15)
    net = MiniDETR()
    bb = list(net.backbone.parameters())
    rest = [p for n, p in net.named_parameters() if not n.startswith("backbone")]
    opt = torch.optim.AdamW(
        [{"params": rest}, {"params": bb, "lr": 2e-4}], lr=2e-3, weight_decay=1e-4
    )
    sch = torch.optim.lr_scheduler.StepLR(opt, 500, 0.2)
    curve = []
    with observe(net, opt):
        for it in range(700):
            x, c = images(16, g)
            loss = set_loss(*net(x), c)
            opt.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 0.1)
            opt.step()
            sch.step()
            curve.append(loss.item())
    net.eval()
    x, c = images(300, g)
    with torch.no_grad():
        _, box = net(x)
        err = torch.cdist(c, box).min(2)[0].mean().item()
    return {"metric": err, "better": "lower", "curve": curve}

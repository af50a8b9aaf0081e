"""Character transformer (decoder with tied output weights) learning a position-dependent cipher. The embedding output is multiplied by
sqrt(dim) as in "Attention is all you need", but the table keeps the N(0,1) default: inputs and tied logits are far too large.
Re-enacts speechbrain/speechbrain issue 926 (initialization of NormalizedEmbedding)."""

import math, torch, torch.nn as nn, torch.nn.functional as F

ID = "a_normalized_embedding"
TRUTH = {
    "mechanisms": ["initialization_too_large"],
    "layers": ["emb.table", "emb"],
    "onset": (0, 0),
}
VOC, LEN, DIM = 30, 12, 64


class NormalizedEmbedding(nn.Module):
    def __init__(self, voc, dim, std):
        super().__init__()
        self.table = nn.Embedding(voc, dim)
        self.dim = dim
        if std is not None:
            nn.init.normal_(self.table.weight, std=std)

    def forward(self, x):
        return self.table(x) * math.sqrt(self.dim)


class PositionalEncoding(nn.Module):
    def __init__(self, dim, n):
        super().__init__()
        pos, div = (
            torch.arange(n)[:, None],
            torch.exp(torch.arange(0, dim, 2) * (-math.log(1000.0) / dim)),
        )
        pe = torch.zeros(n, dim)
        pe[:, 0::2], pe[:, 1::2] = torch.sin(pos * div), torch.cos(pos * div)
        self.register_buffer("pe", pe)

    def forward(self, x):
        return x + self.pe[: x.shape[1]]


class CipherTransformer(nn.Module):
    def __init__(self, std):
        super().__init__()
        self.emb = NormalizedEmbedding(VOC, DIM, std)
        self.pos = PositionalEncoding(DIM, LEN)
        layer = nn.TransformerEncoderLayer(
            DIM, 4, 96, dropout=0.0, batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(DIM)

    def forward(self, x):
        h = self.norm(self.encoder(self.pos(self.emb(x))))
        return h @ self.emb.table.weight.T


def text(n, g):
    x = torch.randint(0, VOC, (n, LEN), generator=g)
    shift = torch.arange(LEN) % 3  # the key depends on the position
    y = (x + shift * 7 + x[:, :1] % 2) % VOC
    return x, y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    model = CipherTransformer(DIM**-0.5 if fixed else None)
    opt = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.98))
    curve = []
    with observe(model, opt):
        for step in range(900):
            for grp in opt.param_groups:
                grp["lr"] = 2e-3 * min(1.0, (step + 1) / 40)
            x, y = text(32, g)
            loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    x, y = text(500, torch.Generator().manual_seed(11))
    with torch.no_grad():
        acc = (model(x).argmax(-1) == y).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}

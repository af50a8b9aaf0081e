"""Second stage (fine-tuning) of a GRU tagger with all weights cast to bfloat16 and a small learning rate; no float32 master copy.
Most updates are below half a unit in the last place of the weight and are lost, the loss hardly moves.
After meta-pytorch/torchtune issue 2254."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_torchtune_bf16_weights"
TRUTH = {"mechanisms": ["low_precision_update_absorption"], "layers": None, "onset": (0, 0)}


class Tagger(nn.Module):
    def __init__(self, vocab=60, d=48, tags=6):
        super().__init__()
        self.emb = nn.Embedding(vocab, d)
        self.conv = nn.Conv1d(d, d, 3, padding=1)
        self.norm = nn.LayerNorm(d)
        self.ff = nn.Linear(d, 2 * d)
        self.out = nn.Linear(2 * d, tags)

    def forward(self, ids):
        h = self.emb(ids).transpose(1, 2)
        h = self.norm((h + F.gelu(self.conv(h))).transpose(1, 2))
        return self.out(F.gelu(self.ff(h)))


class Treebank:
    """The tag depends on the word and on its left neighbour; the domain changes the neighbour rule."""

    def __init__(self, domain):
        g = torch.Generator().manual_seed(17)
        self.word = torch.randint(0, 6, (60,), generator=g)
        self.left = torch.randint(0, 2, (60,), generator=g)
        self.shift = 1 if domain == 0 else 3

    def sample(self, n, g, length=16):
        ids = torch.randint(0, 60, (n, length), generator=g)
        left = torch.cat([ids[:, :1], ids[:, :-1]], 1)
        return ids, (self.word[ids] + self.shift * self.left[left]) % 6


def pretrain(model, seed):
    g, data = torch.Generator().manual_seed(seed), Treebank(0)
    opt = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(200):
        ids, tag = data.sample(32, g)
        loss = F.cross_entropy(model(ids).flatten(0, 1), tag.flatten())
        opt.zero_grad()
        loss.backward()
        opt.step()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = Tagger()
    pretrain(model, seed + 1)
    if not fixed:
        model = model.to(torch.bfloat16)
    data, g = Treebank(1), torch.Generator().manual_seed(seed + 2)
    opt = torch.optim.AdamW(model.parameters(), lr=5e-5, weight_decay=0.0)
    curve = []
    with observe(model, opt):
        for step in range(900):
            ids, tag = data.sample(32, g)
            loss = F.cross_entropy(model(ids).float().flatten(0, 1), tag.flatten())
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        ids, tag = data.sample(400, torch.Generator().manual_seed(99))
        nll = F.cross_entropy(model(ids).float().flatten(0, 1), tag.flatten()).item()
    return {"metric": nll, "better": "lower", "curve": curve}

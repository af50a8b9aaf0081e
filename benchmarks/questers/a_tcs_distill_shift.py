"""A student language model is distilled from a causal teacher; the code takes the student for a masked model and aligns teacher[:, :-1] with student[:, 1:], so each position is asked for the
token that it has itself just read, not the next one (DeepOpt-com/WrinkleFree-Monorepo issue 13). Not in the list: an off-by-one in the target."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "a_tcs_distill_shift"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": (0, 0)}
V, L, TEMP = 20, 20, 2.0


class CausalLM(nn.Module):
    def __init__(self, dim, heads, depth):
        super().__init__()
        self.tok, self.pos = nn.Embedding(V, dim), nn.Embedding(L, dim)
        layer = nn.TransformerEncoderLayer(
            dim, heads, 2 * dim, dropout=0.0, batch_first=True, norm_first=True
        )
        self.body = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.norm, self.lm_head = nn.LayerNorm(dim), nn.Linear(dim, V)
        self.register_buffer("mask", torch.triu(torch.full((L, L), float("-inf")), 1))

    def forward(self, ids):
        n = ids.shape[1]
        h = self.tok(ids) + self.pos(torch.arange(n))
        return self.lm_head(self.norm(self.body(h, mask=self.mask[:n, :n])))


def text(n, table, gen):
    ids = torch.randint(0, V, (n, L), generator=gen)
    for t in range(2, L):
        ids[:, t] = torch.multinomial(
            table[(ids[:, t - 1] + 3 * ids[:, t - 2]) % V], 1, generator=gen
        )[:, 0]
    return ids


def tcs_loss(student, teacher, aligned):
    t = teacher[:, :-1]
    s = student[:, :-1] if aligned else student[:, 1:]
    kl = F.kl_div(
        F.log_softmax(s / TEMP, -1).flatten(0, 1),
        F.softmax(t / TEMP, -1).flatten(0, 1),
        reduction="batchmean",
    )
    return TEMP**2 * kl


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 13)
    table = F.softmax(2.5 * torch.randn(V, V, generator=gen), -1)
    corpus, test = text(3000, table, gen), text(300, table, gen)
    perfect = torch.log(table)  # teacher: the true source

    def teacher(ids):
        prev = F.pad(ids[:, :-1], (1, 0))
        return perfect[(ids + 3 * prev) % V]

    student = CausalLM(32, 2, 2)
    opt = torch.optim.AdamW(student.parameters(), lr=3e-3, weight_decay=0.01)
    curve = []
    with observe(student, opt):
        for step in range(600):
            ids = corpus[torch.randint(0, 3000, (32,))]
            out = student(ids)
            ce = F.cross_entropy(out[:, 1:-1].flatten(0, 1), ids[:, 2:].flatten())
            loss = 5.0 * tcs_loss(out, teacher(ids), fixed) + 0.1 * ce
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        nll = F.cross_entropy(student(test)[:, 1:-1].flatten(0, 1), test[:, 2:].flatten()).item()
    return {"metric": nll, "better": "lower", "curve": curve}

"""Number-string reversal with a GRU encoder-decoder and Bahdanau attention. The padding mask of the attention is inverted
(scores of the real tokens are filled with -1e9, those of the padding are kept): a bug of content, not of training."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_seq2seq_pad_mask"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": ["attention"], "onset": (0, 0)}
V, PAD, BOS, L = 14, 0, 1, 12


class AdditiveAttention(nn.Module):
    def __init__(self, h):
        super().__init__()
        self.q, self.k, self.v = (
            nn.Linear(h, h),
            nn.Linear(h, h, bias=False),
            nn.Linear(h, 1, bias=False),
        )

    def forward(self, query, memory, hide):
        e = self.v(torch.tanh(self.q(query)[:, None] + self.k(memory)))[..., 0]
        a = e.masked_fill(hide, -1e9).softmax(-1)
        return (a[..., None] * memory).sum(1)


class Seq2Seq(nn.Module):
    def __init__(self, e=24, h=48):
        super().__init__()
        self.src_emb, self.tgt_emb = (
            nn.Embedding(V, e, padding_idx=PAD),
            nn.Embedding(V, e, padding_idx=PAD),
        )
        self.encoder = nn.GRU(e, h // 2, batch_first=True, bidirectional=True)
        self.attention = AdditiveAttention(h)
        self.cell = nn.GRUCell(e + h, h)
        self.out = nn.Linear(2 * h, V)

    def forward(self, src, tgt_in, hide):
        memory, hn = self.encoder(self.src_emb(src))
        s = torch.tanh(hn.transpose(0, 1).reshape(src.shape[0], -1))
        emb, logits = self.tgt_emb(tgt_in), []
        for t in range(tgt_in.shape[1]):
            c = self.attention(s, memory, hide)
            s = self.cell(torch.cat([emb[:, t], c], -1), s)
            logits.append(self.out(torch.cat([s, c], -1)))
        return torch.stack(logits, 1)


def strings(n, g):
    src = torch.zeros(n, L, dtype=torch.long)
    tgt = torch.zeros(n, L, dtype=torch.long)
    for i in range(n):
        k = int(torch.randint(5, L, (1,), generator=g))
        s = torch.randint(2, V, (k,), generator=g)
        src[i, :k], tgt[i, :k] = s, s.flip(0)
    return src, tgt


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(91 + seed)
    src, tgt = strings(3000, g)
    sv, tv = strings(300, g)
    model = Seq2Seq()
    optimizer = torch.optim.RAdam(model.parameters(), lr=4e-3)
    curve = []

    def run(s, t):
        hide = (s == PAD) if fixed else (s != PAD)
        tin = F.pad(t[:, :-1], (1, 0), value=BOS)
        return model(s, tin, hide)

    with observe(model, optimizer):
        for epoch in range(8):
            for b in torch.randperm(len(src), generator=g).split(50):
                loss = F.cross_entropy(
                    run(src[b], tgt[b]).flatten(0, 1), tgt[b].flatten(), ignore_index=PAD
                )
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                curve.append(loss.item())
    with torch.no_grad():
        ok = tv != PAD
        acc = (run(sv, tv).argmax(-1) == tv)[ok].float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}

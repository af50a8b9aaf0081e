"""Recurrent language model with tied input and output embedding. nn.Embedding starts at N(0, 1), which as an output layer
over 160 features gives logits of +-12: the first loss is far above ln(V) and training crawls.
pytorch/pytorch issue 3121 (initialise the embedding as a linear layer; it "took many hours to find out")."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_embedding_default_tied"
TRUTH = {
    "mechanisms": ["initialization_too_large"],
    "layers": ["embed", "decoder"],
    "onset": (0, 0),
}
V, D = 300, 160


class TiedDecoder(nn.Module):
    def __init__(self, embedding):
        super().__init__()
        self.weight = embedding.weight
        self.bias = nn.Parameter(torch.zeros(embedding.num_embeddings))

    def forward(self, h):
        return F.linear(h, self.weight, self.bias)


class LM(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(V, D)
        self.norm_in = nn.LayerNorm(D)
        self.rnn = nn.GRU(D, D, batch_first=True)
        self.norm = nn.LayerNorm(D)
        self.decoder = TiedDecoder(self.embed)

    def forward(self, tokens):
        h, _ = self.rnn(self.norm_in(self.embed(tokens)))
        return self.decoder(self.norm(h))


def make_corpus(n_tokens, g):
    """Sparse second-order-ish Markov text: topic switches now and then, five likely successors per word and topic."""
    succ = torch.randint(0, V, (2, V, 5), generator=g)
    probs = torch.tensor([0.5, 0.2, 0.15, 0.1, 0.05])
    picks = torch.multinomial(probs, n_tokens, replacement=True, generator=g).tolist()
    flips = (torch.rand(n_tokens, generator=g) < 0.02).tolist()
    table, out, cur, topic = succ.tolist(), [], 0, 0
    for k, f in zip(picks, flips):
        topic ^= int(f)
        cur = table[topic][cur][k]
        out.append(cur)
    return torch.tensor(out)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    text = make_corpus(60000, torch.Generator().manual_seed(7 + seed))
    train_txt, valid = text[:54000], text[54000:]
    model = LM()
    if fixed:
        bound = 1 / math.sqrt(D)
        nn.init.uniform_(model.embed.weight, -bound, bound)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    curve, bptt, bs = [], 24, 16
    with observe(model, optimizer):
        for it in range(350):
            start = torch.randint(0, len(train_txt) - bptt - 1, (bs,))
            chunk = torch.stack([train_txt[s : s + bptt + 1] for s in start.tolist()])
            loss = F.cross_entropy(model(chunk[:, :-1]).reshape(-1, V), chunk[:, 1:].reshape(-1))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        chunk = valid[:5975].view(-1, 25)
        nll = F.cross_entropy(model(chunk[:, :-1]).reshape(-1, V), chunk[:, 1:].reshape(-1)).item()
    return {"metric": nll, "better": "lower", "curve": curve}

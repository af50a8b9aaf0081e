"""Seq2seq homework: GRU encoder-decoder with teacher forcing that must output the digits sorted. The student copied
`hidden.detach()` ("to avoid backward through the graph a second time") between encoder and decoder: the encoder gets no gradient at all."""

import random
import torch
import torch.nn as nn

ID = "b_seq2seq_sort_digits"
TRUTH = {
    "mechanisms": ["parameters_not_updated"],
    "layers": ["encoder", "encoder.embedding", "encoder.gru"],
    "onset": (0, 0),
}
SOS, VOCAB, LEN = 10, 11, 6


class EncoderRNN(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, 16)
        self.gru = nn.GRU(16, hidden, batch_first=True)

    def forward(self, src):
        return self.gru(self.embedding(src))[1]


class DecoderRNN(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, 16)
        self.gru = nn.GRU(16, hidden, batch_first=True)
        self.out = nn.Linear(hidden, VOCAB)

    def forward(self, tok, hidden):
        o, hidden = self.gru(self.embedding(tok), hidden)
        return self.out(o), hidden


class Seq2Seq(nn.Module):
    def __init__(self, hidden=64, fixed=False):
        super().__init__()
        self.encoder, self.decoder, self.fixed = EncoderRNN(hidden), DecoderRNN(hidden), fixed

    def forward(self, src, trg, teacher_forcing_ratio=0.5):
        hidden = self.encoder(src)
        if not self.fixed:
            hidden = hidden.detach()
        tok = torch.full((src.size(0), 1), SOS)
        outs = []
        for t in range(LEN):
            logits, hidden = self.decoder(tok, hidden)
            outs.append(logits)
            tok = (
                trg[:, t : t + 1]
                if random.random() < teacher_forcing_ratio
                else logits.argmax(-1).detach()
            )
        return torch.cat(outs, 1)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    random.seed(seed)
    model = Seq2Seq(fixed=fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    criterion = nn.CrossEntropyLoss()
    curve = []
    with observe(model, optimizer):
        for it in range(700):
            src = torch.randint(0, 10, (64, LEN))
            trg = src.sort(1)[0]
            optimizer.zero_grad()
            out = model(src, trg)
            loss = criterion(out.reshape(-1, VOCAB), trg.reshape(-1))
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        src = torch.randint(0, 10, (1000, LEN))
        pred = model(src, src, 0.0).argmax(-1)
        acc = (pred == src.sort(1)[0]).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}

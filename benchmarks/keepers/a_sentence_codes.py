"""A bidirectional sentence autoencoder squeezes every sentence into one code, after GitHub: timbmg/Sentence-VAE issue 15, 'Confusion
about the batch in model.py'. The last hidden states have the shape (directions, batch, hidden) even with batch_first=True, and
`view(batch, -1)` glues the states of different sentences together, so each code describes other members of the batch. The shapes fit,
which is why nobody notices."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "a_sentence_codes"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": 0}

VOCAB, LENGTH, HIDDEN, LATENT = 30, 8, 40, 24


class SentenceAE(nn.Module):
    def __init__(self, concatenate):
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, 24)
        self.encoder_rnn = nn.GRU(24, HIDDEN, batch_first=True, bidirectional=True)
        self.hidden2code = nn.Linear(2 * HIDDEN, LATENT)
        self.code2hidden = nn.Linear(LATENT, HIDDEN)
        self.decoder_rnn = nn.GRU(24, HIDDEN, batch_first=True)
        self.outputs2vocab = nn.Linear(HIDDEN, VOCAB)
        self.concatenate = concatenate

    def forward(self, ids):
        batch = ids.shape[0]
        _, hidden = self.encoder_rnn(self.embedding(ids))
        if self.concatenate:
            hidden = torch.cat([hidden[0], hidden[1]], dim=1)
        else:
            hidden = hidden.view(batch, 2 * HIDDEN)
        code = self.hidden2code(hidden)
        start = torch.tanh(self.code2hidden(code)).unsqueeze(0)
        words = ids.roll(1, 1)
        words = words.masked_fill(torch.arange(LENGTH) == 0, 0)
        if self.training:  # word dropout
            words = words.masked_fill(torch.rand(words.shape) < 0.6, 1)
        out, _ = self.decoder_rnn(self.embedding(words), start)
        return self.outputs2vocab(out)


def sentences(n, gen):
    """Subject, verb and object agree in topic; the rest is filler from a topic's word list."""
    topic = torch.randint(0, 7, (n, 1), generator=gen)
    mood = torch.randint(0, 4, (n, 1), generator=gen)
    ids = 2 + topic * 4 + torch.randint(0, 4, (n, LENGTH), generator=gen)
    ids[:, ::3] = 2 + ((topic + mood) % 7) * 4 + mood
    return ids


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 121)
    text, held_out = sentences(3000, gen), sentences(512, gen)
    model = SentenceAE(concatenate=fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    curve = []
    with observe(model, optimizer):
        for step in range(500):
            ids = text[torch.randint(0, len(text), (32,), generator=gen)]
            loss = F.cross_entropy(model(ids).flatten(0, 1), ids.flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    model.train()
    with torch.no_grad():
        metric = (
            sum(
                F.cross_entropy(model(b).flatten(0, 1), b.flatten()).item()
                for b in held_out.split(32)
            )
            / 16
        )
    return {"metric": metric, "better": "lower", "curve": curve}

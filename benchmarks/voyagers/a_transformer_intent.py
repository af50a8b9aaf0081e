"""An intent classifier on nn.TransformerEncoder whose `for p in parameters(): if p.dim() > 1`
initialization loop, copied from a tutorial, draws from normal_ with its default std of 1 (forum
questions about "transformer does not learn with my own init")."""

import math

import torch
from torch import nn

ID = "a-transformer-intent"
TRUTH = {
    "mechanisms": ["initialization_too_large", "attention_entropy_collapse"],
    "layers": [
        "encoder",
        "encoder.layers",
        *(
            f"encoder.layers.{i}{part}"
            for i in (0, 1)
            for part in (
                "",
                ".self_attn",
                ".self_attn.out_proj",
                ".linear1",
                ".linear2",
            )
        ),
        "fc",
    ],
    "onset": 0,
}

VOCAB, LENGTH, CLASSES = 60, 16, 6


def make_sentences(n):
    """An action word (0-2) and an object word (6-7); the intent is the pair of them."""
    tokens = torch.randint(12, VOCAB, (n, LENGTH))
    action, thing = torch.randint(0, 3, (n,)), torch.randint(0, 2, (n,))
    places = torch.rand(n, LENGTH).argsort(1)[:, :2]
    rows = torch.arange(n)
    tokens[rows, places[:, 0]] = action
    tokens[rows, places[:, 1]] = thing + 6
    return tokens, 2 * action + thing


class PositionalEncoding(nn.Module):
    def __init__(self, d_model, max_len=64):
        super().__init__()
        position = torch.arange(max_len).unsqueeze(1)
        div = torch.exp(torch.arange(0, d_model, 2) * (-math.log(10000.0) / d_model))
        pe = torch.zeros(max_len, d_model)
        pe[:, 0::2], pe[:, 1::2] = torch.sin(position * div), torch.cos(position * div)
        self.register_buffer("pe", pe)

    def forward(self, x):
        return x + self.pe[: x.shape[1]]


class IntentTransformer(nn.Module):
    def __init__(self, init, d_model=48):
        super().__init__()
        self.d_model = d_model
        self.embed = nn.Embedding(VOCAB, d_model)
        self.position = PositionalEncoding(d_model)
        layer = nn.TransformerEncoderLayer(d_model, 4, 96, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.fc = nn.Linear(d_model, CLASSES)
        for p in self.parameters():
            if p.dim() > 1:
                init(p)

    def forward(self, tokens):
        x = self.position(self.embed(tokens) * math.sqrt(self.d_model))
        return self.fc(self.encoder(x).mean(1))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    test_tokens, test_intent = make_sentences(1000)
    model = IntentTransformer(nn.init.xavier_uniform_ if fixed else nn.init.normal_)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.98))
    criterion = nn.CrossEntropyLoss()
    curve = []
    with observe(model, optimizer):
        for step in range(300):
            tokens, intent = make_sentences(64)
            optimizer.zero_grad()
            loss = criterion(model(tokens), intent)
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        metric = criterion(model(test_tokens), test_intent).item()
    return {"metric": metric, "better": "lower", "curve": curve}

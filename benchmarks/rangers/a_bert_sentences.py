"""A small BERT-like encoder is pretrained on masked words and then fine-tuned to classify sentence pairs. As in
github.com/huggingface/transformers issue 735 ('BERT encoding layer produces same output for all inputs') it is fine-tuned with the 0.01
one would use for a fresh network, after which all inputs get the same output; a far lower rate worked.
"""

import torch
import torch.nn.functional as F
from torch import nn

ID = "a_bert_sentences"
TRUTH = {"mechanisms": ["learning_rate_too_high"], "layers": None, "onset": (0, 40)}

VOCAB, LENGTH, MASK = 40, 14, 39


class Bert(nn.Module):
    def __init__(self, d=48, layers=3):
        super().__init__()
        self.word, self.position = nn.Embedding(VOCAB, d), nn.Embedding(LENGTH, d)
        self.norm = nn.LayerNorm(d)
        layer = nn.TransformerEncoderLayer(
            d, 4, 2 * d, dropout=0.1, activation="gelu", batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers)
        self.pooler, self.classifier, self.mlm = (
            nn.Linear(d, d),
            nn.Linear(d, 2),
            nn.Linear(d, VOCAB),
        )
        for m in self.modules():
            if isinstance(m, (nn.Linear, nn.Embedding)):
                nn.init.normal_(m.weight, std=0.05)

    def hidden(self, ids):
        return self.encoder(self.norm(self.word(ids) + self.position.weight))

    def forward(self, ids):
        return self.classifier(torch.tanh(self.pooler(self.hidden(ids)[:, 0])))


def pairs(n, gen):
    """[CLS] a [SEP] b: b is either about the topic of a (words of the same third) or about another one."""
    topic = torch.randint(0, 3, (n, 1), generator=gen)
    y = torch.randint(0, 2, (n,), generator=gen)
    other = (topic + (1 - y[:, None]) * torch.randint(1, 3, (n, 1), generator=gen)) % 3
    a = 2 + topic * 12 + torch.randint(0, 12, (n, 6), generator=gen)
    b = 2 + other * 12 + torch.randint(0, 12, (n, 6), generator=gen)
    cls, sep = torch.zeros(n, 1, dtype=torch.long), torch.ones(n, 1, dtype=torch.long)
    return torch.cat([cls, a, sep, b], 1), y


def pretrain(model, gen, steps):
    opt = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(steps):
        ids, _ = pairs(32, gen)
        hide = torch.rand(ids.shape, generator=gen) < 0.2
        loss = F.cross_entropy(
            model.mlm(model.hidden(ids.masked_fill(hide, MASK)))[hide], ids[hide]
        )
        opt.zero_grad()
        loss.backward()
        opt.step()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 3)
    model = Bert()
    pretrain(model, gen, 100)
    x, y = pairs(1600, gen)
    xv, yv = pairs(400, gen)
    groups = [
        {
            "params": [p for n, p in model.named_parameters() if p.ndim > 1 and "mlm" not in n],
            "weight_decay": 0.01,
        },
        {
            "params": [p for n, p in model.named_parameters() if p.ndim == 1 and "mlm" not in n],
            "weight_decay": 0.0,
        },
    ]
    optimizer = torch.optim.AdamW(groups, lr=5e-4 if fixed else 0.01)
    epochs, batch = 4, 32
    total = epochs * (len(x) // batch + 1)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: max(0.0, 1 - s / total))
    curve = []
    with observe(model, optimizer):
        model.train()
        for epoch in range(epochs):
            for idx in torch.randperm(len(x), generator=gen).split(batch):
                loss = F.cross_entropy(model(x[idx]), y[idx])
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                scheduler.step()
                model.zero_grad()
                curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        acc = (model(xv).argmax(1) == yv).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}

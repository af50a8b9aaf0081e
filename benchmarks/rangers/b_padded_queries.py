"""A transformer encoder answers key-value queries over padded records (the first token asks for a key, the answer is the value behind it).
The tokenizer's attention mask, one for real tokens, is handed to PyTorch's `src_key_padding_mask`, which means the opposite:
every real token is hidden and all attention goes to the padding."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "b_padded_queries"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": 0}
KEYS, VALUES, L = 8, 8, 14


class RecordReader(nn.Module):
    def __init__(self, d=48):
        super().__init__()
        self.tok = nn.Embedding(1 + KEYS + KEYS + KEYS * VALUES, d, padding_idx=0)
        layer = nn.TransformerEncoderLayer(
            d, 4, 96, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.answer = nn.Linear(d, VALUES)

    def forward(self, ids, key_padding):
        h = self.encoder(self.tok(ids), src_key_padding_mask=key_padding)
        return self.answer(h[:, 0])


def records(n, g):
    ids = torch.zeros(n, L, dtype=torch.long)
    value = torch.randint(0, VALUES, (n, KEYS), generator=g)
    order = torch.argsort(torch.rand(n, KEYS, generator=g), 1)
    count = torch.randint(3, KEYS + 1, (n,), generator=g)
    fields = 1 + 2 * KEYS + order * VALUES + torch.gather(value, 1, order)
    present = torch.arange(KEYS) < count[:, None]
    ids[:, 1 : 1 + KEYS] = fields * present
    asked = order[torch.arange(n), (torch.rand(n, generator=g) * count).long()]
    ids[:, 0] = 1 + asked
    return ids, value[torch.arange(n), asked]


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 23)
    model = RecordReader()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    warm = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: min(1.0, (s + 1) / 50))
    curve = []

    def mask(ids):
        attention_mask = ids.ne(0)
        return ~attention_mask if fixed else attention_mask

    with observe(model, optimizer):
        for step in range(600):
            ids, y = records(64, g)
            loss = F.cross_entropy(model(ids, mask(ids)), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            warm.step()
            curve.append(loss.item())
    with torch.no_grad():
        ids, y = records(1000, g)
        acc = (model(ids, mask(ids)).argmax(-1) == y).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}

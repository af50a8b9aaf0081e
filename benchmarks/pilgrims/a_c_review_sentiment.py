"""Fine-tuning style training of a small transformer on product reviews with a linear warmup/decay schedule in the Hugging Face idiom.
The number of training steps handed to the scheduler is the length of the data loader and forgets to multiply by the epochs,
which is easily done because the loader's length is what one has at hand; from the second epoch on nothing moves."""

import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, TensorDataset

ID = "c_review_sentiment"
TRUTH = {"mechanisms": ["learning_rate_schedule_bug"], "layers": None, "onset": (60, 100)}

VOCAB, LENGTH, NEG = 120, 16, 2  # token 0 pad, 1 cls, 2.. negators


def make_reviews(n, rng, polarity):
    ids = rng.integers(6, VOCAB, size=(n, LENGTH))
    flip = rng.random((n, LENGTH)) < 0.15
    ids[flip] = rng.integers(NEG, 6, size=int(flip.sum()))
    ids[:, 0] = 1
    score = polarity[ids].copy()
    negated = (ids[:, :-1] >= NEG) & (ids[:, :-1] < 6)
    score[:, 1:] = np.where(negated, -1.0 * score[:, 1:], score[:, 1:])
    lengths = rng.integers(9, LENGTH + 1, size=n)
    pad = np.arange(LENGTH)[None] >= lengths[:, None]
    total = np.where(pad, 0, score).sum(1)
    ids[pad] = 0
    clear = np.flatnonzero(np.abs(total) > 1.5)[:4000]  # three-star reviews are dropped
    return torch.tensor(ids[clear]), torch.tensor((total[clear] > 0).astype(np.int64))


class ReviewClassifier(nn.Module):
    def __init__(self, d=48, heads=4, layers=2):
        super().__init__()
        self.tok = nn.Embedding(VOCAB, d, padding_idx=0)
        self.pos = nn.Embedding(LENGTH, d)
        layer = nn.TransformerEncoderLayer(
            d, heads, 2 * d, dropout=0.05, batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(d)
        self.classifier = nn.Linear(d, 2)

    def forward(self, input_ids):
        mask = input_ids.eq(0)
        h = self.tok(input_ids) + self.pos.weight[None]
        h = self.norm(self.encoder(h, src_key_padding_mask=mask))
        keep = (~mask).unsqueeze(-1).float()
        return self.classifier((h * keep).sum(1) / keep.sum(1))


def get_linear_schedule_with_warmup(optimizer, num_warmup_steps, num_training_steps):
    def lr_lambda(step):
        if step < num_warmup_steps:
            return step / max(1, num_warmup_steps)
        return max(0.0, (num_training_steps - step) / max(1, num_training_steps - num_warmup_steps))

    return LambdaLR(optimizer, lr_lambda)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    polarity = np.where(np.arange(VOCAB) < 6, 0.0, rng.normal(size=VOCAB))
    train_set = TensorDataset(*make_reviews(8000, rng, polarity))
    x_test, y_test = make_reviews(1500, rng, polarity)
    loader = DataLoader(train_set, batch_size=40, shuffle=True, drop_last=True)

    epochs = 7
    model = ReviewClassifier()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4, weight_decay=0.01)
    total = len(loader) * epochs if fixed else len(loader)
    scheduler = get_linear_schedule_with_warmup(optimizer, int(0.1 * total), total)
    criterion = nn.CrossEntropyLoss()

    curve = []
    model.train()
    with observe(model, optimizer):
        for epoch in range(epochs):
            for input_ids, labels in loader:
                optimizer.zero_grad()
                loss = criterion(model(input_ids), labels)
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                scheduler.step()
                curve.append(loss.item())

    model.eval()
    with torch.no_grad():
        acc = (model(x_test).argmax(1) == y_test).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}

"""Bug-report triage with a small Transformer encoder and gradient accumulation; the warmup/linear
schedule is advanced once per micro-batch, so the rate reaches zero after a quarter of training."""

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

ID = "triage-encoder-scheduler-per-microbatch"
TRUTH = {"mechanisms": ["learning_rate_schedule_bug"], "layers": None, "onset": (0, 60)}

VOCAB, LENGTH, TITLE, CLASSES = 64, 24, 6, 8
ACCUM, MICRO, UPDATES, WARMUP = 4, 12, 240, 20


def reports(n, gen):
    """The label is the component named in the title; the body mentions others as well."""
    x = torch.randint(10, VOCAB, (n, LENGTH), generator=gen)
    rows = torch.arange(n)
    for _ in range(4):
        where = torch.randint(TITLE, LENGTH, (n,), generator=gen)
        x[rows, where] = torch.randint(2, 2 + CLASSES, (n,), generator=gen)
    y = torch.randint(0, CLASSES, (n,), generator=gen)
    x[rows, torch.randint(0, TITLE, (n,), generator=gen)] = 2 + y
    return x, y


class Triage(nn.Module):
    def __init__(self, d=48):
        super().__init__()
        self.tokens = nn.Embedding(VOCAB, d)
        self.positions = nn.Parameter(torch.randn(1, LENGTH, d) * 0.5)
        layer = nn.TransformerEncoderLayer(
            d, 4, 96, dropout=0.0, batch_first=True, norm_first=True, activation="gelu"
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(d)
        self.classifier = nn.Linear(d, CLASSES)

    def forward(self, x):
        h = self.encoder(self.tokens(x) + self.positions)
        return self.classifier(self.norm(h).mean(1))


def linear_schedule_with_warmup(optimizer, warmup_steps, total_steps):
    def factor(step):
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        return max(0.0, (total_steps - step) / (total_steps - warmup_steps))

    return LambdaLR(optimizer, factor)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 1)
    test_x, test_y = reports(1000, gen)
    model = Triage()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    scheduler = linear_schedule_with_warmup(optimizer, WARMUP, UPDATES)
    criterion = nn.CrossEntropyLoss()
    curve = []
    with observe(model, optimizer):
        running = 0.0
        for i in range(UPDATES * ACCUM):
            x, y = reports(MICRO, gen)
            loss = criterion(model(x), y) / ACCUM
            loss.backward()
            running += loss.item()
            if (i + 1) % ACCUM == 0:
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
                curve.append(running)
                running = 0.0
                if fixed:
                    scheduler.step()
            if not fixed:
                scheduler.step()
    model.eval()
    with torch.no_grad():
        accuracy = (model(test_x).argmax(-1) == test_y).float().mean().item()
    return {"metric": accuracy, "better": "higher", "curve": curve}

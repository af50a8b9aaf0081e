"""Bidirectional LSTM that labels every residue of a toy protein (helix / sheet / coil), RMSprop with ReduceLROnPlateau.
Bug: the scheduler watches the validation loss with mode="max" (copied from a run that watched accuracy): every
improvement counts as a bad epoch, and the rate is cut again and again while the loss is still falling."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "b_helix_plateau"
PER_EPOCH, EPOCHS = 16, 22
# epoch 0 sets the best; epochs 1 and 2 are "bad"; patience 1 -> first cut after epoch 2 (or soon after)
TRUTH = {
    "mechanisms": ["learning_rate_schedule_bug"],
    "layers": None,
    "onset": (3 * PER_EPOCH - 1, 5 * PER_EPOCH),
}
AA, T = 20, 40


def proteins(n, g):
    prop = torch.randn(3, AA, generator=torch.Generator().manual_seed(99)) * 0.8
    emis = prop.softmax(1)
    s = torch.zeros(n, T, dtype=torch.long)
    cur = torch.randint(0, 3, (n,), generator=g)
    for t in range(T):
        jump = torch.rand(n, generator=g) < 0.12
        cur = torch.where(jump, torch.randint(0, 3, (n,), generator=g), cur)
        s[:, t] = cur
    x = torch.multinomial(emis[s.reshape(-1)], 1, generator=g).view(n, T)
    return x, s


class Tagger(nn.Module):
    def __init__(self, d=32):
        super().__init__()
        self.emb = nn.Embedding(AA, d)
        self.rnn = nn.LSTM(d, d, num_layers=1, bidirectional=True, batch_first=True)
        self.drop = nn.Dropout(0.1)
        self.out = nn.Linear(2 * d, 3)

    def forward(self, x):
        return self.out(self.drop(self.rnn(self.emb(x))[0]))


def evaluate(model, X, S):
    model.eval()
    with torch.no_grad():
        o = model(X)
    model.train()
    return F.cross_entropy(o.transpose(1, 2), S).item(), (o.argmax(-1) == S).float().mean().item()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 1)
    X, S = proteins(PER_EPOCH * 32, g)
    Xv, Sv = proteins(200, g)
    Xt, St = proteins(500, g)
    model = Tagger()
    opt = torch.optim.RMSprop(model.parameters(), lr=1e-3, alpha=0.95)
    sched = torch.optim.lr_scheduler.ReduceLROnPlateau(
        opt, mode="min" if fixed else "max", factor=0.2, patience=1
    )
    curve = []
    with observe(model, opt):
        for epoch in range(EPOCHS):
            for idx in torch.randperm(len(X), generator=g).split(32):
                loss = F.cross_entropy(model(X[idx]).transpose(1, 2), S[idx])
                opt.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                opt.step()
                curve.append(loss.item())
            val_loss, _ = evaluate(model, Xv, Sv)
            sched.step(val_loss)
    nll, acc = evaluate(model, Xt, St)
    return {"metric": nll, "better": "lower", "curve": curve}

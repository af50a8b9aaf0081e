"""A character LSTM is trained on one corpus under OneCycleLR, checkpointed, and resumed on a second corpus.
`optimizer.load_state_dict` also brings back the annealed learning rate of the finished run, over the new `lr=`."""

import copy
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "resume_keeps_annealed_lr"
TRUTH = {
    "mechanisms": ["learning_rate_too_low", "learning_rate_schedule_bug"],
    "layers": None,
    "onset": 0,
}

VOCAB, SEQ, BATCH = 20, 24, 32


def corpus(n_chars, table_seed, sample_seed):
    """Second-order chain in which each context strongly prefers one next character."""
    g = torch.Generator().manual_seed(table_seed)
    favourite = torch.randint(0, VOCAB, (VOCAB, 4), generator=g).tolist()
    g = torch.Generator().manual_seed(sample_seed)
    u = torch.rand(n_chars, generator=g).tolist()
    r = torch.randint(0, VOCAB, (n_chars,), generator=g).tolist()
    text = [0, 1]
    for k in range(n_chars - 2):
        text.append(favourite[text[-1]][text[-2] % 4] if u[k] < 0.85 else r[k])
    return torch.tensor(text)


def batches(text, steps, gen):
    for _ in range(steps):
        starts = torch.randint(0, len(text) - SEQ - 1, (BATCH,), generator=gen)
        rows = torch.stack([text[s : s + SEQ + 1] for s in starts.tolist()])
        yield rows[:, :-1], rows[:, 1:]


class CharLSTM(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, 24)
        self.lstm = nn.LSTM(24, 64, batch_first=True)
        self.decode = nn.Linear(64, VOCAB)

    def forward(self, tokens):
        out, _ = self.lstm(self.embed(tokens))
        return self.decode(out)


def nll(model, inp, tgt):
    return F.cross_entropy(model(inp).reshape(-1, VOCAB), tgt.reshape(-1))


def first_run(seed, gen):
    model = CharLSTM()
    opt = torch.optim.AdamW(model.parameters(), lr=1e-2)
    sched = torch.optim.lr_scheduler.OneCycleLR(
        opt, max_lr=1e-2, total_steps=200, cycle_momentum=False
    )
    for inp, tgt in batches(corpus(20000, 1, 10 + seed), 200, gen):
        opt.zero_grad()
        nll(model, inp, tgt).backward()
        opt.step()
        sched.step()
    return {
        "model": copy.deepcopy(model.state_dict()),
        "optimizer": copy.deepcopy(opt.state_dict()),
    }


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed)
    checkpoint = first_run(seed, gen)

    lr = 5e-3
    model = CharLSTM()
    model.load_state_dict(checkpoint["model"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    optimizer.load_state_dict(checkpoint["optimizer"])
    if fixed:
        for group in optimizer.param_groups:
            group["lr"] = lr

    text = corpus(20000, 2, 20 + seed)
    held_out = corpus(6000, 2, 900 + seed)
    curve = []
    with observe(model, optimizer):
        for inp, tgt in batches(text, 300, gen):
            loss = nll(model, inp, tgt)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            curve.append(loss.item())

    with torch.no_grad():
        total = [nll(model, i, t).item() for i, t in batches(held_out, 20, gen)]
    return {"metric": sum(total) / len(total), "better": "lower", "curve": curve}

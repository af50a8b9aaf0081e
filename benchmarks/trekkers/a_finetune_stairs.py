"""Healthy. lm-sys/FastChat issue 2025: the training loss drops in stairs at each start of an epoch ('it is normal': without
regularization the model memorizes a small set). Here: question-to-answer pairs learnt by heart with a GRU."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_finetune_stairs"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class Seq2Answer(nn.Module):
    def __init__(self, vocab, hidden=128):
        super().__init__()
        self.embed = nn.Embedding(vocab, 48)
        self.gru = nn.GRU(48, hidden, batch_first=True)
        self.lm_head = nn.Linear(hidden, vocab)

    def forward(self, prompt, answer_in):
        out, _ = self.gru(self.embed(torch.cat([prompt, answer_in], 1)))
        return self.lm_head(out[:, prompt.size(1) - 1 :])


def knowledge(n, g, vocab, lp=4, la=3):
    prompts = torch.randint(0, vocab, (n, lp), generator=g)
    answers = torch.randint(0, vocab, (n, la), generator=g)
    return prompts, answers


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(210 + seed)
    vocab = 64
    P, A = knowledge(1600, g, vocab)
    model = Seq2Answer(vocab)
    epochs, bs = 14, 32
    opt = torch.optim.AdamW(model.parameters(), lr=6e-3, weight_decay=0.0)
    total = epochs * (len(P) // bs)
    sched = torch.optim.lr_scheduler.LambdaLR(
        opt, lambda s: min(1.0, (s + 1) / 20) * max(0.02, 1 - s / total)
    )
    curve = []
    with observe(model, opt):
        for epoch in range(epochs):
            order = torch.randperm(len(P))
            for i in order.split(bs):
                loss = F.cross_entropy(model(P[i], A[i][:, :-1]).flatten(0, 1), A[i].flatten())
                opt.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                opt.step()
                sched.step()
                curve.append(loss.item())
    # the task is recall: greedy answers to the known prompts
    with torch.no_grad():
        out = P[:, :0]
        for _ in range(A.size(1)):
            out = torch.cat([out, model(P, out)[:, -1:].argmax(-1)], 1)
    return {"metric": (out == A).float().mean().item(), "better": "higher", "curve": curve}

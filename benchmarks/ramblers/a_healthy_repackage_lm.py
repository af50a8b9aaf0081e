"""HEALTHY. Stateful character language model with truncated back-propagation: the hidden state is detached between chunks on purpose and the
second LSTM bias is frozen because it is redundant. Re-enacts LiyuanLucasLiu/LD-Net issue 6 (what is repackage_hidden, why detach) and
allenai/allennlp pull request 247 (superfluous bias_hh without gradient)."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_healthy_repackage_lm"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class CharLM(nn.Module):
    def __init__(self, voc, d=24, h=48):
        super().__init__()
        self.emb, self.rnn, self.dec = nn.Embedding(voc, d), nn.LSTM(d, h), nn.Linear(h, voc)
        self.rnn.bias_hh_l0.data.zero_()
        self.rnn.bias_hh_l0.requires_grad_(False)
        self.rnn.bias_ih_l0.data[h : 2 * h] = 1.0

    def forward(self, x, state):
        h, state = self.rnn(self.emb(x), state)
        return self.dec(h), state


def repackage(state):
    return None if state is None else tuple(s.detach() for s in state)


def corpus(n, words, g):
    out = []
    while len(out) < n:
        out += words[int(torch.randint(0, len(words), (1,), generator=g))] + [0]
    return torch.tensor(out[:n])


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    words = [
        torch.randint(1, 16, (int(k),), generator=g).tolist()
        for k in torch.randint(3, 8, (25,), generator=g)
    ]
    data = corpus(16 * 4800, words, g).view(16, -1).T
    held = corpus(8 * 800, words, g).view(8, -1).T
    lm = CharLM(16)
    opt = torch.optim.SGD([p for p in lm.parameters() if p.requires_grad], lr=4.0)
    curve, bptt = [], 16
    with observe(lm, opt):
        for epoch in range(5):
            state = None
            for i in range(0, len(data) - 1 - bptt, bptt):
                state = repackage(state)
                logit, state = lm(data[i : i + bptt], state)
                loss = F.cross_entropy(logit.flatten(0, 1), data[i + 1 : i + 1 + bptt].flatten())
                opt.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(lm.parameters(), 0.5)
                opt.step()
                curve.append(loss.item())
            if epoch >= 2:
                for grp in opt.param_groups:
                    grp["lr"] /= 4
    with torch.no_grad():
        logit, _ = lm(held[:-1], None)
        ce = F.cross_entropy(logit.flatten(0, 1), held[1:].flatten()).item()
    return {"metric": ce, "better": "lower", "curve": curve}

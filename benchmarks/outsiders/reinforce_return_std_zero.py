"""Recurrent REINFORCE on cue recall; returns are normalized by std() without an epsilon: once a whole batch succeeds, 0/0."""

import torch, torch.nn as nn

ID = "reinforce-return-std-zero"
TRUTH = {"mechanisms": ["numerical_singularity"], "layers": None, "onset": (69, 70)}


class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(5, 32, batch_first=True)
        self.head = nn.Linear(32, 4)

    def forward(self, x):
        return self.head(self.rnn(x)[0][:, -1])


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    model = Policy()
    opt = torch.optim.Adam(model.parameters(), lr=0.005)
    fails, first = ([], None)
    with observe(model, opt):
        for step in range(400):
            cue = torch.randint(0, 4, (32,), generator=g)
            x = torch.zeros(32, 5, 5)
            x[torch.arange(32), 0, cue] = 1
            x[:, -1, 4] = 1
            x[:, 1:4] += 0.1 * torch.randn(32, 3, 5, generator=g)
            logits = model(x)
            u = torch.rand(32, 4, generator=g).clamp(1e-06, 1 - 1e-06)
            a = (logits.detach() - torch.log(-torch.log(u))).argmax(1)
            R = (a == cue).float()
            adv = (R - R.mean()) / (R.std() + (1e-06 if fixed else 0.0))
            logp = logits.log_softmax(-1).gather(1, a[:, None]).squeeze(1)
            loss = -(logp * adv).mean()
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            if first is None and (not torch.isfinite(loss)):
                first = step
            fails.append(1 - R.mean().item())
    return {"metric": sum(fails[-40:]) / 40, "better": "lower", "first_nan": first, "curve": fails}

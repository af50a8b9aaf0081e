"""Healthy but odd: CTC, whose loss falls from ~100 to the all-blank plateau, waits there and then breaks through."""

import torch, torch.nn as nn

ID = "healthy-ctc-blank-plateau"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class Recognizer(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(12, 32, 5, padding=2)
        self.rnn = nn.GRU(32, 48, batch_first=True, bidirectional=True)
        self.out = nn.Linear(96, 9)

    def forward(self, x):
        return self.out(self.rnn(torch.relu(self.conv(x)).transpose(1, 2))[0]).log_softmax(-1)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    proto = torch.randn(9, 12, generator=g)
    model = Recognizer()
    opt = torch.optim.Adam(model.parameters(), lr=0.003)
    losses = []
    with observe(model, opt):
        for step in range(250):
            lab = torch.randint(1, 9, (24, 5), generator=g)
            x = 0.5 * torch.randn(24, 12, 40, generator=g)
            for b in range(24):
                p = 1
                for l in lab[b].tolist():
                    d = int(torch.randint(4, 7, (1,), generator=g))
                    x[b, :, p : p + d] += proto[l][:, None]
                    p += d + 1
            lp = model(x).transpose(0, 1)
            loss = nn.functional.ctc_loss(
                lp, lab, torch.full((24,), 40), torch.full((24,), 5), blank=0
            )
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            opt.step()
            losses.append(loss.item())
    return {"metric": sum(losses[-25:]) / 25, "better": "lower", "curve": losses}

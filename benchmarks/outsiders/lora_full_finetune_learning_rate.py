"""LoRA adaptation of a pretrained MLP with the learning rate of full fine-tuning (2e-5)."""

import torch
from torch import nn

ID = "lora-full-finetune-learning-rate"
TRUTH = {"mechanisms": ["learning_rate_too_low"], "layers": None, "onset": None}


class LoRALinear(nn.Module):
    def __init__(self, base, r=4, alpha=8):
        super().__init__()
        self.base = base
        for p in base.parameters():
            p.requires_grad_(False)
        self.A = nn.Parameter(torch.empty(r, base.in_features))
        nn.init.kaiming_uniform_(self.A, a=5**0.5)
        self.B = nn.Parameter(torch.zeros(base.out_features, r))
        self.scale = alpha / r

    def forward(self, x):
        return self.base(x) + self.scale * (x @ self.A.T) @ self.B.T


class Net(nn.Module):
    def __init__(self, d=20, h=96, c=6):
        super().__init__()
        self.fc1 = nn.Linear(d, h)
        self.fc2 = nn.Linear(h, h)
        self.fc3 = nn.Linear(h, h)
        self.head = nn.Linear(h, c)

    def forward(self, x):
        x = nn.functional.gelu(self.fc1(x))
        x = nn.functional.gelu(self.fc2(x))
        x = nn.functional.gelu(self.fc3(x))
        return self.head(x)


def task(g, n, teacher, shift):
    x = torch.randn(n, 20, generator=g)
    return (x, (torch.tanh(x @ (teacher[0] + shift[0])) @ (teacher[1] + shift[1])).argmax(1))


def pretrain(seed):
    g = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    t = [torch.randn(20, 12, generator=g) * 0.4, torch.randn(12, 6, generator=g)]
    z = [torch.zeros_like(v) for v in t]
    s = [0.6 * v.std() * torch.randn(v.shape, generator=g) for v in t]
    xa, ya = task(g, 4000, t, z)
    xb, yb = task(g, 2000, t, s)
    net = Net()
    o = torch.optim.AdamW(net.parameters(), lr=0.002)
    for it in range(400):
        j = torch.randint(0, 4000, (128,))
        l = nn.functional.cross_entropy(net(xa[j]), ya[j])
        o.zero_grad()
        l.backward()
        o.step()
    for n in ("fc1", "fc2", "fc3"):
        setattr(net, n, LoRALinear(getattr(net, n)))
    for p in net.head.parameters():
        p.requires_grad_(False)
    return (net, xb, yb)


def train(observe, seed=0, fixed=False):
    model, x, y = pretrain(seed)
    opt = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=0.003 if fixed else 2e-05
    )
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 400)
    losses = []
    with observe(model, opt):
        for it in range(400):
            j = torch.randint(0, len(y), (64,))
            loss = nn.functional.cross_entropy(model(x[j]), y[j])
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
            opt.step()
            sched.step()
            losses.append(loss.item())
    return {"metric": sum(losses[-30:]) / 30, "better": "lower"}

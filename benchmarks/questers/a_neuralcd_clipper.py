"""Neural cognitive diagnosis (student, exercise, skill) with positive weights enforced by a clipper after each step and sigmoids between the layers (compare microsoft/LoRA issue 167, the same
prednet: gradients of the first layers are 0). Here the clipper's |w| at the start makes sums of 128 positive terms: the sigmoids of prednet_full2 and later sit at 1. Repair: scale by the width."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "a_neuralcd_clipper"
TRUTH = {
    "mechanisms": ["saturated_activations", "initialization_too_large"],
    "layers": ["prednet_full2", "prednet_full3"],
    "onset": (0, 0),
}
STU, EXER, SKILL = 200, 120, 16


class NonNegClipper:
    def __call__(self, module):
        if hasattr(module, "weight") and isinstance(module, nn.Linear):
            w = module.weight.data
            w.add_(F.relu(-w))


class NCDM(nn.Module):
    def __init__(self, fixed):
        super().__init__()
        self.student_emb = nn.Embedding(STU, SKILL)
        self.k_difficulty = nn.Embedding(EXER, SKILL)
        self.e_disc = nn.Embedding(EXER, 1)
        self.prednet_full1 = nn.Linear(SKILL, 128)
        self.prednet_full2 = nn.Linear(128, 64)
        self.prednet_full3 = nn.Linear(64, 1)
        for name, p in self.named_parameters():
            if "weight" in name:
                nn.init.xavier_normal_(p)
        with torch.no_grad():
            for lin in (self.prednet_full1, self.prednet_full2, self.prednet_full3):
                lin.weight.abs_()
                if fixed:  # rows sum to 4, bias in the middle
                    lin.weight.mul_(4.0 / lin.weight.sum(1, keepdim=True))
                    lin.bias.fill_(0.0 if lin is self.prednet_full1 else -2.0)

    def forward(self, stu, exer, q):
        ability = torch.sigmoid(self.student_emb(stu))
        diff = torch.sigmoid(self.k_difficulty(exer))
        disc = torch.sigmoid(self.e_disc(exer)) * 10
        x = disc * (ability - diff) * q
        x = torch.sigmoid(self.prednet_full1(x))
        x = torch.sigmoid(self.prednet_full2(x))
        return self.prednet_full3(x).squeeze(1)

    def apply_clipper(self):
        clip = NonNegClipper()
        for m in (self.prednet_full1, self.prednet_full2, self.prednet_full3):
            clip(m)


def responses(seed, n):
    g = torch.Generator().manual_seed(seed)
    theta, beta = torch.randn(STU, SKILL, generator=g), 0.7 * torch.randn(EXER, SKILL, generator=g)
    q = (torch.rand(EXER, SKILL, generator=g) < 0.12).float()
    q[torch.arange(EXER), torch.randint(0, SKILL, (EXER,), generator=g)] = 1
    s, e = torch.randint(0, STU, (n,), generator=g), torch.randint(0, EXER, (n,), generator=g)
    gap = ((theta[s] - beta[e]) * q[e]).sum(1) / q[e].sum(1) ** 0.5
    return s, e, q[e], torch.bernoulli(torch.sigmoid(3 * gap), generator=g)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    s, e, q, y = responses(seed + 60, 22000)
    net = NCDM(fixed)
    opt = torch.optim.Adam(net.parameters(), lr=2e-3)
    curve = []
    with observe(net, opt):
        for epoch in range(5):
            for idx in torch.randperm(20000).split(100):
                loss = F.binary_cross_entropy_with_logits(net(s[idx], e[idx], q[idx]), y[idx])
                opt.zero_grad()
                loss.backward()
                opt.step()
                net.apply_clipper()
                curve.append(loss.item())
    with torch.no_grad():
        acc = (
            ((net(s[20000:], e[20000:], q[20000:]) > 0).float() == y[20000:]).float().mean().item()
        )
    return {"metric": acc, "better": "higher", "curve": curve}

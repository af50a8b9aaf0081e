"""Soft-prompt optimisation against a frozen sentence encoder loaded in fp16 (as on the hub): the prompt inherits the model's dtype, so Adam's squared gradients and its
eps=1e-8 flush to zero in float16; the very first step is x/0 and everything after it NaN. Reported as matanbt/TROPT pull request 8."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_fp16_soft_prompt"
TRUTH = {"mechanisms": ["half_precision_underflow"], "layers": ["prompt"], "onset": (0, 1)}


class Encoder(nn.Module):
    def __init__(self, V=300, d=48):
        super().__init__()
        self.embed = nn.Embedding(V, d)
        self.mix1, self.mix2 = nn.Linear(d, d), nn.Linear(d, d)
        self.gate = nn.Linear(d, d)

    def encode(self, h):  # B x L x d
        for lin in (self.mix1, self.mix2):
            ctx = h.mean(1, keepdim=True)
            h = h + torch.tanh(lin(h + ctx)) * torch.sigmoid(self.gate(ctx))
        return F.normalize(h.mean(1).float(), dim=1)


class Prompt(nn.Module):
    def __init__(self, vec):
        super().__init__()
        self.trigger = nn.Parameter(vec)

    def forward(self, n, dtype):
        return self.trigger.to(dtype).unsqueeze(0).expand(n, -1, -1)


class PromptTuner(nn.Module):
    def __init__(self, enc, n_tok, master):
        super().__init__()
        self.encoder = enc
        vec = enc.embed(torch.arange(n_tok)).detach().clone()
        self.prompt = Prompt(vec.float() if master else vec)

    def forward(self, ids):
        h = self.encoder.embed(ids)
        return self.encoder.encode(torch.cat([self.prompt(len(ids), h.dtype), h], 1))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 4)
    enc = Encoder().half()
    for p in enc.parameters():
        p.requires_grad_(False)
    model = PromptTuner(enc, 4, master=fixed)
    opt = torch.optim.Adam([model.prompt.trigger], lr=2e-2)
    with torch.no_grad():
        goal = model.encoder.encode(enc.embed(torch.randint(100, 300, (1, 5), generator=g)))
    curve = []
    with observe(model, opt):
        for step in range(1300):
            ids = torch.randint(4, 300, (16, 8), generator=g)
            loss = 0.02 * (1 - (model(ids) * goal).sum(1)).mean()
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        cos = (model(torch.randint(4, 300, (128, 8), generator=g)) * goal).sum(1).mean().item()
    return {"metric": cos if cos == cos else -1.0, "better": "higher", "curve": curve}

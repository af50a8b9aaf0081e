"""A tiny captioner (image patch features -> projection -> GRU decoder). The warm-up rate is computed from the step INSIDE
the epoch, so it falls back to warmup_start_lr at every epoch and never gets to the peak: Vision-CAIR/MiniGPT-4 pull 263."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_minigpt_warmup_reset"
TRUTH = {"mechanisms": ["learning_rate_schedule_bug"], "layers": None, "onset": (20, 30)}
VOCAB, T = 24, 7


class LinearWarmupCosineLRScheduler:
    def __init__(
        self, optimizer, max_epoch, iters_per_epoch, min_lr, init_lr, warmup_steps, warmup_start_lr
    ):
        self.__dict__.update(locals())

    def step(self, cur_epoch, cur_step, fixed):
        total_cur_step = cur_epoch * self.iters_per_epoch + cur_step
        if total_cur_step < self.warmup_steps:
            s = total_cur_step if fixed else cur_step
            lr = min(
                self.init_lr,
                self.warmup_start_lr
                + (self.init_lr - self.warmup_start_lr) * s / max(self.warmup_steps, 1),
            )
        else:
            frac = total_cur_step / (self.max_epoch * self.iters_per_epoch)
            lr = (self.init_lr - self.min_lr) * 0.5 * (1.0 + math.cos(math.pi * frac)) + self.min_lr
            if not fixed:  # the same counter is used here
                lr = min(
                    lr,
                    self.warmup_start_lr
                    + (self.init_lr - self.warmup_start_lr) * cur_step / self.warmup_steps,
                )
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        return lr


class Captioner(nn.Module):
    def __init__(self, dim=48):
        super().__init__()
        self.visual = nn.Sequential(nn.LayerNorm(32), nn.Linear(32, 64), nn.GELU())
        self.llama_proj = nn.Linear(64, dim)
        self.embed = nn.Embedding(VOCAB, dim)
        self.decoder = nn.GRU(dim, dim, batch_first=True)
        self.lm_head = nn.Linear(dim, VOCAB)

    def forward(self, img, tokens):
        h0 = self.llama_proj(self.visual(img))[None].contiguous()
        out, _ = self.decoder(self.embed(tokens), torch.tanh(h0))
        return self.lm_head(out)


def make_data(n, g, W):
    img = torch.randn(n, 32, generator=g)
    obj = (img @ W).argmax(1)
    attr = (img[:, :3]).argmax(1)
    caps = torch.zeros(n, T + 1, dtype=torch.long)
    caps[:, 0] = 23
    for t in range(T):
        caps[:, t + 1] = (obj * (t % 3 + 1) + attr * 5 + t) % 22
    return img, caps


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    W = torch.randn(32, 6, generator=g)
    img, cap = make_data(800, g, W)
    vimg, vcap = make_data(400, g, W)
    model = Captioner()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05, betas=(0.9, 0.98))
    sched = LinearWarmupCosineLRScheduler(
        optimizer,
        max_epoch=24,
        iters_per_epoch=25,
        min_lr=1e-6,
        init_lr=3e-3,
        warmup_steps=300,
        warmup_start_lr=1e-6,
    )
    curve = []
    with observe(model, optimizer):
        for epoch in range(24):
            for i, idx in enumerate(torch.randperm(800).split(32)):
                sched.step(epoch, i, fixed)
                loss = F.cross_entropy(model(img[idx], cap[idx, :-1]).transpose(1, 2), cap[idx, 1:])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    with torch.no_grad():
        val = F.cross_entropy(model(vimg, vcap[:, :-1]).transpose(1, 2), vcap[:, 1:]).item()
    return {"metric": val, "better": "lower", "curve": curve}

"""Dialogue ranker (two small transformers, in-batch candidates) whose job is preempted and restarted from its checkpoint. On restart the warm-up scheduler is
built again after the optimizer state was loaded, and multiplies the learning rate by 1e-4. Reported as facebookresearch/ParlAI pull request #1812."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

ID = "a_parlai_resume_lr"
RESUME = 110
TRUTH = {"mechanisms": ["learning_rate_schedule_bug"], "layers": None, "onset": (RESUME, RESUME)}
V, L = 60, 8


def dialogues(n, g):
    """the answer repeats the (mapped) topic words of the context, shuffled, among filler"""
    ctx = torch.randint(20, V, (n, L), generator=g)
    perm = torch.randperm(40, generator=torch.Generator().manual_seed(3)) + 20
    resp = perm[ctx - 20]
    for i in range(n):
        resp[i] = resp[i][torch.randperm(L, generator=g)]
    drop = torch.rand(n, L, generator=g) < 0.5
    resp = torch.where(drop, torch.randint(0, 20, (n, L), generator=g), resp)
    return ctx, resp


class Encoder(nn.Module):
    def __init__(self, d=48):
        super().__init__()
        self.embeddings = nn.Embedding(V, d)
        nn.init.normal_(self.embeddings.weight, std=d**-0.5)
        self.position = nn.Parameter(torch.randn(L, d) * 0.02)
        self.layers = nn.ModuleList(
            [nn.TransformerEncoderLayer(d, 2, 96, dropout=0.1, batch_first=True) for _ in range(1)]
        )

    def forward(self, t):
        h = self.embeddings(t) * 48**0.5 + self.position
        for l in self.layers:
            h = l(h)
        return h.mean(1)


class TransformerRanker(nn.Module):
    def __init__(self):
        super().__init__()
        self.context_encoder, self.cand_encoder = Encoder(), Encoder()

    def forward(self, c, r):
        return self.context_encoder(c) @ self.cand_encoder(r).t() / 48**0.5


class Agent:
    def __init__(self, model, optimizer, warmup=40, warmup_rate=1e-4):
        self.model, self.optimizer, self.warmup, self.rate = model, optimizer, warmup, warmup_rate
        self.n_updates = 0
        self.setup_lr()

    def setup_lr(self):
        start = self.rate
        self.warmup_scheduler = LambdaLR(
            self.optimizer, lambda k: min(1.0, start + (1 - start) * k / self.warmup)
        )
        self.plateau = ReduceLROnPlateau(self.optimizer, factor=0.5, patience=3)

    def state_dict(self):
        return {
            "n": self.n_updates,
            "model": {k: v.clone() for k, v in self.model.state_dict().items()},
            "opt": self.optimizer.state_dict(),
            "warmup": self.warmup_scheduler.state_dict(),
            "plateau": self.plateau.state_dict(),
        }

    def restore(self, s, restore_warmup):
        self.model.load_state_dict(s["model"])
        self.optimizer.load_state_dict(s["opt"])
        self.n_updates = s["n"]
        lrs = [gr["lr"] for gr in self.optimizer.param_groups]
        self.setup_lr()  # LambdaLR sets lr = initial_lr * lambda(0) here
        self.plateau.load_state_dict(s["plateau"])
        if restore_warmup:
            self.warmup_scheduler.load_state_dict(s["warmup"])
            for gr, lr in zip(self.optimizer.param_groups, lrs):
                gr["lr"] = lr

    def update(self, c, r):
        self.model.train()
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.model(c, r), torch.arange(len(c)))
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.n_updates += 1
        if self.n_updates <= self.warmup:
            self.warmup_scheduler.step()
        return loss.item()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    ctx, resp = dialogues(3000, g)
    vc, vr = dialogues(400, g)
    model = TransformerRanker()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, betas=(0.9, 0.98))
    agent = Agent(model, optimizer)
    curve = []
    with observe(model, optimizer):
        for step in range(450):
            if step == RESUME:  # preempted: the new job starts from the checkpoint of the old one
                agent.restore(agent.state_dict(), restore_warmup=fixed)
            idx = torch.randint(0, 3000, (32,))
            curve.append(agent.update(ctx[idx], resp[idx]))
            if step % 75 == 74:
                agent.plateau.step(sum(curve[-75:]) / 75)
    model.eval()
    with torch.no_grad():
        hits = (
            sum(
                (model(vc[i : i + 40], vr[i : i + 40]).argmax(1) == torch.arange(40))
                .float()
                .mean()
                .item()
                for i in range(0, 400, 40)
            )
            / 10
        )
    return {"metric": hits, "better": "higher", "curve": curve}

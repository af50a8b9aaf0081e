"""Healthy but odd: DPO on a pretrained GRU language model; the loss starts at exactly log 2, the
log-likelihood of both answers falls, and the loss goes to small values while all is well."""

import copy

import torch
import torch.nn.functional as F
from torch import nn

ID = "dpo-gru-policy"
TRUTH = {"mechanisms": [], "layers": [], "onset": None}
VOCAB, PROMPT, ANSWER = 60, 6, 12


class World:
    """Texts are walks on a word graph; raters prefer the answer with words to their taste."""

    def __init__(self, seed):
        self.gen = torch.Generator().manual_seed(seed)
        self.next = torch.randint(0, VOCAB, (VOCAB, 4), generator=self.gen)
        self.taste = torch.randn(VOCAB, generator=self.gen)

    def walk(self, ids, steps):
        for _ in range(steps):
            pick = torch.randint(0, 4, (len(ids),), generator=self.gen)
            ids = torch.cat([ids, self.next[ids[:, -1], pick][:, None]], 1)
        return ids

    def texts(self, n):
        first = torch.randint(0, VOCAB, (n, 1), generator=self.gen)
        return self.walk(first, PROMPT + ANSWER - 1)

    def preferences(self, n):
        prompt = self.walk(torch.randint(0, VOCAB, (n, 1), generator=self.gen), PROMPT - 1)
        a, b = self.walk(prompt, ANSWER), self.walk(prompt, ANSWER)
        liked = self.taste[a[:, PROMPT:]].sum(1) > self.taste[b[:, PROMPT:]].sum(1)
        return torch.where(liked[:, None], a, b), torch.where(liked[:, None], b, a)


class LanguageModel(nn.Module):
    def __init__(self, dim=64, hidden=128):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, dim)
        self.gru = nn.GRU(dim, hidden, batch_first=True)
        self.norm = nn.LayerNorm(hidden)
        self.out = nn.Linear(hidden, VOCAB)

    def forward(self, ids):
        return self.out(self.norm(self.gru(self.embed(ids))[0]))


def answer_logp(model, ids):
    logp = model(ids[:, :-1]).log_softmax(-1)
    token = logp.gather(2, ids[:, 1:, None]).squeeze(2)
    return token[:, PROMPT - 1 :].sum(1)


def margin(policy, reference, chosen, rejected):
    with torch.no_grad():
        base = answer_logp(reference, chosen) - answer_logp(reference, rejected)
    return answer_logp(policy, chosen) - answer_logp(policy, rejected) - base


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    world = World(seed + 13)
    policy = LanguageModel()
    sft = torch.optim.Adam(policy.parameters(), lr=4e-3)
    for _ in range(200):
        ids = world.texts(32)
        loss = F.cross_entropy(policy(ids[:, :-1]).transpose(1, 2), ids[:, 1:])
        sft.zero_grad()
        loss.backward()
        sft.step()

    reference = copy.deepcopy(policy).requires_grad_(False).eval()
    optimizer = torch.optim.AdamW(policy.parameters(), lr=5e-4, weight_decay=0.0)
    curve = []
    with observe(policy, optimizer):
        for step in range(250):
            for group in optimizer.param_groups:
                group["lr"] = 5e-4 * min(1.0, (step + 1) / 25)
            chosen, rejected = world.preferences(32)
            loss = -F.logsigmoid(0.2 * margin(policy, reference, chosen, rejected)).mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
            optimizer.step()
            curve.append(loss.item())
    chosen, rejected = world.preferences(1000)
    with torch.no_grad():
        accuracy = (margin(policy, reference, chosen, rejected) > 0).float().mean().item()
    return {"metric": accuracy, "better": "higher", "curve": curve}

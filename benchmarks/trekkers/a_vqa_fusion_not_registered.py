"""Visual question answering with get_optimizer_parameters(). facebookresearch/mmf issue 104: the method lists the model's parts by hand;
a layer that was added later (the question-to-image gate and its encoder projection) is not in the list and is never updated."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_vqa_fusion_not_registered"
TRUTH = {
    "mechanisms": ["parameters_not_updated"],
    "layers": ["object_attention.q_proj", "object_attention.v_proj", "object_attention"],
    "onset": (0, 0),
}


class ObjectAttention(nn.Module):
    def __init__(self, dq, dv, h=32):
        super().__init__()
        self.q_proj, self.v_proj = nn.Linear(dq, h), nn.Linear(dv, h)
        self.score = nn.Linear(h, 1)

    def forward(self, q, v):
        a = self.score(torch.tanh(self.q_proj(q).unsqueeze(1) * self.v_proj(v))).squeeze(-1)
        return (torch.softmax(a, 1).unsqueeze(-1) * v).sum(1)


class VQA(nn.Module):
    def __init__(self, vocab, dv, answers):
        super().__init__()
        self.word_embedding = nn.Embedding(vocab, 24)
        self.text_encoder = nn.GRU(24, 32, batch_first=True)
        self.object_attention = ObjectAttention(32, dv)
        self.classifier = nn.Sequential(nn.Linear(32 + dv, 64), nn.ReLU(), nn.Linear(64, answers))

    def forward(self, question, objects):
        _, h = self.text_encoder(self.word_embedding(question))
        q = h[-1]
        return self.classifier(torch.cat([q, self.object_attention(q, objects)], 1))

    def get_optimizer_parameters(self, fixed, lr=3e-3):
        groups = [
            {
                "params": list(self.word_embedding.parameters())
                + list(self.text_encoder.parameters()),
                "lr": lr,
            },
            {"params": self.classifier.parameters(), "lr": lr},
        ]
        if fixed:
            groups.append({"params": self.object_attention.parameters(), "lr": lr})
        return groups


def samples(n, g, kinds=5, colours=4, objs=4):
    """'what colour is the <kind>' among four different objects"""
    kind = torch.stack([torch.randperm(kinds, generator=g)[:objs] for _ in range(n)])
    col = torch.randint(0, colours, (n, objs), generator=g)
    v = torch.cat([F.one_hot(kind, kinds), F.one_hot(col, colours)], 2).float()
    v = v + 0.15 * torch.randn(v.shape, generator=g)
    t = torch.randint(0, objs, (n,), generator=g)
    r = torch.arange(n)
    filler = torch.randint(kinds, kinds + 6, (n, 5), generator=g)
    filler[r, torch.randint(0, 5, (n,), generator=g)] = kind[r, t]
    return filler, v, col[r, t]


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(170 + seed)
    Q, V, Y = samples(5000, g)
    Qv, Vv, Yv = samples(800, g)
    model = VQA(11, 9, 4)
    opt = torch.optim.Adamax(model.get_optimizer_parameters(fixed))
    curve = []
    with observe(model, opt):
        for epoch in range(14):
            for i in torch.randperm(len(Y)).split(64):
                loss = F.cross_entropy(model(Q[i], V[i]), Y[i])
                opt.zero_grad()
                loss.backward()
                opt.step()
                curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        acc = (model(Qv, Vv).argmax(1) == Yv).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}

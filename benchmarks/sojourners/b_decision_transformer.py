"""Decision transformer on offline data of a point-mass task: tokens (return-to-go, state, action), causal, predicts the action.
Bug: the returns-to-go come in raw units (thousands) instead of divided by the return scale."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_decision_transformer"
TRUTH = {"mechanisms": ["unnormalized_inputs"], "layers": ["embed_rtg"], "onset": (0, 0)}


def rollouts(n, T=10, g=None):
    """A point goes to the origin; the skill of the behaviour policy differs per trajectory and shows in its return."""
    skill = torch.rand(n, 1, generator=g) * 2 - 0.5
    pos = torch.randn(n, 2, generator=g) * 2
    S, A, R = [], [], []
    for _ in range(T):
        a = -0.5 * skill * pos + 0.05 * torch.randn(n, 2, generator=g)
        S.append(pos)
        A.append(a)
        pos = pos + a
        R.append(-100 * pos.norm(dim=1).clamp_max(10) + 20)
    S, A, R = torch.stack(S, 1), torch.stack(A, 1), torch.stack(R, 1)
    rtg = R.flip(1).cumsum(1).flip(1)
    return rtg[..., None], S, A


class Block(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.attn = nn.MultiheadAttention(d, 4, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, d))

    def forward(self, x, mask):
        h = self.ln1(x)
        x = x + self.attn(h, h, h, attn_mask=mask, need_weights=False)[0]
        return x + self.mlp(self.ln2(x))


class DecisionTransformer(nn.Module):
    def __init__(self, d=48, T=10):
        super().__init__()
        self.embed_rtg, self.embed_s, self.embed_a = (
            nn.Linear(1, d),
            nn.Linear(2, d),
            nn.Linear(2, d),
        )
        self.time = nn.Embedding(T, d)
        self.blocks = nn.ModuleList([Block(d), Block(d)])
        self.norm, self.act = nn.LayerNorm(d), nn.Linear(d, 2)

    def forward(self, rtg, s, a):
        B, T, _ = s.shape
        pos = self.time.weight[:T]
        x = torch.stack(
            [self.embed_rtg(rtg) + pos, self.embed_s(s) + pos, self.embed_a(a) + pos], 2
        ).view(B, 3 * T, -1)
        mask = torch.triu(torch.ones(3 * T, 3 * T, dtype=torch.bool), 1)
        for b in self.blocks:
            x = b(x, mask)
        return self.act(self.norm(x))[:, 1::3]


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(50 + seed)
    rtg, S, A = rollouts(800, g=g)
    vr, vs, va = rollouts(300, g=g)
    scale = 1000.0 if fixed else 1.0
    rtg, vr = rtg / scale, vr / scale
    model = DecisionTransformer()
    opt = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-4)
    sched = torch.optim.lr_scheduler.LambdaLR(opt, lambda s: min((s + 1) / 50, 1))
    curve = []
    with observe(model, opt):
        for step in range(500):
            i = torch.randint(800, (32,), generator=g)
            loss = F.mse_loss(model(rtg[i], S[i], A[i]), A[i])
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.25)
            opt.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        m = (F.mse_loss(model(vr, vs, va), va) / va.var()).item()
    return {"metric": m, "better": "lower", "curve": curve}

"""Healthy. Advantage actor-critic with GAE on a noisy windy corridor; two optimizers, entropy bonus, rewards with a lot of noise. The actor's loss hovers
about zero, the critic's loss never gets below the variance of the noise. observe gets the two optimizers as a list."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "b_h_actor_critic"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class Corridor:
    """N copies. State: position, wind, time left. Actions: left, stay, right; reward near the moving goal, noisy."""

    def __init__(self, n, g):
        self.n, self.g = n, g
        self.reset()

    def reset(self):
        r = lambda *s: torch.rand(self.n, generator=self.g) * 2 - 1
        self.p, self.goal, self.w, self.t = r() * 2, r() * 2, r() * 0.2, 0
        return self.obs()

    def obs(self):
        return torch.stack(
            [self.p, self.goal, self.w * 5, self.p.abs(), torch.full((self.n,), self.t / 20.0)], 1
        )

    def step(self, a, noise=1.0):
        self.p = (
            self.p + 0.3 * (a - 1).float() + self.w + 0.05 * torch.randn(self.n, generator=self.g)
        ).clamp(-3, 3)
        self.t += 1
        return (
            self.obs(),
            (1 - (self.p - self.goal).abs()).clamp(min=-1)
            + noise * torch.randn(self.n, generator=self.g),
            self.t == 20,
        )


class Net(nn.Module):
    def __init__(self, out, gain, d=32):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(5, d), nn.Tanh(), nn.Linear(d, d), nn.Tanh())
        self.head = nn.Linear(d, out)
        for m in self.body:
            if isinstance(m, nn.Linear):
                nn.init.orthogonal_(m.weight, 2**0.5)
                nn.init.zeros_(m.bias)
        nn.init.orthogonal_(self.head.weight, gain)
        nn.init.zeros_(self.head.bias)

    def forward(self, x):
        return self.head(self.body(x))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 11)
    env = Corridor(32, g)
    model = nn.ModuleDict({"actor": Net(3, 0.01), "critic": Net(1, 1.0)})
    actor, critic = model["actor"], model["critic"]
    oa = torch.optim.Adam(actor.parameters(), lr=2e-3, eps=1e-5)
    oc = torch.optim.Adam(critic.parameters(), lr=4e-3, eps=1e-5)
    gamma, lam = 0.95, 0.9
    curve = []
    with observe(model, [oa, oc]):
        for it in range(350):
            o = env.reset()
            O, A, Rw = [], [], []
            done = False
            while not done:
                with torch.no_grad():
                    a = torch.multinomial(actor(o).softmax(-1), 1).squeeze(1)
                O.append(o)
                A.append(a)
                o, r, done = env.step(a)
                Rw.append(r)
            O, A, Rw = torch.stack(O), torch.stack(A), torch.stack(Rw)
            v = critic(O).squeeze(-1)
            with torch.no_grad():
                nv = torch.cat([v[1:], torch.zeros(1, 32)])
                delta = Rw + gamma * nv - v
                adv = torch.zeros_like(delta)
                run = torch.zeros(32)
                for t in reversed(range(20)):
                    run = delta[t] + gamma * lam * run
                    adv[t] = run
                ret = adv + v
                adv = (adv - adv.mean()) / (adv.std() + 1e-8)
            lp = F.log_softmax(actor(O), -1)
            ent = -(lp.exp() * lp).sum(-1).mean()
            la = -(lp.gather(-1, A[..., None]).squeeze(-1) * adv).mean() - 0.01 * ent
            lc = F.mse_loss(v, ret)
            oa.zero_grad()
            la.backward()
            nn.utils.clip_grad_norm_(actor.parameters(), 0.5)
            oa.step()
            oc.zero_grad()
            lc.backward()
            oc.step()
            curve.append(la.item() + lc.item())
    env = Corridor(400, g)
    o = env.reset()
    tot, done = 0.0, False
    with torch.no_grad():
        while not done:
            o, r, done = env.step(actor(o).argmax(-1), 0.0)
            tot += r.mean().item()
    return {"metric": tot / 20, "better": "higher", "curve": curve}

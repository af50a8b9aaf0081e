"""Drug-target interaction (molecule fingerprint x protein embedding): two projectors that end in a ReLU, cosine distance on top. The drug projector's bias starts far below zero
(a prior-probability bias put on the wrong layer), so its ReLU never fires: the cosine is 0 for every pair and no gradient comes back.
After samsledje/ConPLex issue 32 (ReLU right before the cosine; training stops)."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_drug_target_relu"
TRUTH = {
    "mechanisms": ["dead_units"],
    "layers": ["drug_projector", "drug_projector.0", "drug_projector.1"],
    "onset": (0, 0),
}


class DTI(nn.Module):
    def __init__(self, drug_dim=96, prot_dim=64, latent=48, prior=0.01, fixed=False):
        super().__init__()
        self.drug_projector = nn.Sequential(nn.Linear(drug_dim, latent), nn.ReLU())
        self.target_projector = nn.Sequential(nn.Linear(prot_dim, latent), nn.ReLU())
        self.scale = nn.Parameter(torch.tensor(5.0))
        self.site_head = nn.Linear(prot_dim, 1)  # weak protein-only "promiscuity" term
        self.bias = nn.Parameter(torch.tensor(-1.0))
        for m in self.modules():
            if isinstance(m, nn.Linear):
                nn.init.xavier_normal_(m.weight)
                nn.init.zeros_(m.bias)
        prior_bias = -torch.log(torch.tensor((1 - prior) / prior)).item()
        if not fixed:
            nn.init.constant_(self.drug_projector[0].bias, prior_bias)

    def forward(self, drug, prot):
        d, t = self.drug_projector(drug), self.target_projector(prot)
        return (
            self.scale * F.cosine_similarity(d, t, dim=1)
            + self.bias
            + 0.2 * self.site_head(prot).squeeze(1)
        )


class Assay:
    def __init__(self, seed):
        g = torch.Generator().manual_seed(99)
        self.proj_d, self.proj_p = (
            torch.randn(96, 2, generator=g) / 3,
            torch.randn(64, 2, generator=g) / 3,
        )
        self.g = torch.Generator().manual_seed(seed)

    def pairs(self, n):
        fp = (torch.rand(n, 96, generator=self.g) < 0.12).float()
        prot = torch.randn(n, 64, generator=self.g) * 0.5
        d = (fp - 0.12) @ self.proj_d
        p = prot @ self.proj_p
        y = ((d * p).sum(1) > 0).float()
        return fp, prot, y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    assay = Assay(seed + 1)
    fp, prot, y = assay.pairs(20000)
    model = DTI(fixed=fixed)
    opt = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-3)
    sch = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(opt, 4)
    curve = []
    with observe(model, opt):
        for epoch in range(8):
            for idx in torch.randperm(len(y)).split(64):
                logit = model(fp[idx], prot[idx])
                loss = F.binary_cross_entropy_with_logits(logit, y[idx])
                opt.zero_grad()
                loss.backward()
                opt.step()
                curve.append(loss.item())
            sch.step()
    model.eval()
    fp, prot, y = assay.pairs(1500)
    with torch.no_grad():
        acc = ((model(fp, prot) > 0).float() == y).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}

"""Population disaggregation: a small net gives an occupancy rate for every pixel, times a building map, summed by region.
The last bias starts at the log of the average rate, but the rate comes out of a ReLU: the initial map is zero everywhere and no
gradient ever arrives. After jvargasmu/population_estimation issue 68."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_popmap_final_relu"
TRUTH = {
    "mechanisms": ["dead_units"],
    "layers": ["out_act", "scale_net.4", "scale_net"],
    "onset": (0, 0),
}


class PopNet(nn.Module):
    def __init__(self, fixed):
        super().__init__()
        self.scale_net = nn.Sequential(
            nn.Conv2d(5, 32, 1), nn.ReLU(), nn.Conv2d(32, 32, 1), nn.ReLU(), nn.Conv2d(32, 1, 1)
        )
        self.out_act = nn.Softplus() if fixed else nn.ReLU()
        nn.init.constant_(self.scale_net[4].bias, -2.3)  # log of the national average rate

    def forward(self, feats, buildings):
        rate = self.out_act(self.scale_net(feats))
        return (rate * buildings).sum((1, 2, 3)), rate


class Regions:
    def __init__(self, n, seed, size=16):
        g = torch.Generator().manual_seed(seed)
        self.feats = torch.randn(n, 5, 1, 1, generator=g) * 0.6 + 0.8 * torch.randn(
            n, 5, size, size, generator=g
        )
        self.buildings = (
            (torch.rand(n, 1, size, size, generator=g) < 0.25).float()
            * torch.rand(n, 1, size, size, generator=g)
            * 3
        )
        f = self.feats
        rate = 0.12 * torch.exp(0.6 * f[:, 0] - 0.5 * f[:, 1]) + 0.05 * (f[:, 2] > 0.5)
        self.pop = (rate.unsqueeze(1) * self.buildings).sum((1, 2, 3))

    def loader(self, bs, g):
        for i in torch.randperm(len(self.pop), generator=g).split(bs):
            yield self.feats[i], self.buildings[i], self.pop[i]


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    data, val = Regions(500, 1), Regions(200, 2)
    model = PopNet(fixed)
    opt = torch.optim.Adam(model.parameters(), lr=5e-3)
    sched = torch.optim.lr_scheduler.StepLR(opt, 12, 0.5)
    g = torch.Generator().manual_seed(seed)
    curve = []
    with observe(model, opt):
        for epoch in range(60):
            for feats, bld, pop in data.loader(25, g):
                est, _ = model(feats, bld)
                loss = F.l1_loss(est, pop)
                opt.zero_grad()
                loss.backward()
                opt.step()
                curve.append(loss.item())
            sched.step()
    with torch.no_grad():
        est, _ = model(val.feats, val.buildings)
        r2 = 1 - ((est - val.pop) ** 2).sum() / ((val.pop - val.pop.mean()) ** 2).sum()
    return {"metric": r2.item(), "better": "higher", "curve": curve}

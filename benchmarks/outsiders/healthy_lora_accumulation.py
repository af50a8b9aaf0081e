"""Healthy: LoRA on a frozen pretrained net, B = 0, four micro-batches accumulated per step."""

import torch, importlib.util, pathlib
from torch import nn

_s = importlib.util.spec_from_file_location(
    "c10", pathlib.Path(__file__).with_name("lora_full_finetune_learning_rate.py")
)
_m = importlib.util.module_from_spec(_s)
_s.loader.exec_module(_m)
ID = "healthy-lora-accumulation"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


def train(observe, seed=0, fixed=False):
    model, x, y = _m.pretrain(seed)
    ps = [p for p in model.parameters() if p.requires_grad]
    opt = torch.optim.AdamW(ps, lr=0.004, weight_decay=0.01)
    sched = torch.optim.lr_scheduler.LambdaLR(
        opt, lambda s: min(1, (s + 1) / 20) * max(0.05, 1 - s / 200)
    )
    losses = []
    with observe(model, opt):
        opt.zero_grad()
        for it in range(800):
            j = torch.randint(0, len(y), (16,))
            loss = nn.functional.cross_entropy(model(x[j]), y[j])
            (loss / 4).backward()
            losses.append(loss.item())
            if (it + 1) % 4 == 0:
                nn.utils.clip_grad_norm_(ps, 1.0)
                opt.step()
                sched.step()
                opt.zero_grad()
    return {"metric": sum(losses[-100:]) / 100, "better": "lower", "first": sum(losses[:20]) / 20}

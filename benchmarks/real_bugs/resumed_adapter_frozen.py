"""Fine-tuning resumes from a saved low-rank adapter, which was loaded for inference: nothing is trainable."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.real_bugs.material import accuracy, batches, ended, images
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "resumed-adapter-frozen"
FAMILY = "low-rank"
TITLE = "LoRA weights loaded with requires_grad False"
SOURCE = "github: huggingface/transformers issue 26098, 'LoRA A and B param.requires_grad showing as false during training'"
TRUTH: Truth = {
    "mechanisms": ["parameters_not_updated"],
    "layers": [
        f"blocks.{i}.{name}{part}"
        for i in range(2)
        for name in ("attn_in", "mlp_in")
        for part in ("", ".lora_a", ".lora_b")
    ],
    "onset": 0,
    "symptom": "loss_plateau",
}


class LoraLinear(nn.Module):
    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        self.base = base
        self.lora_a = nn.Linear(base.in_features, rank, bias=False)
        self.lora_b = nn.Linear(rank, base.out_features, bias=False)
        nn.init.zeros_(self.lora_b.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + 2.0 * self.lora_b(self.lora_a(x))


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn_in: nn.Module = nn.Linear(width, 3 * width)
        self.attn_out = nn.Linear(width, width)
        self.mlp_in: nn.Module = nn.Linear(width, 2 * width)
        self.mlp_out = nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.attn_in(self.norm1(x)).chunk(3, -1)
        x = x + self.attn_out(F.scaled_dot_product_attention(q, k, v))
        return x + self.mlp_out(F.gelu(self.mlp_in(self.norm2(x))))


class RowTransformer(nn.Module):
    """Reads an image as eight rows."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.embed = nn.Linear(8, width)
        self.place = nn.Parameter(0.1 * torch.randn(8, width))
        self.blocks = nn.ModuleList(Block(width) for _ in range(2))
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x[:, 0]) + self.place
        for block in self.blocks:
            h = block(h)
        return self.head(h.mean(1))


def steps(
    net: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, count: int, seed: int
) -> list[float]:
    losses = []
    for index in batches(len(y), 64, count, seed):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x[index]), y[index])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def from_pretrained(net: RowTransformer, is_trainable: bool) -> None:
    """Load a saved adapter: base frozen, adapter trainable only when asked for."""
    net.requires_grad_(False)
    for block in net.blocks:
        block.attn_in = LoraLinear(block.attn_in, 4)
        block.mlp_in = LoraLinear(block.mlp_in, 4)
        for layer in (block.attn_in, block.mlp_in):
            layer.lora_a.requires_grad_(is_trainable)
            layer.lora_b.requires_grad_(is_trainable)
    # With gradient checkpointing the inputs are made to require gradients, so backward raises nothing.
    net.embed.register_forward_hook(lambda _m, _i, out: out.requires_grad_(True))


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    torch.manual_seed(seed)
    x, y, held, target = images()
    net = RowTransformer()
    steps(net, torch.optim.AdamW(net.parameters(), lr=3e-3), x, y, 150, seed)
    from_pretrained(net, is_trainable=fixed)
    x, held = x.transpose(2, 3), held.transpose(2, 3)  # the new task: images on their side
    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3, weight_decay=0.0)
    losses = []
    with observe(net, optimizer) as watch:
        for index in batches(len(y), 64, 200, seed + 1):
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x[index]), y[index])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            watch.loss(loss.item())
    with torch.no_grad():
        return ended(accuracy(net(held), target), "higher", losses)

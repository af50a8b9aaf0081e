"""The same small classifier trained by three libraries, healthy and with three faults.

Every program is called ``program(watch, fault=…)`` like those of hand-written loops: it trains inside
``watch(model)`` and returns the model and the losses that it saw itself.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from tests.twins import digits_like

EPOCHS, ROWS = 6, 32
STEPS = EPOCHS * 256 // ROWS

# What is done wrong, and what an expert would call it.
FAULTS = {
    "rate": "learning_rate_too_high",
    "detached": "parameters_not_updated",
    "dead": "dead_units",
}


class Net(nn.Module):
    """A classifier whose hidden layers can be cut off or killed."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fc1 = nn.Linear(16, 32)
        self.fc2 = nn.Linear(32, 32)
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(32, 4)
        self.cut = fault == "detached"
        if fault == "dead":
            nn.init.constant_(self.fc2.bias, -40.0)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.fc1(x))
        if self.cut:
            x = x.detach()
        return self.head(self.drop(F.relu(self.fc2(x))))


def rate(fault: str) -> float:
    return 5.0 if fault == "rate" else 5e-3


def data() -> TensorDataset:
    return TensorDataset(*digits_like(256))


def lightning(watch, *, fault="", **options):
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net, self.losses = Net(fault), []

        def training_step(self, batch, _index):
            loss = F.cross_entropy(self.net(batch[0]), batch[1])
            self.losses.append(loss.item())
            return loss

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=rate(fault))

    module = Module()
    trainer = lightning.Trainer(
        max_epochs=options.pop("epochs", EPOCHS),
        accelerator="cpu",
        logger=False,
        enable_checkpointing=options.pop("enable_checkpointing", False),
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    with watch(module):
        trainer.fit(module, DataLoader(data(), batch_size=ROWS, shuffle=True))
    return module, module.losses


class Labelled(Net):
    """A model as the Hugging Face trainer wants it: it computes its own loss."""

    def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        logits = super().forward(x)
        return {"loss": F.cross_entropy(logits, labels), "logits": logits}


class Rows(torch.utils.data.Dataset):
    """Examples as dictionaries."""

    def __init__(self):
        self.x, self.y = data().tensors

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return {"x": self.x[i], "labels": self.y[i]}


def transformers(watch, *, fault="", folder, callbacks=(), model=Labelled, **options):
    import transformers

    class Losses(transformers.TrainerCallback):
        def __init__(self):
            self.values = []

        def on_log(self, args, state, control, logs=None, **kwargs):
            self.values += [logs["loss"]] if "loss" in logs else []

    net, losses = model(fault), Losses()
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=options.pop("epochs", EPOCHS),
        per_device_train_batch_size=ROWS,
        learning_rate=rate(fault),
        lr_scheduler_type="constant",
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        **options,
    )
    trainer = transformers.Trainer(
        model=net, args=arguments, train_dataset=Rows(), callbacks=[losses, *callbacks]
    )
    trainer.remove_callback(transformers.PrinterCallback)
    with watch(net):
        trainer.train()
    return net, losses.values


def accelerate(watch, *, fault="", **options):
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=True, **options)
    model, losses = Net(fault), []
    with watch(model):
        net, optimizer, loader = accelerator.prepare(
            model,
            torch.optim.Adam(model.parameters(), lr=rate(fault)),
            DataLoader(data(), batch_size=ROWS, shuffle=True),
        )
        for _ in range(EPOCHS):
            for x, y in loader:
                with accelerator.accumulate(net):
                    loss = F.cross_entropy(net(x), y)
                    accelerator.backward(loss)
                    if accelerator.sync_gradients:
                        accelerator.clip_grad_norm_(net.parameters(), 5.0)
                    optimizer.step()
                    optimizer.zero_grad()
                    losses.append(loss.item())
    return model, losses

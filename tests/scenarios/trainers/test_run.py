"""``neuraldbg run`` on unmodified scripts of trainers: their output and status stay their own."""

import os
import subprocess
import sys
import textwrap

import pytest

DATA = """
    import sys, warnings, logging
    warnings.simplefilter("ignore"); logging.disable(logging.WARNING)
    import torch
    from torch import nn
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x = torch.randn(256, 16)
    y = (x @ torch.randn(16, 4)).argmax(1)
    net = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
"""

LIGHTNING = (
    DATA
    + """
    import lightning
    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = net
        def training_step(self, batch, index):
            return nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=5.0)
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=32)
    trainer = lightning.Trainer(max_epochs=5, accelerator="cpu", logger=False, enable_model_summary=False,
                                enable_checkpointing=False, enable_progress_bar=False)
    trainer.fit(Module(), data)
    print("trained", trainer.global_step)
    sys.exit(3)
"""
)

TRANSFORMERS = (
    DATA
    + """
    import transformers
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net
        def forward(self, x, labels=None):
            logits = self.net(x)
            return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}
    data = [{"x": a, "labels": b} for a, b in zip(x, y)]
    arguments = transformers.TrainingArguments(
        output_dir=sys.argv[1], num_train_epochs=5, per_device_train_batch_size=32, learning_rate=5.0,
        save_strategy="no", report_to=[], disable_tqdm=True, use_cpu=True)
    trainer = transformers.Trainer(Model(), arguments, train_dataset=data)
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()
    print("trained", trainer.state.global_step)
    sys.exit(3)
"""
)


@pytest.mark.parametrize(
    ("library", "source"),
    [("lightning", LIGHTNING), ("transformers", TRANSFORMERS)],
    ids=["lightning", "transformers"],
)
def test_a_script_of_a_trainer_keeps_output_and_status_and_is_diagnosed(library, source, tmp_path):
    pytest.importorskip(library)
    script = tmp_path / "train.py"
    script.write_text(textwrap.dedent(source), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "neuraldbg", "run", str(script), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
        # Progress bars and colours belong to terminals.
        env={**os.environ, "NO_COLOR": "1"},
    )
    assert done.returncode == 3, done.stderr
    assert done.stdout == "trained 40\n"
    assert "likely due to learning rate too high" in done.stderr
    assert "disarmed itself" not in done.stderr

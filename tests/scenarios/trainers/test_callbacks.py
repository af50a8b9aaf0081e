"""Callbacks give a recording the trainer's own loss, count of steps and exception."""

from contextlib import nullcontext
from functools import partial

import pytest
import torch.nn.functional as F

from neuraldbg import UsageError, load
from tests.scenarios.trainers import programs
from tests.twins import assert_same, is_untouched, run


def unwatched(_model):
    return nullcontext()


@pytest.fixture
def lightning_callback():
    pytest.importorskip("lightning")
    from neuraldbg.integrations.lightning import NeuralDbgCallback

    return NeuralDbgCallback


@pytest.fixture
def transformers_callback():
    pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    from neuraldbg.integrations.transformers import NeuralDbgCallback

    return NeuralDbgCallback


def test_lightning_trains_the_same_with_the_callback_and_is_diagnosed(lightning_callback, tmp_path):
    watching = lightning_callback(save=tmp_path / "run.ndbg")
    program = partial(programs.lightning, fault="dead")
    plain = run(program, unwatched)
    assert_same(plain, run(partial(program, callbacks=[watching]), unwatched))
    assert is_untouched()
    assert watching.dbg.explain_failure()[0].hypothesis.mechanism == "dead_units"
    assert load(tmp_path / "run.ndbg").ended


def test_steps_are_counted_as_lightning_counts_them_after_a_checkpoint(
    lightning_callback, tmp_path
):
    first, second = lightning_callback(), lightning_callback()

    def program(watch):
        import lightning

        module, losses = programs.lightning(
            watch,
            epochs=2,
            callbacks=[first],
            enable_checkpointing=True,
            default_root_dir=tmp_path,
        )
        (saved,) = tmp_path.rglob("*.ckpt")
        trainer = lightning.Trainer(
            max_epochs=3,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[second],
        )
        loader = programs.DataLoader(programs.data(), batch_size=programs.ROWS)
        trainer.fit(module, loader, ckpt_path=saved)
        return module, losses

    run(program, unwatched)
    assert first.dbg.recording.steps.tolist() == list(range(16))
    assert second.dbg.recording.steps.tolist() == list(range(16, 24))
    assert second.dbg.recording.sampled[0] == 16


def test_the_exception_that_ended_a_lightning_training_is_noted(lightning_callback):
    from lightning.pytorch import Callback

    class Broken(Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, index):
            if index == 5:
                raise ZeroDivisionError

    watching = lightning_callback()
    with pytest.raises(ZeroDivisionError):
        run(partial(programs.lightning, callbacks=[watching, Broken()]), unwatched)
    assert is_untouched()
    assert watching.dbg.recording.facts["exception"] == "ZeroDivisionError"


def test_the_hugging_face_trainer_trains_the_same_with_the_callback_and_is_diagnosed(
    transformers_callback, tmp_path
):
    watching = transformers_callback()
    program = partial(programs.transformers, fault="dead", folder=tmp_path)
    plain = run(program, unwatched)
    assert_same(plain, run(partial(program, callbacks=[watching]), unwatched))
    assert is_untouched()
    assert watching.dbg.explain_failure()[0].hypothesis.mechanism == "dead_units"


class Counting(programs.Labelled):
    """A model that divides by the number of labels of the whole step, as language models do."""

    def forward(self, x, labels=None, num_items_in_batch=None, **_):
        out = super().forward(x, labels)
        if num_items_in_batch is not None:
            total = F.cross_entropy(out["logits"], labels, reduction="sum")
            out["loss"] = total / num_items_in_batch
        return out


def test_the_loss_is_the_one_that_the_hugging_face_trainer_logs(transformers_callback, tmp_path):
    watching = transformers_callback()
    program = partial(
        programs.transformers,
        folder=tmp_path,
        callbacks=[watching],
        model=Counting,
        gradient_accumulation_steps=4,
    )
    logged = run(program, unwatched).losses
    assert watching.dbg.recording.step["loss"].values.tolist() == pytest.approx(logged, rel=1e-5)


def test_steps_are_counted_as_the_hugging_face_trainer_counts_them_after_a_checkpoint(
    transformers_callback, tmp_path
):
    watching = transformers_callback()

    def program(watch):
        import transformers

        arguments = transformers.TrainingArguments(
            output_dir=str(tmp_path),
            num_train_epochs=2,
            per_device_train_batch_size=programs.ROWS,
            save_strategy="epoch",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
        )
        for resumed in (False, True):
            net = programs.Labelled()
            trainer = transformers.Trainer(
                model=net,
                args=arguments,
                train_dataset=programs.Rows(),
                callbacks=[watching] if resumed else [],
            )
            trainer.remove_callback(transformers.PrinterCallback)
            found = sorted(tmp_path.glob("checkpoint-8"))
            trainer.train(resume_from_checkpoint=str(found[0]) if resumed else None)
        return net, []

    run(program, unwatched)
    assert watching.dbg.recording.steps.tolist() == list(range(8, 16))


def test_the_block_notes_the_exception_that_ended_a_hugging_face_training(
    transformers_callback, tmp_path
):
    import transformers

    class Broken(transformers.TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 5:
                raise ZeroDivisionError

    watching = transformers_callback()
    program = partial(programs.transformers, folder=tmp_path, callbacks=[watching, Broken()])
    with pytest.raises(ZeroDivisionError), watching:
        run(program, unwatched)
    assert is_untouched()
    assert watching.dbg.recording.facts["exception"] == "ZeroDivisionError"


def test_a_callback_without_a_training_says_so(lightning_callback):
    with pytest.raises(UsageError, match="no training has begun"):
        _ = lightning_callback().dbg

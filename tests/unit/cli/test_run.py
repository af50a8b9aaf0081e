"""A script runs under ``neuraldbg run`` as it runs alone, and is diagnosed at its end."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import textwrap
import weakref

import pytest
import torch
from torch import nn

from neuraldbg import load
from neuraldbg.discovery import Discovery, roots

PLAIN = """
    import sys
    import torch
    from torch import nn

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x, y = torch.randn(64, 4), torch.randint(2, (64,))
    for step in range(40):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x * (float("nan") if step == 30 else 1.0)), y)
        loss.backward()
        optimizer.step()
    print("done", sys.argv[1:], __name__, sys.path[0])
"""


@pytest.fixture
def ran(tmp_path):
    """Run a script, alone or under ``neuraldbg run``."""

    def run(source, *before, after=(), alone=False):
        script = tmp_path / "train.py"
        script.write_text(textwrap.dedent(source), encoding="utf-8")
        command = [] if alone else ["-m", "neuraldbg", "run", *map(str, before)]
        return subprocess.run(
            [sys.executable, *command, str(script), *after],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    return run


def test_the_output_of_a_script_stays_its_own_and_the_diagnosis_follows_on_stderr(ran, tmp_path):
    alone = ran(PLAIN, after=("--lr", "1"), alone=True)
    under = ran(PLAIN, "--save", tmp_path / "run.ndbg", after=("--lr", "1"))
    assert under.returncode == 0, under.stderr
    assert under.stdout == alone.stdout
    assert "originated in the data at step 30" in under.stderr
    assert load(tmp_path / "run.ndbg").ended


def test_with_json_the_diagnosis_follows_on_stdout(ran):
    under = ran(PLAIN, "--json", "--fail-on", "0.5")
    assert under.returncode == 1
    first, _, rest = under.stdout.partition("\n")
    assert first.startswith("done")
    assert json.loads(rest)["hypotheses"][0]["mechanism"] == "nonfinite_data"


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("sys.exit(3)", 3),
        ("sys.exit('bad')", 1),
        ("raise ValueError('mine')", 1),
        ("sys.exit()", 0),
    ],
)
def test_the_status_of_a_script_stays_its_own(ran, end, status):
    source = PLAIN + f"    {end}\n"
    alone, under = ran(source, alone=True), ran(source)
    assert alone.returncode == under.returncode == status
    assert under.stdout == alone.stdout
    # What the script itself says on stderr comes first, and its traceback shows nothing of ours.
    assert under.stderr.startswith(alone.stderr)
    assert "originated in the data at step 30" in under.stderr


def test_a_hopeless_run_is_ended_with_a_sentence_and_no_traceback(ran):
    under = ran(PLAIN, "--stop-when", "0.9")
    assert under.returncode == 1
    assert under.stdout == ""
    assert under.stderr.startswith("neuraldbg: training was stopped after 31 steps (stop_when=0.9)")
    assert "Traceback" not in under.stderr
    assert "originated in the data at step 30" in under.stderr


def test_two_models_that_pull_against_one_another_are_both_watched(ran):
    under = ran(
        """
        import torch
        from torch import nn
        a, b = nn.Linear(3, 3), nn.Linear(3, 1)
        one = torch.optim.Adam(a.parameters())
        two = torch.optim.Adam(b.parameters())
        for _ in range(5):
            two.zero_grad(); b(a(torch.randn(8, 3)).detach()).mean().backward(); two.step()
            one.zero_grad(); (-b(a(torch.randn(8, 3)))).mean().backward(); one.step()
        """,
        "--json",
    )
    assert under.returncode == 0, under.stderr
    assert under.stdout.count('"schema_version"') == 2


def test_a_script_that_watches_itself_is_left_alone(ran):
    under = ran(
        """
        import torch
        from torch import nn
        from neuraldbg import NeuralDbg
        model = nn.Linear(3, 3)
        with NeuralDbg(model) as dbg:
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            model(torch.randn(8, 3)).sum().backward()
            optimizer.step()
        print(dbg.diagnose().coverage.steps)
        """
    )
    assert under.stdout == "1\n"
    assert under.returncode == 0, under.stderr


def test_a_script_without_optimizer_is_told_that_nothing_was_watched(ran):
    under = ran("print(1)")
    assert (under.returncode, under.stdout) == (0, "1\n")
    assert "no optimizer was created" in under.stderr


def test_a_script_that_is_not_there_is_refused(tmp_path):
    command = [sys.executable, "-m", "neuraldbg", "run", str(tmp_path / "none.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "cannot read" in done.stderr


def test_a_module_runs_as_main(tmp_path):
    (tmp_path / "trainer.py").write_text(textwrap.dedent(PLAIN), encoding="utf-8")
    command = [sys.executable, "-m", "neuraldbg", "run", "-m", "trainer", "a"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stdout.startswith("done ['a'] __main__")
    assert "originated in the data" in done.stderr


def test_objects_of_a_script_can_be_pickled(ran):
    done = ran(
        """
        import pickle
        class Thing: pass
        print(type(pickle.loads(pickle.dumps(Thing()))).__module__)
        """
    )
    assert done.stdout == "__main__\n", done.stderr


class Wrapper(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.metric = nn.Identity()


def ids(module):
    return {id(p) for p in module.parameters()}


def test_the_module_that_is_part_of_no_other_is_the_model():
    model = Wrapper(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)))
    assert roots(ids(model)) == [model]
    assert roots(ids(model.inner[0])) == [model]


def test_parameters_of_two_models_give_two_models():
    a, b = nn.Linear(2, 2), nn.Linear(2, 2)
    assert set(roots(ids(a) | ids(b))) == {a, b}


def test_a_copy_of_the_model_is_not_taken_for_it():
    import copy

    model = nn.Linear(2, 2)
    averaged = copy.deepcopy(model)
    assert roots(ids(model)) == [model]
    assert averaged is not model


def test_of_two_wrappers_the_smaller_is_taken():
    inner = nn.Linear(2, 2)
    large, small = Wrapper(Wrapper(inner)), Wrapper(inner)
    assert roots(ids(inner)) == [small]
    assert large is not small


def test_a_dead_weak_proxy_does_not_disturb_the_search():
    model = nn.Linear(2, 2)
    gone = nn.Linear(2, 2)
    proxy = weakref.proxy(gone)
    del gone
    gc.collect()
    assert roots(ids(model)) == [model]
    assert proxy is not None


def test_outside_of_the_context_optimizers_are_as_they_were():
    before = torch.optim.Optimizer.__init__
    with Discovery() as found:
        assert torch.optim.Optimizer.__init__ is not before
        model = nn.Linear(2, 2)
        torch.optim.SGD(model.parameters(), lr=0.1)
    assert torch.optim.Optimizer.__init__ is before
    assert len(found.watched) == 1

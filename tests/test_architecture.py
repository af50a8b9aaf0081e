"""The shape of the code: public names, import cost, and size budgets."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import neuraldbg

ROOT = Path(neuraldbg.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
HEAVY = ("torch", "pgmpy", "pandas", "scipy", "networkx")
TRAINERS = ("lightning", "pytorch_lightning", "transformers", "accelerate")
MAX_FILE, MAX_FUNCTION = 400, 50


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


class TestPublicNames:
    def test_all_is_sorted_without_repetition(self) -> None:
        assert list(neuraldbg.__all__) == sorted(set(neuraldbg.__all__))

    def test_every_name_can_be_had(self) -> None:
        for name in neuraldbg.__all__:
            assert getattr(neuraldbg, name) is not None

    def test_dir_lists_them(self) -> None:
        assert set(neuraldbg.__all__) <= set(dir(neuraldbg))

    def test_a_name_that_is_not_there_is_an_attribute_error(self) -> None:
        with pytest.raises(AttributeError, match="module 'neuraldbg' has no attribute 'Neuraldbg'"):
            _ = neuraldbg.Neuraldbg

    def test_the_lazy_names_are_the_public_ones(self) -> None:
        assert sorted(neuraldbg._HOMES) == sorted(neuraldbg.__all__)

    def test_there_are_few_of_them(self) -> None:
        assert len(neuraldbg.__all__) <= 15

    @pytest.mark.parametrize("path", FILES, ids=relative)
    def test_every_module_says_what_it_exports(self, path: Path) -> None:
        body = tree(path).body
        exported = {
            target.id
            for node in body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        defined = [n.name for n in body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
        # Only entry points and empty packages export nothing.
        assert "__all__" in exported or not [n for n in defined if not n.startswith("_")]


def loaded_after(code: str) -> set[str]:
    """Return which heavy libraries a fresh interpreter holds after running this."""
    program = f"{code}\nimport sys\nprint(*(m for m in {HEAVY + TRAINERS!r} if m in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


class TestImportCost:
    def test_importing_the_package_loads_the_standard_library_only(self) -> None:
        assert loaded_after("import neuraldbg") == set()

    def test_the_name_of_the_debugger_costs_a_script_nothing_heavy(self) -> None:
        assert loaded_after("from neuraldbg import NeuralDbg") <= {"numpy"}

    def test_the_first_watcher_loads_torch_and_no_library_of_a_later_stage(self) -> None:
        # torch itself is what the user has loaded anyway.
        code = "from neuraldbg import NeuralDbg; from torch import nn; NeuralDbg(nn.Linear(1, 1))"
        after = loaded_after(code)
        assert after - loaded_after("import torch") == set()
        assert "torch" in after

    def test_a_run_that_nobody_asks_about_loads_no_later_stage_of_ours(self) -> None:
        later = ("catalogue", "pipeline", "views", "live", "signals", "inference", "explain")
        code = "from neuraldbg import NeuralDbg\nfrom torch import nn\nNeuralDbg(nn.Linear(1, 1))"
        program = (
            f"{code}\nimport sys\nprint(*(m for m in {later!r} if 'neuraldbg.' + m in sys.modules))"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
        assert done.stdout.split() == []

    def test_errors_and_records_load_nothing_heavy(self) -> None:
        assert (
            loaded_after("from neuraldbg import UsageError, CausalHypothesis, Diagnosis") == set()
        )

    def test_a_diagnosis_loads_no_torch_of_its_own(self) -> None:
        assert "torch" not in loaded_after(
            "import neuraldbg.signals, neuraldbg.events, neuraldbg.graph, neuraldbg.explain"
        )


@pytest.mark.parametrize("path", FILES, ids=relative)
class TestSize:
    def test_a_file_can_be_read_in_one_sitting(self, path: Path) -> None:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_FILE

    def test_a_function_fits_on_a_screen(self, path: Path) -> None:
        long = {
            node.name: length
            for node in ast.walk(tree(path))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and (length := lines_without_docstring(node)) > MAX_FUNCTION
        }
        assert long == {}

    def test_everything_public_is_documented(self, path: Path) -> None:
        assert ast.get_docstring(tree(path)) or not path.read_text(encoding="utf-8").strip()
        bare = [name for name, node in public(tree(path)) if not ast.get_docstring(node)]
        assert bare == []

    def test_imports_are_absolute(self, path: Path) -> None:
        found = [n for n in ast.walk(tree(path)) if isinstance(n, ast.ImportFrom) and n.level]
        assert found == []


def lines_without_docstring(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    total = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if ast.get_docstring(node, clean=False) is not None:
        total -= (first.end_lineno or first.lineno) - first.lineno + 1
    return total


def public(module: ast.Module):
    """Yield functions, classes and methods that a user of the module can reach by name."""
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node.name, node
            for member in node.body if isinstance(node, ast.ClassDef) else ():
                if isinstance(member, ast.FunctionDef) and not member.name.startswith("_"):
                    yield f"{node.name}.{member.name}", member


def test_the_package_is_typed() -> None:
    assert (ROOT / "py.typed").exists()


def test_functions_are_small_on_the_whole() -> None:
    # style.md section 0: median at most 8 lines, nine of ten at most 25
    lengths = sorted(
        lines_without_docstring(node)
        for path in FILES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef)
    )
    assert lengths[len(lengths) // 2] <= 8
    assert lengths[int(0.9 * len(lengths))] <= 25

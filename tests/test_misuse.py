"""Every wrong use gets one clear sentence that says what to do instead."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from neuraldbg import NeuralDbg, NeuralDBGError, UnknownNameError, UsageError
from neuraldbg.errors import ExportError, ModelError, PriorError
from tests import loops


@pytest.fixture(scope="module")
def watched() -> NeuralDbg:
    """A short healthy run."""
    model = loops.mlp()
    with NeuralDbg(model) as dbg:
        loops.train(model)
    return dbg


class TestWhatIsWatched:
    @pytest.mark.parametrize("thing", [3, None, "model", [nn.Linear(2, 2)], nn.Linear])
    def test_something_that_is_no_module_is_refused_with_its_type(self, thing) -> None:
        with pytest.raises(ModelError, match=f"got {type(thing).__name__}") as caught:
            NeuralDbg(thing)
        assert "Pass the model itself" in str(caught.value)
        assert isinstance(caught.value, TypeError)

    def test_a_module_without_parameters_has_no_training_to_watch(self) -> None:
        with pytest.raises(UsageError, match="ReLU has no parameters") as caught:
            NeuralDbg(nn.ReLU()).start()
        assert "Pass the module that the optimizer updates" in str(caught.value)

    def test_a_model_that_the_loop_does_not_train_is_not_accused(self) -> None:
        trained = loops.mlp()
        with NeuralDbg(loops.mlp()) as dbg:
            loops.train(trained, lr=1e4)
        found = dbg.diagnose()
        assert found.reason.startswith("no module of the model ran while it was watched")
        assert "pass the model that the loop trains" in found.reason
        assert (found.explanations, found.hypotheses, found.events) == ((), (), ())
        assert dbg.explain_failure() == []


class TestNoSteps:
    def test_an_empty_block_says_that_there_is_nothing_to_judge(self) -> None:
        with NeuralDbg(loops.mlp()) as dbg:
            pass
        assert dbg.explain_failure() == []
        assert dbg.get_causal_hypotheses() == []
        assert "nothing to judge" in dbg.diagnose().reason

    def test_forward_passes_alone_are_no_training(self) -> None:
        model = loops.mlp()
        with NeuralDbg(model) as dbg:
            model(torch.zeros(4, 8))
        assert dbg.diagnose().reason.startswith("no optimizer step was seen")
        assert dbg.explain_failure() == []

    def test_frames_graph_and_chain_of_an_empty_run_are_empty(self) -> None:
        with NeuralDbg(loops.mlp()) as dbg:
            pass
        assert dbg.events_frame().empty
        assert dbg.hypotheses_frame().empty
        assert dbg.causal_graph().number_of_nodes() == 0
        assert dbg.detect_coupled_failures() == []
        assert dbg.trace_causal_chain("dead_units").reason


class TestLifetime:
    @pytest.mark.parametrize(
        "ask",
        [
            pytest.param(lambda d: d.explain_failure(), id="explain_failure"),
            pytest.param(lambda d: d.events, id="events"),
            pytest.param(lambda d: d.diagnose(), id="diagnose"),
            pytest.param(lambda d: d.causal_graph(), id="causal_graph"),
            pytest.param(lambda d: d.trace_causal_chain("dead_units"), id="trace_causal_chain"),
            pytest.param(lambda d: d.hypotheses_frame(), id="hypotheses_frame"),
        ],
    )
    def test_asking_before_watching_says_how_to_watch(self, ask) -> None:
        with pytest.raises(UsageError, match="nothing was watched yet") as caught:
            ask(NeuralDbg(loops.mlp()))
        assert "with NeuralDbg(model) as dbg:" in str(caught.value)

    def test_showing_itself_before_watching_is_no_error(self) -> None:
        assert "nothing watched yet" in NeuralDbg(loops.mlp())._repr_mimebundle_()["text/plain"]

    def test_one_object_watches_one_run(self, watched) -> None:
        with pytest.raises(UsageError, match="is finished and watches one run only"):
            watched.start()

    def test_starting_twice_is_refused_and_leaves_the_first_watch_in_place(self) -> None:
        model = loops.mlp()
        with NeuralDbg(model) as dbg:
            with pytest.raises(UsageError, match="is active and watches one run only"):
                dbg.start()
            loops.train(model, steps=3)
        assert dbg.diagnose().coverage.steps == 3

    def test_two_contexts_on_one_model_are_refused(self) -> None:
        model = loops.mlp()
        with NeuralDbg(model) as outer:
            with pytest.raises(
                UsageError, match="Sequential is watched by another active NeuralDbg"
            ):
                NeuralDbg(model).start()
            loops.train(model, steps=3)
        assert outer.diagnose().coverage.steps == 3

    def test_a_model_can_be_watched_again_afterwards(self) -> None:
        model = loops.mlp()
        for _ in range(2):
            with NeuralDbg(model) as dbg:
                loops.train(model, steps=3)
            assert dbg.diagnose().coverage.steps == 3

    def test_stopping_twice_is_harmless(self) -> None:
        dbg = NeuralDbg(loops.mlp()).start()
        assert dbg.stop() is dbg.stop()

    def test_asking_during_the_run_answers_for_what_was_seen(self) -> None:
        model = loops.mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with NeuralDbg(model) as dbg:
            loops.train(model, steps=3, optimizer=optimizer)
            early = dbg.diagnose().coverage.steps
            loops.train(model, steps=4, optimizer=optimizer)
        assert (early, dbg.diagnose().coverage.steps) == (3, 7)


class Broken(Exception):  # noqa: N818 - a user's exception is named as they like
    """Raised by the user's own code."""


def raises_after(model: nn.Module, steps: int, error: BaseException) -> None:
    loops.train(model, steps=steps)
    raise error


class TestExceptions:
    def test_an_exception_of_the_loop_comes_out_unchanged(self) -> None:
        model, mine = loops.mlp(), Broken("mine")
        with pytest.raises(Broken) as caught, NeuralDbg(model):
            raises_after(model, 3, mine)
        assert caught.value is mine
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None

    def test_the_run_up_to_it_can_be_asked_about(self) -> None:
        model = loops.mlp()
        dbg = NeuralDbg(model)
        with pytest.raises(Broken), dbg:
            raises_after(model, 5, Broken())
        assert dbg.diagnose().coverage.steps == 5
        assert dbg.recording.facts["exception"] == "Broken"
        assert dbg.recording.facts["finished"] is False

    def test_an_error_inside_forward_leaves_no_hook_behind(self) -> None:
        model = loops.mlp()
        with pytest.raises(RuntimeError), NeuralDbg(model):
            model(torch.zeros(4, 3))
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())

    def test_a_keyboard_interrupt_goes_through(self) -> None:
        model = loops.mlp()
        dbg = NeuralDbg(model)
        with pytest.raises(KeyboardInterrupt), dbg:
            raises_after(model, 2, KeyboardInterrupt())
        assert dbg.diagnose().coverage.steps == 2


class TestNames:
    def test_a_misspelt_failure_names_the_near_ones(self, watched) -> None:
        with pytest.raises(UnknownNameError) as caught:
            watched.explain_failure("vanishing_gradient")
        assert str(caught.value).startswith(
            "no failure is named 'vanishing_gradient'. Did you mean 'vanishing_gradients'"
        )
        assert isinstance(caught.value, KeyError)

    def test_a_failure_like_no_other_lists_what_there_is(self, watched) -> None:
        with pytest.raises(UnknownNameError, match=r"None is similar\. Known: data_anomaly, "):
            watched.trace_causal_chain("zzzz")

    def test_the_alias_of_dead_units_is_understood(self, watched) -> None:
        assert watched.explain_failure("dead_neurons") == watched.explain_failure("dead_units")
        assert watched.trace_causal_chain("dead_neurons").failure == "dead_units"

    def test_a_graph_file_of_an_unknown_kind_lists_the_known_ones(self, watched, tmp_path) -> None:
        with pytest.raises(ExportError, match=r"\.png"):
            watched.export_graph(tmp_path / "graph.png")


class TestPriors:
    def test_an_unknown_mechanism_is_told_before_the_training_and_not_after(self) -> None:
        with pytest.raises(UnknownNameError, match="Did you mean 'learning_rate_too_high'"):
            NeuralDbg(loops.mlp(), priors={"lr_too_high": 0.3})

    @pytest.mark.parametrize("value", [0, 1, -0.2, 1.5, float("nan")])
    def test_a_prior_outside_zero_and_one_is_refused(self, value) -> None:
        with pytest.raises(PriorError, match="must lie between 0 and 1") as caught:
            NeuralDbg(loops.mlp(), priors={"learning_rate_too_high": value})
        assert isinstance(caught.value, ValueError)

    def test_a_prior_of_ones_own_changes_the_answer(self) -> None:
        answers = []
        for prior in (0.01, 0.6):
            model = loops.mlp()
            with NeuralDbg(model, priors={"label_noise": prior, "unknown_cause": 0.01}) as dbg:
                loops.train(model)
            known = {h.mechanism: h.p_mechanism for h in dbg.get_causal_hypotheses(0.0)}
            answers.append(known.get("label_noise", 0.0))
        assert answers[0] < answers[1]


@pytest.mark.parametrize(
    "error", [UsageError, ModelError, PriorError, UnknownNameError, ExportError]
)
def test_one_except_clause_catches_everything_raised_on_purpose(error) -> None:
    assert issubclass(error, NeuralDBGError)

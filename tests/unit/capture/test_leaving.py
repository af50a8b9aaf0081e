"""However the loop ends, everything patched is the exact object that it was; a watched model stays itself."""

import copy
import io
import multiprocessing
import os
import pickle
import queue
import threading
from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from neuraldbg.capture import Capture, Schedule
from neuraldbg.errors import ModelError, UsageError
from tests.twins import PATCHED, Watched, assert_same, digits_like, is_untouched, twins


class Net(nn.Module):
    """Importable, so that it can be pickled."""

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(16, 12)
        self.drop = nn.Dropout(0.1)
        self.fc2 = nn.Linear(12, 4)

    def forward(self, x):
        return self.fc2(self.drop(F.relu(self.fc1(x))))


def _hooks(model):
    return [
        (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks)
        for module in model.modules()
    ]


def _train(model, steps=4, *, before_step=lambda step: None):
    x, y = digits_like()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for step in range(steps):
        before_step(step)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_leaving_restores_every_patched_object():
    model = Net()
    assert is_untouched()
    with Watched(model):
        _train(model)
        for (owner, name), found in PATCHED.items():
            assert getattr(owner, name) is not found
    assert is_untouched()
    assert not any(hooks for triple in _hooks(model) for hooks in triple)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_exception_passes_unchanged_and_is_noted(error):
    model, raised = Net(), error("mine")

    def fail(step):
        if step == 2:
            raise raised

    with pytest.raises(error) as caught, Watched(model) as watched:
        _train(model, before_step=fail)
    recording = watched.capture.recording()
    assert caught.value is raised
    assert is_untouched()
    assert recording.facts["exception"] == error.__name__
    assert recording.steps.size == 2


def test_an_exception_inside_forward_leaves_nothing_and_the_next_step_is_seen():
    class Moody(Net):
        angry = False

        def forward(self, x):
            hidden = self.fc1(x)
            if self.angry:
                msg = "not now"
                raise RuntimeError(msg)
            return self.fc2(F.relu(hidden))

    model = Moody()
    with Watched(model) as watched:
        _train(model, 2)
        model.angry = True
        with pytest.raises(RuntimeError, match="not now"):
            _train(model, 1)
        model.angry = False
        _train(model, 2)
    assert is_untouched()
    assert watched.capture.recording().steps.size == 4


def test_a_generator_left_half_way_is_cleaned_up_when_it_goes():
    def loop(model):
        with Watched(model):
            for _ in range(5):
                yield _train(model, 1)

    steps = loop(Net())
    next(steps)
    assert not is_untouched()
    steps.close()
    assert is_untouched()


def test_a_loop_in_another_thread_ends_as_without_us():
    def program(watch):
        model, losses = Net(), []

        def work():
            # Each thread has a generator state of its own for nothing but the global one is used here.
            losses.extend(_train(model))

        with watch(model):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
        return model, losses

    plain, watched, recording = twins(program)
    assert_same(plain, watched)
    assert is_untouched()
    assert recording.steps.size == 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_may_train_on_while_the_parent_is_watched():
    model = Net()
    with Watched(model) as watched:
        _train(model, 2)
        child = os.fork()
        if child == 0:
            try:
                _train(model, 2)
                os._exit(0)
            except BaseException:  # noqa: BLE001 - whatever it is, the parent must hear of it
                os._exit(1)
        _, status = os.waitpid(child, 0)
        _train(model, 1)
    assert os.waitstatus_to_exitcode(status) == 0
    assert watched.capture.recording().steps.size == 3


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_workers_of_a_data_loader_started_inside_give_the_same_batches():
    def program(watch):
        model, losses = Net(), []
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        data = torch.utils.data.TensorDataset(*digits_like(64))
        with watch(model):
            loader = torch.utils.data.DataLoader(data, 16, shuffle=True, num_workers=1)
            for x, y in loader:
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x), y)
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
        return model, losses

    plain, watched, recording = twins(program)
    assert_same(plain, watched)
    assert recording.steps.size == 4


def test_a_thread_that_loads_data_meanwhile_ends_as_without_us():
    def program(watch):
        model, losses, ready = Net(), [], queue.Queue(2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

        def load():
            x, y = digits_like(64)
            for start in range(0, 64, 16):
                # What a loader does with tensors is not the model's.
                ready.put(
                    (F.relu(x[start : start + 16]) + x[start : start + 16], y[start : start + 16])
                )

        with watch(model):
            thread = threading.Thread(target=load)
            thread.start()
            for _ in range(4):
                x, y = ready.get()
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x), y)
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
            thread.join()
        return model, losses

    plain, watched, recording = twins(program)
    assert_same(plain, watched)
    assert {x.name for x in recording.topology.layers if x.order >= 0} == {"fc1", "drop", "fc2"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_process_forked_in_the_block_leaves_it_on_its_own():
    context = multiprocessing.get_context("fork")

    def child(model, answers):
        losses = _train(model, 2)
        answers.put([*losses, float(is_untouched())])

    def program(watch):
        model, answers = Net(), context.Queue()
        with watch(model):
            losses = _train(model, 2)
            process = context.Process(target=child, args=(model, answers))
            process.start()
            *inside, _ = answers.get(timeout=60)
            process.join()
            losses += _train(model, 1)
        return model, [*losses, *inside]

    plain, watched, recording = twins(program)
    assert_same(plain, watched)
    assert recording.steps.size == 3


def test_a_copy_of_a_watched_model_is_not_watched():
    model = Net()
    with Watched(model) as watched:
        _train(model, 1)
        twin = copy.deepcopy(model)
        _train(twin, 3)
        _train(model, 1)
    recording = watched.capture.recording()
    assert recording.steps.size == 2
    assert not torch.equal(twin.fc1.weight, model.fc1.weight)


def test_a_watched_model_can_be_pickled_and_trains_on_where_it_is_read():
    model = Net()
    with Watched(model):
        _train(model, 1)
        data = pickle.dumps(model)
        stream = io.BytesIO()
        torch.save(model, stream)
    for twin in (pickle.loads(data), torch.load(io.BytesIO(stream.getvalue()), weights_only=False)):
        assert torch.equal(twin.fc1.weight, model.fc1.weight)
        _train(twin, 1)


def test_copies_and_pickles_taken_afterwards_are_those_of_a_model_never_watched():
    def program(watch):
        model = Net()
        with watch(model):
            _train(model)
        return model, []

    torch.manual_seed(0)
    plain, _ = program(lambda _: nullcontext())
    torch.manual_seed(0)
    watched, _ = program(Watched)
    for twin in (copy.deepcopy(watched), pickle.loads(pickle.dumps(watched))):
        assert [vars(m).keys() for m in twin.modules()] == [vars(m).keys() for m in plain.modules()]
        assert not any(hooks for triple in _hooks(twin) for hooks in triple)
        pairs = zip(twin.state_dict().values(), plain.state_dict().values(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


def test_the_state_dict_has_the_same_keys_inside():
    model = Net()
    before = list(model.state_dict())
    with Watched(model):
        _train(model, 1)
        assert list(model.state_dict()) == before


def test_a_hook_of_the_user_stays_and_is_called_as_often():
    def program(watch):
        model, calls = Net(), []
        handle = model.fc1.register_forward_hook(lambda *_: calls.append("forward"))
        model.fc2.register_full_backward_hook(lambda *_: calls.append("backward"))
        model.fc1.weight.register_hook(lambda g: calls.append("weight"))
        with watch(model):
            losses = _train(model)
        handle.remove()
        return model, [*losses, *calls]

    assert_same(*twins(program)[:2])


def test_a_patch_put_on_top_of_ours_stays_and_ours_becomes_transparent():
    model, entry = Net(), torch.autograd._engine_run_backward
    try:
        with Watched(model):
            inner = torch.autograd._engine_run_backward

            def theirs(*args, **kwargs):
                return inner(*args, **kwargs)

            torch.autograd._engine_run_backward = theirs
            _train(model, 1)
        assert torch.autograd._engine_run_backward is theirs
        _train(model, 1)
    finally:
        torch.autograd._engine_run_backward = entry


def test_pausing_makes_the_loop_unwatched_until_resumed():
    model = Net()
    with Watched(model, Schedule(dense=2)) as watched:
        _train(model, 2)
        watched.capture.pause()
        assert is_untouched()
        _train(model, 3)
        watched.capture.resume()
        _train(model, 2)
    assert watched.capture.recording().steps.size == 4


def test_two_models_can_be_watched_at_once():
    def program(watch):
        first, second = Net(), Net()
        with watch(first), watch(second):
            losses = [*_train(first, 2), *_train(second, 3)]
        return nn.ModuleList([first, second]), losses

    plain, watched, recording = twins(program)
    assert_same(plain, watched)
    assert is_untouched()
    assert recording.steps.size == 3


def test_watchers_may_leave_in_any_order():
    first, second = Capture(Net()), Capture(Net())
    first.start()
    second.start()
    first.stop()
    assert not is_untouched()
    second.stop()
    assert is_untouched()


def test_watching_one_model_twice_at_a_time_is_refused():
    model = Net()
    with Watched(model), pytest.raises(UsageError, match="watched by another"):
        Capture(model).start()
    assert is_untouched()


def test_what_is_no_module_is_refused():
    with pytest.raises(ModelError, match=r"torch\.nn\.Module"):
        Capture(object())


def test_a_model_without_parameters_is_refused():
    with pytest.raises(UsageError, match="no parameters"):
        Capture(nn.ReLU()).start()


def test_default_device_contexts_of_the_user_are_left_alone():
    def program(watch):
        model = Net()
        with watch(model):
            losses = _train(model, 1)
            with torch.device("cpu"):
                losses += _train(model, 2)
            losses += _train(model, 1)
        return model, losses

    assert_same(*twins(program)[:2])
    assert is_untouched()


def test_grad_mode_is_as_the_user_set_it():
    model = Net()

    def watch():
        with Watched(model):
            with torch.no_grad():
                model(digits_like()[0])
                assert not torch.is_grad_enabled()
            with torch.inference_mode():
                model(digits_like()[0])
            assert torch.is_grad_enabled()
            return _train(model, 2)

    assert len(watch()) == 2

import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from se4lip.io.weights import load_weights
from se4lip.train.checkpoint import check_begun, progress_of
from se4lip.train.interruption import put_off
from se4lip.train.log import duration, said_along
from se4lip.train.loop import CHECKPOINT, LoopConfig, schedule, train
from se4lip.types import InputError


class Fit:
    """A line through noisy points: a task small enough to be killed many times."""

    def __init__(self):
        torch.manual_seed(0)
        self.module = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.3), nn.Linear(8, 1))

    def loss(self, step):
        inputs = torch.randn(16, 3)
        return (self.module(inputs)[:, 0] - inputs.sum(1)).square().mean(), {}

    def validate(self, module):
        return {"weight": module[0].weight[0, 0].item()}


CONFIG = LoopConfig(steps=60, warmup_steps=5, log_every=20, validate_every=30, learning_rate=1e-2)


def run(folder, config=CONFIG, task=None, identity=None):
    return train(task or Fit(), config, folder, identity or {"of": "test"}, report=lambda _: None)


def test_a_run_learns(tmp_path):
    module = run(tmp_path)
    inputs = torch.randn(200, 3)
    module.eval()
    assert (module(inputs)[:, 0] - inputs.sum(1)).square().mean() < 1.5 < 3.0


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("stopped_at", [1, 30, 59])
def test_a_run_that_was_stopped_ends_on_the_same_bits(tmp_path, stopped_at):
    whole = run(tmp_path / "whole")

    class Stopping(Fit):
        def loss(self, step):
            if step == stopped_at:
                raise Interrupted
            return super().loss(step)

    every_step = LoopConfig(**(vars(CONFIG) | {"checkpoint_every_s": 0.0}))
    plain = run(tmp_path / "plain", every_step)
    with pytest.raises(Interrupted):
        run(tmp_path / "stopped", every_step, Stopping())
    resumed = run(tmp_path / "stopped", every_step)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, plain.state_dict()[name])
        assert torch.equal(value, resumed.state_dict()[name])


_KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_train_loop import CONFIG, Fit, LoopConfig, train
class Slow(Fit):
    def loss(self, step):
        time.sleep(0.05)
        return super().loss(step)
config = LoopConfig(**(vars(CONFIG) | dict(checkpoint_every_s=0.0)))
train(Slow(), config, Path(sys.argv[1]), dict(of="test"), report=lambda _: None)
"""


def test_kill_minus_nine_leaves_a_checkpoint_to_go_on_from(tmp_path):
    config = LoopConfig(**(vars(CONFIG) | {"checkpoint_every_s": 0.0}))
    whole = run(tmp_path / "whole", config)
    code = _KILLED.format(tests=str(Path(__file__).parent))
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "killed")])
    file = tmp_path / "killed" / f"{CHECKPOINT}.safetensors"
    deadline = time.monotonic() + 60
    while not file.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = load_weights(file, kind=CHECKPOINT)[1].metadata["steps_done"]
    assert 0 < done < config.steps
    resumed = run(tmp_path / "killed", config)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_who_asks_to_stop_is_obeyed_after_the_step_and_nothing_is_lost(signum, tmp_path):
    whole = run(tmp_path / "whole")
    heard, said = [], []

    class Asking(Fit):
        def loss(self, step):
            if step == 20:
                signal.raise_signal(signum)
            return super().loss(step)

    def obey(*_):
        heard.append(signum)
        raise Interrupted

    before = signal.signal(signum, obey)
    try:
        with pytest.raises(Interrupted):
            train(Asking(), CONFIG, tmp_path / "asked", {"of": "test"}, report=said.append)
        assert signal.getsignal(signum) is obey
    finally:
        signal.signal(signum, before)
    assert heard == [signum]
    assert said[-1] == "stopped and saved at step 21 of 60: give the same command again to go on"
    assert progress_of(tmp_path / "asked").steps_done == 21
    resumed = run(tmp_path / "asked")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_who_asks_twice_is_not_kept_waiting():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), put_off() as asked:
            signal.raise_signal(signal.SIGINT)
            assert asked()
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("the second time is at once")
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_options_that_changed_are_told_as_they_are_typed(tmp_path):
    def recipe(steps):
        return {"recipe": {"clips_per_step": 4, "loop": {"steps": steps}}, "of": "this"}

    run(tmp_path, identity=recipe(20))
    with pytest.raises(InputError, match=r"of a run with other --loop\.steps \(20, now 30\): give"):
        run(tmp_path, identity=recipe(30))
    newer = recipe(20)
    newer["recipe"]["more"] = [1, 2]
    with pytest.raises(InputError, match=r"other --more \(no option, now 1 2\): give"):
        run(tmp_path, identity=newer)
    with pytest.raises(InputError, match=r"with other of, --loop\.steps \(20, now 30\): give"):
        run(tmp_path, identity=recipe(30) | {"of": "that"})


def test_options_that_changed_are_told_before_the_data_are_read(tmp_path):
    run(tmp_path, identity={"recipe": {"steps": 20, "rates": [1, 2]}, "of": "this"})
    check_begun(tmp_path, {"recipe": {"steps": 20, "rates": (1, 2)}, "newer": 3})
    check_begun(tmp_path / "nothing", {"recipe": 1})
    with pytest.raises(InputError, match=r"of a run with other --steps \(20, now 30\): give"):
        check_begun(tmp_path, {"recipe": {"steps": 30, "rates": (1, 2)}})


def test_a_checkpoint_of_another_run_is_not_overwritten(tmp_path):
    run(tmp_path)
    before = (tmp_path / f"{CHECKPOINT}.safetensors").read_bytes()
    with pytest.raises(InputError, match="is of a run with other of: give the same options"):
        run(tmp_path, identity={"of": "something else"})
    assert (tmp_path / f"{CHECKPOINT}.safetensors").read_bytes() == before


def test_a_checkpoint_of_another_size_is_told_in_a_sentence(tmp_path):
    run(tmp_path)
    task = Fit()
    task.module = torch.nn.Linear(9, 9)
    with pytest.raises(InputError, match="is of a run with other data, its weights are of another"):
        run(tmp_path, task=task)


def test_a_loss_that_is_no_number_stops_the_run(tmp_path):
    class Broken(Fit):
        def loss(self, step):
            value, figures = super().loss(step)
            return value * math.nan, figures

    with pytest.raises(
        InputError, match="the loss became nan at step 0, the training has diverged"
    ):
        run(tmp_path / "run", task=Broken())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("broken_at", [40, 59])
def test_a_gradient_that_is_no_number_leaves_what_was_learned_before(tmp_path, broken_at):
    class Broken(Fit):
        def loss(self, step):
            value, figures = super().loss(step)
            if step == broken_at:  # of the root of zero
                value = value + (self.module[0].weight.sum() * 0).sqrt()
            return value, figures

    every_step = LoopConfig(**(vars(CONFIG) | {"checkpoint_every_s": 0.0}))
    with pytest.raises(InputError, match=f"the gradient became nan at step {broken_at}, the train"):
        run(tmp_path, every_step, Broken())
    assert progress_of(tmp_path).steps_done == broken_at
    tensors, _ = load_weights(tmp_path / f"{CHECKPOINT}.safetensors", kind=CHECKPOINT)
    assert all(tensor.isfinite().all() for tensor in tensors.values())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorBoard's own
def test_how_far_a_run_came_is_told_also_after_it_was_interrupted(tmp_path):
    class Stopping(Fit):
        def loss(self, step):
            if step == 40:
                raise Interrupted
            return super().loss(step)

    every_step = LoopConfig(**(vars(CONFIG) | {"checkpoint_every_s": 0.0}))
    with pytest.raises(Interrupted):
        run(tmp_path, every_step, Stopping())
    first = progress_of(tmp_path)
    assert first.steps_done == 40
    module = run(tmp_path, every_step)
    whole = progress_of(tmp_path)
    assert whole.steps_done == 60
    assert whole.seconds > first.seconds > 0
    assert whole.validation == {"weight": module[0].weight[0, 0].item()}
    assert whole.validation != first.validation


def test_what_an_older_run_did_not_write_down_is_not_compared(tmp_path):
    run(tmp_path, identity={"of": "test"})
    run(tmp_path, identity={"of": "test", "clips": ["0a"]})
    run(tmp_path / "new", identity={"of": "test", "clips": ["0a"]})
    with pytest.raises(InputError, match="other clips or stored offsets: give the same options"):
        run(tmp_path / "new", identity={"of": "test", "clips": ["1b"]})
    with pytest.raises(InputError, match="other clips or stored offsets: give the same options"):
        run(tmp_path / "new", identity={"of": "test"})


def test_the_rate_rises_straight_and_falls_along_a_cosine():
    config = LoopConfig(steps=110, warmup_steps=10, final_rate=0.1)
    assert schedule(4, config) == pytest.approx(0.5)
    assert schedule(10, config) == pytest.approx(1.0)
    assert schedule(60, config) == pytest.approx(0.55)
    assert schedule(109, config) == pytest.approx(0.1, abs=1e-3)


def test_durations_are_readable():
    assert [duration(s) for s in (5, 65, 3605)] == ["0:05", "1:05", "1:00:05"]


def test_long_work_says_how_long_the_rest_will_take(monkeypatch):
    clock, said = iter([0.0, 0.0, 4.0, 10.0, 12.0, 21.0]), []
    monkeypatch.setattr("se4lip.train.log.time.monotonic", lambda: next(clock))
    assert list(said_along(iter("abcde"), 5, "letters", said.append)) == list("abcde")
    assert said == ["letters: 2 of 5, 0:15 left", "letters: 4 of 5, 0:05 left"]
    clock, said = iter([0.0, 30.0, 31.0]), []  # the first took long to come
    assert list(said_along(iter("ab"), 2, "letters", said.append)) == list("ab")
    assert said == ["letters: 1 of 2, 0:31 left"]

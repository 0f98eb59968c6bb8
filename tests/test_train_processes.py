"""A training shared by two processes, and one that is killed, ends where one alone would end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from puppet import make_dataset
from se4lip.artifacts.encoder import ENCODER_KIND
from se4lip.io.weights import load_weights
from se4lip.train.checkpoint import progress_of
from se4lip.types import InputError
from strict import strict_json

# Relative. Two processes see the batch of one and only add up in another order; the auxiliary
# target is a mean of the means of both halves, in which not quite as many windows are whole.
CURVE_TOLERANCE = 1e-4
# Relative to the largest gradient of a tensor. A gradient twice as large, or half missing, is at 1.
GRADIENT_TOLERANCE = 1e-3
# Relative, of a batch of two clips: Adam takes a whole step along gradients that are all rounding.
COMMAND_TOLERANCE = 2e-2

SMALL = [
    *("--split", "all", "--device", "cpu", "--precision", "float32"),
    *("--model.speech.projection", "16", "--model.speech.hidden", "16"),
    *("--model.lips.channels", "8", "8", "8", "8", "--model.lips.contour-hidden", "16"),
    *("--clips-per-step", "2", "--windows-per-clip", "6", "--context-s", "0.2"),
]
NO_DROPOUT = ["--model.speech.dropout", "0", "--model.lips.dropout", "0"]
ALONE, TWO = ["-m", "se4lip"], ["--standalone", "--nproc-per-node=2", "-m", "se4lip"]
TORCHRUN = ["-m", "torch.distributed.run"]


def environment() -> dict[str, str]:
    # One thread each, so that sums are added up in the same order in every process.
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"}


def python(*arguments: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("puppet"), recordings=3, frames=60)


# --- two processes -------------------------------------------------------------------------------

_WATCHED = """
import sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, {tests!r})
import numpy as np
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook
from test_train_encoder import SMALL, recipe, task_of, train
from se4lip.train.devices import is_chief, processes

speech, lips = replace(SMALL.speech, dropout=0.0), replace(SMALL.lips, dropout=0.0)
plain = recipe(steps=6)
# Dropout is drawn in each process; gradients are watched as they are, not clipped.
still = replace(
    plain,
    model=replace(SMALL, speech=speech, lips=lips),
    loop=replace(plain.loop, log_every=1, clip_norm=float("inf")),
)
curve, gradients = [], {{}}
with processes(torch.device("cpu")):
    task = task_of(still)
    loss = task.loss

    def watched(step):
        value, figures = loss(step)
        curve.append(figures["contrast"])
        return value, figures

    def keep(optimizer, *_):
        if not gradients:
            for name, parameter in task.module.named_parameters():
                gradients[name] = parameter.grad.numpy().copy()

    task.loss = watched
    register_optimizer_step_pre_hook(keep)
    train(task, still.loop, Path(sys.argv[1]), {{}}, report=lambda _: None)
if is_chief():
    np.savez(Path(sys.argv[1]) / "seen.npz", curve=np.array(curve), **gradients)
"""


def watched(processes: int, folder: Path) -> dict[str, np.ndarray]:
    """The loss of every step, and the gradients of the first."""
    folder.mkdir()
    code = folder / "train.py"
    code.write_text(_WATCHED.format(tests=str(Path(__file__).parent)))
    python(*TORCHRUN, "--standalone", f"--nproc-per-node={processes}", code, folder)
    with np.load(folder / "seen.npz") as seen:
        return dict(seen)


@pytest.mark.slow
def test_two_processes_give_loss_and_gradients_of_one_with_the_double_batch(tmp_path: Path) -> None:
    one, two = watched(1, tmp_path / "one"), watched(2, tmp_path / "two")
    curve = one.pop("curve")
    assert len(curve) == 6 and curve.min() > 0.1
    np.testing.assert_allclose(two.pop("curve"), curve, rtol=CURVE_TOLERANCE)
    assert one.keys() == two.keys()
    steepest = max(np.abs(gradient).max() for gradient in one.values())
    for name, gradient in one.items():
        # What is zero but for rounding, such as a softmax's bias, is not compared with itself.
        largest = max(np.abs(gradient).max(), 1e-4 * steepest)
        np.testing.assert_allclose(
            two[name], gradient, rtol=0, atol=GRADIENT_TOLERANCE * largest, err_msg=name
        )


def contrasts(said: str) -> list[float]:
    return [float(x.split("contrast ")[1].split()[0]) for x in said.splitlines() if "contrast" in x]


@pytest.mark.slow
def test_the_command_under_torchrun_says_once_where_the_weights_are(
    data: Path, tmp_path: Path
) -> None:
    train = ["train", "encoder", data, *SMALL, *NO_DROPOUT, "--loop.steps", 3]
    train += ["--loop.log-every", "1", "--json"]
    two = python(*TORCHRUN, *TWO, *train, "-o", tmp_path / "two")
    told = strict_json(two.stdout)  # one object: the other process says nothing
    assert told["path"] == str(tmp_path / "two" / "encoder.safetensors")
    assert told["training"]["steps"] == 3 and told["training"]["seconds"] >= 0
    assert "FutureWarning" not in two.stderr
    one = python(*ALONE, *train, "-o", tmp_path / "one")
    ours, alone = contrasts(two.stderr), contrasts(one.stderr)
    assert len(alone) == 3
    assert ours[0] == alone[0]  # as they are printed, with four digits
    assert ours == pytest.approx(alone, rel=COMMAND_TOLERANCE)


# --- kill -9 -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_killed_command_goes_on_and_ends_on_the_same_bits(data: Path, tmp_path: Path) -> None:
    train = ["train", "encoder", data, *SMALL, "--loop.steps", 25, "--loop.checkpoint-every-s", 0]
    python(*ALONE, *train, "-o", tmp_path / "whole")
    killed = tmp_path / "killed"
    command = [sys.executable, *ALONE, *map(str, train), "-o", str(killed)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment()) as process:
        while process.poll() is None and steps_done(killed) < 3:
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
    done = steps_done(killed)
    assert 3 <= done < 25
    assert not (killed / "encoder.safetensors").exists()
    again = python(*ALONE, *train, "-o", killed)
    assert f"going on at step {done} of 25" in again.stderr
    whole, _ = load_weights(tmp_path / "whole" / "encoder.safetensors", ENCODER_KIND)
    resumed, _ = load_weights(killed / "encoder.safetensors", ENCODER_KIND)
    assert whole.keys() == resumed.keys()
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name


def steps_done(folder: Path) -> int:
    try:
        return progress_of(folder).steps_done
    except InputError:
        return 0

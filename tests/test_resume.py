"""A run that is killed at any instant and resumed has the weights of one that was not."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from training_runs import EPOCHS, assert_same_weights, jitter, network, run, trainer, without_times

from fastconv import checkpoint, nn
from fastconv.optim import SGD, Adam, CosineSchedule, StepSchedule, WarmupSchedule
from fastconv.training import Trainer


@pytest.mark.parametrize("stop", range(1, EPOCHS))
def test_a_resumed_run_has_the_weights_of_a_whole_one(backend, tmp_path, stop):
    path = tmp_path / "a.safetensors"
    whole, history = run()
    run(path, epochs=stop)
    resumed, again = run(path, resume=True)
    assert_same_weights(whole, resumed)
    assert without_times(again) == without_times(history)
    assert whole.optimizer.lr == resumed.optimizer.lr


def adam():
    model = network()
    optimizer = Adam(model.parameters(), lr=0.01, weight_decay=0.01)
    return Trainer(model, "cross_entropy", optimizer, schedule=WarmupSchedule(optimizer, 7, every="step"))


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("make", [trainer, adam])
@pytest.mark.parametrize("batch", [0, 7, 19])
def test_a_run_that_is_stopped_in_the_middle_of_an_epoch_resumes_the_same(tmp_path, error, make, batch):
    path, count = tmp_path / "a.safetensors", iter(range(1000))

    def stopped(x, rng):
        if next(count) == batch:
            raise error
        return jitter(x, rng)

    whole, _ = run(make=make)
    with pytest.raises(error):
        run(path, make=make, augment=stopped)
    resumed, _ = run(path, make=make, resume=True)
    assert_same_weights(whole, resumed)


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
import training_runs as t
count = iter(range(1000))
def killed(x, rng):
    if next(count) == 13:
        os.kill(os.getpid(), signal.SIGKILL)
    return t.jitter(x, rng)
t.run(sys.argv[1], augment=killed)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_run_that_is_killed_resumes_the_same(tmp_path):
    path = tmp_path / "a.safetensors"
    command = [sys.executable, "-c", KILLED, str(path), str(Path(__file__).parent)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert [row["epoch"] for row in checkpoint.read(path)["history"]] == [1, 2]
    whole, _ = run()
    resumed, _ = run(path, resume=True)
    assert_same_weights(whole, resumed)


def test_a_run_that_is_killed_while_it_writes_keeps_its_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    run(path, epochs=2)
    before = path.read_bytes()

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", killed)
        with pytest.raises(KeyboardInterrupt):
            run(path, resume=True)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    whole, _ = run()
    resumed, _ = run(path, resume=True)
    assert_same_weights(whole, resumed)


def test_resuming_without_a_checkpoint_begins(tmp_path):
    whole, _ = run()
    begun, _ = run(tmp_path / "a.safetensors", resume=True)
    assert_same_weights(whole, begun)


def test_resuming_a_finished_run_changes_nothing(tmp_path):
    whole, history = run(tmp_path / "a.safetensors")
    again, same = run(tmp_path / "a.safetensors", resume=True)
    assert_same_weights(whole, again)
    assert same == history


def wider():
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 2, rng=0))
    optimizer = SGD(model.parameters(), lr=0.05, momentum=0.9)
    return Trainer(model, "cross_entropy", optimizer, schedule=CosineSchedule(optimizer, 6))


def unscheduled():
    model = network()
    return Trainer(model, "cross_entropy", SGD(model.parameters(), lr=0.05, momentum=0.9))


def other_optimizer():
    model = network()
    optimizer = Adam(model.parameters())
    return Trainer(model, "cross_entropy", optimizer, schedule=StepSchedule(optimizer, 6))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 5}, "a.safetensors is of a run with seed 3, this one has seed 5"),
        ({"batch_size": 9}, "a.safetensors is of a run with batch_size 8, this one has batch_size 9"),
        ({"make": wider}, "a.safetensors is not a checkpoint of this trainer: .*not known are"),
        ({"make": unscheduled}, "a.safetensors is not a checkpoint of this trainer: the trainer has none schedule"),
        ({"make": other_optimizer}, "a.safetensors is not a checkpoint of this trainer: .*lacks beta1"),
    ],
)
def test_a_checkpoint_of_another_run_loads_nothing(tmp_path, options, message):
    path = tmp_path / "a.safetensors"
    run(path, epochs=1)
    built = options.get("make", trainer)()
    before = built.state_dict()
    with pytest.raises(ValueError, match=message):
        run(path, resume=True, **(options | {"make": lambda: built}))
    after = built.state_dict()
    for section in before:
        for key, value in before[section].items():
            np.testing.assert_array_equal(after[section][key], value, err_msg=f"{section} {key}")


def test_a_damaged_checkpoint_loads_nothing(tmp_path):
    path = tmp_path / "a.safetensors"
    run(path, epochs=1)
    path.write_bytes(path.read_bytes()[:-5])
    built = trainer()
    before = built.model.state_dict()
    with pytest.raises(ValueError, match=r"a\.safetensors is no safetensors file, or not a whole one"):
        run(path, resume=True, make=lambda: built)
    for key, value in built.model.state_dict().items():
        np.testing.assert_array_equal(value, before[key])

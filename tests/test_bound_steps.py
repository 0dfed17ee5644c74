"""A trainer's steps on a bound network: every optimizer and loss, bad batches, and what a step costs."""

import copy
import os
import subprocess
import sys
import tracemalloc
from unittest import mock

import numpy as np
import pytest
from bound_models import assert_alike, batch, pair, small, trainers

import fastconv as fc
from fastconv import models, nn, optim
from fastconv.backends.cpu import linear
from fastconv.training import Trainer

DECAY = {"weight_decay": 0.1}


@pytest.fixture(autouse=True)
def cpu():
    with fc.use_backend("cpu"):
        yield


@pytest.mark.parametrize(
    ("optimizer", "options"),
    [
        *((optimizer, options) for optimizer in (optim.SGD, optim.Adam, optim.AdamW) for options in ({}, DECAY)),
        (optim.SGD, {"momentum": 0.5}),
        (optim.SGD, {"momentum": 0.9, "nesterov": True}),
    ],
)
def test_every_optimizer_moves_as_with_layers(optimizer, options):
    x, y = pair()
    one, two = trainers(small, "cross_entropy", optimizer, **options)
    for _ in range(3):
        one.step(x, y), two.step(x, y)
    assert_alike(one, two, 1e-12)
    assert one.optimizer.state_dict().keys() == two.optimizer.state_dict().keys()


@pytest.mark.parametrize("optimizer", [optim.SGD, optim.Adam])
def test_weights_that_stay_in_no_cache_move_alike(optimizer):
    x, y = pair()
    plans = linear.forward, linear.input_grad, linear.weight_grad
    try:
        with mock.patch.object(linear, "stays", return_value=0):
            for plan in plans:
                plan.cache_clear()
            one, two = trainers(small, "cross_entropy", optimizer)
            for _ in range(3):
                one.step(x, y), two.step(x, y)
    finally:
        for plan in plans:
            plan.cache_clear()
    assert_alike(one, two, 1e-12)


@pytest.mark.parametrize("loss", ["mse", "l1", "binary_cross_entropy", "binary_cross_entropy_with_logits"])
def test_every_loss_is_that_of_the_layers(loss):
    def make():
        layers = nn.Flatten(), nn.Linear(64, 4, rng=1, dtype=np.float64), nn.Sigmoid()
        return nn.Sequential(*layers)

    x, _ = pair()
    target = np.random.default_rng(4).random((6, 4))
    one, two = trainers(make, loss)
    for _ in range(2):
        np.testing.assert_allclose(one.step(x, target), two.step(x, target), rtol=1e-13)
    assert_alike(one, two, 1e-13)


def test_a_loss_of_ones_own_is_called():
    def loss(y, target):
        return float(((y - target) ** 3).sum()), 3 * (y - target) ** 2

    x, _ = pair()
    one, two = trainers(small, loss, lr=1e-3)
    target = np.zeros((6, 4))
    for _ in range(2):
        np.testing.assert_allclose(one.step(x, target), two.step(x, target), rtol=1e-12)
    assert_alike(one, two, 1e-12)


def test_gradients_are_clipped_as_with_layers():
    x, y = pair()
    one, two = trainers(small, "cross_entropy")
    one.clip_norm = two.clip_norm = 0.1
    for _ in range(2):
        one.step(x, y), two.step(x, y)
    assert_alike(one, two, 1e-12)


def test_gradients_are_left_behind():
    x, y = pair()
    one, two = trainers(small, "cross_entropy")
    one.step(x, y), two.step(x, y)
    for a, b in zip(one.model.parameters(), two.model.parameters(), strict=True):
        np.testing.assert_allclose(a.grad, b.grad, rtol=0, atol=1e-13)


BAD = {
    "axes": lambda x, y: (x[0], y),
    "channels": lambda x, y: (np.concatenate([x, x], 1), y),
    "pixels": lambda x, y: (x[..., :3], y),
    "dtype": lambda x, y: (x.astype(np.float32), y),
    "integers": lambda x, y: (x.astype(np.int64), y),
    "classes": lambda x, y: (x, y + 3),
    "class below": lambda x, y: (x, y - 200),
    "targets": lambda x, y: (x, y[:3]),
    "float targets": lambda x, y: (x, y.astype(np.float64)),
    "no images": lambda x, y: (x[:0], y[:0]),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_batch_raises_what_the_layers_raise(what):
    x, y = pair()
    one, two = trainers(small, "cross_entropy", momentum=0.9)
    one.step(x, y), two.step(x, y)
    bad = BAD[what](x, y)
    seen = []
    for trainer in (one, two):
        try:
            seen.append((None, trainer.step(*bad)))
        except Exception as error:
            seen.append((type(error), str(error)))
    assert seen[0] == seen[1] or np.isnan(seen[0][1])
    one.step(x, y), two.step(x, y)
    assert_alike(one, two, 1e-12)


def test_ignored_classes_count_as_with_layers():
    x, y = pair()
    y[2] = -100
    one, two = trainers(small, "cross_entropy")
    np.testing.assert_allclose(one.step(x, y), two.step(x, y), rtol=1e-12)
    assert_alike(one, two, 1e-12)


def test_a_profile_shows_the_kernels_and_changes_nothing():
    x, y = pair()
    trainer, _ = trainers(small, "cross_entropy", momentum=0.9)
    trainer.step(x, y)
    before = copy.deepcopy(trainer.state_dict())
    profile = trainer.profile(x, y)
    after = trainer.state_dict()
    for section in ("model", "optimizer"):
        for key, value in before[section].items():
            np.testing.assert_array_equal(after[section][key], value, err_msg=key)
    text = str(profile)
    assert "convolution, pooling" in text
    assert "linear weight_grad, update" in text
    assert "a whole step" in text.splitlines()[-1]
    assert profile.seconds > 0
    assert all(seconds > 0 for _, seconds, _ in profile.rows)


def test_a_model_that_is_not_bound_has_no_profile():
    x, y = pair()
    trainer, _ = trainers(small, "cross_entropy")
    with fc.use_backend("reference"), pytest.raises(RuntimeError, match="not bound"):
        trainer.profile(x, y)


def test_a_step_allocates_nothing():
    x, y = batch("lenet", 3, np.float32)
    model = models.lenet(seed=0)
    trainer = Trainer(model, "cross_entropy", optim.SGD(model.parameters(), lr=0.01, momentum=0.9))
    for _ in range(3):
        trainer.step(x, y)
    tracemalloc.start()
    try:
        trainer.step(x, y)
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(50):
            trainer.step(x, y)
        after, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 500
    assert most - before < 5000  # no array of images, activations or gradients


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_goes_on():
    code = (
        "import os, numpy as np, fastconv as fc\n"
        "model = fc.models.lenet(seed=0)\n"
        "trainer = fc.training.Trainer(model, 'cross_entropy', fc.optim.SGD(model.parameters(), lr=0.01))\n"
        "x, y = np.random.default_rng(0).random((32, 1, 28, 28), np.float32), np.arange(32) % 10\n"
        "trainer.step(x, y)\n"
        "reader, writer = os.pipe()\n"
        "child = os.fork()\n"
        "loss = repr(trainer.step(x, y))\n"
        "if child == 0:\n"
        "    os.write(writer, loss.encode())\n"
        "    os._exit(0)\n"
        "os.waitpid(child, 0)\n"
        "print(os.read(reader, 100).decode() == loss)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert run.stdout.strip() == "True", run.stderr

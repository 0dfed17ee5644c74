"""A small training, the same every time: what the tests of trainer, `fit` and resumed runs share."""

import numpy as np

from fastconv import nn
from fastconv.datasets import Dataset, Split, augment
from fastconv.optim import SGD, CosineSchedule
from fastconv.training import Trainer, fit

EPOCHS = 4


def data(dtype=np.float32):
    """Images of a bright left or right half: two classes."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 50)
    x = rng.standard_normal((50, 1, 6, 6)).astype(dtype)
    x[y == 0, :, :, :3] += 1
    x[y == 1, :, :, 3:] += 1
    return Dataset("halves", Split(x[:38], y[:38]), Split(x[38:], y[38:]), ("left", "right"), 0.0, 1.0)


def network(seed=0):
    """A network with all that has a state: parameters, running statistics, a generator."""
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, rng=seed),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.3, rng=seed + 1),
        nn.Linear(48, 2, rng=seed + 2),
    )


def trainer(seed=0):
    model = network(seed)
    optimizer = SGD(model.parameters(), lr=0.05, momentum=0.9)
    return Trainer(model, "cross_entropy", optimizer, schedule=CosineSchedule(optimizer, 6), clip_norm=1.0)


def jitter(x, rng):
    return augment.noise(augment.shift(x, 1, rng), 0.1, rng)


def run(path=None, epochs=EPOCHS, make=trainer, **options):
    """A run of `fit`, its trainer and history."""
    built = make()
    options = {"batch_size": 8, "seed": 3, "progress": False, "augment": jitter, "checkpoint": path} | options
    return built, fit(built, data(), epochs, **options)


def assert_same_weights(one, two):
    state, other = one.model.state_dict(), two.model.state_dict()
    assert list(state) == list(other)
    for key in state:
        np.testing.assert_array_equal(state[key], other[key], err_msg=key)


def without_times(history):
    return [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in history]

"""Models, batches and pairs of trainers of which one binds and one does not: what the tests of bound networks share."""

import numpy as np

from fastconv import models, nn, optim
from fastconv.training import Trainer

MODELS = {
    "lenet": (models.lenet, "cross_entropy"),
    "autoencoder": (models.autoencoder, "mse"),
    "residual_net": (models.residual_net, "cross_entropy"),
    "unet": (models.unet, "mse"),
}


def batch(name, n, dtype, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.random((n, 1, 28, 28)).astype(dtype)
    return x, rng.integers(0, 10, n) if MODELS[name][1] == "cross_entropy" else x


def small():
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1, rng=0, dtype=np.float64), nn.Tanh(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(48, 4, rng=1, dtype=np.float64),
    )  # fmt: skip


def pair():
    rng = np.random.default_rng(2)
    return rng.standard_normal((6, 1, 8, 8)), rng.integers(0, 4, 6)


def by_layers(trainer):
    """The trainer without bound networks."""
    trainer._bound_step = lambda x, y: None
    return trainer


def trainers(make, loss, optimizer=optim.SGD, **options):
    """One that binds, and one that calls layer after layer."""
    found = []
    for _ in range(2):
        model = make()
        found.append(Trainer(model, loss, optimizer(model.parameters(), **({"lr": 0.05} | options))))
    return found[0], by_layers(found[1])


def assert_bound(trainer):
    steps = [step for step in trainer._bindings._found.values() if step is not None]
    assert steps, "nothing was bound"


def assert_alike(one, two, tolerance):
    state, other = one.model.state_dict(), two.model.state_dict()
    for key in state:
        scale = np.abs(other[key]).max(initial=1.0)
        np.testing.assert_allclose(state[key], other[key], rtol=0, atol=tolerance * scale, err_msg=key)

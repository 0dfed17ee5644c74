"""Bound networks against the same layers called one by one: the same numbers, of every layer and of drawn networks."""

import copy

import numpy as np
import pytest
from bound_models import MODELS, assert_alike, assert_bound, batch, by_layers, pair, trainers
from drawn_networks import drawn_network
from layers import LAYERS
from thread_counts import assert_same_on_threads

import fastconv as fc
from fastconv import nn, optim, rewrites
from fastconv.backends.cpu import lowering
from fastconv.training import Trainer


@pytest.fixture(autouse=True)
def cpu():
    with fc.use_backend("cpu"):
        yield


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 2e-5)])
def test_training_is_the_layers(name, dtype, tolerance):
    make, loss = MODELS[name]
    one, two = trainers(lambda: make(seed=3, dtype=dtype), loss, momentum=0.9, lr=0.02)
    for n in (5, 2, 5):
        x, y = batch(name, n, dtype, n)
        np.testing.assert_allclose(
            one.step(x, y), two.step(x, y), rtol=max(tolerance, 1e-6 if dtype == np.float32 else 0)
        )
    assert_bound(one)
    assert_alike(one, two, tolerance)


@pytest.mark.parametrize("name", MODELS)
def test_without_rewrites_the_bits_are_the_layers(name, monkeypatch):
    monkeypatch.setattr(rewrites, "rewritten", lambda graph: graph)
    make, loss = MODELS[name]
    one, two = trainers(lambda: make(seed=3), loss, momentum=0.9)
    x, y = batch(name, 3, np.float32)
    for _ in range(2):
        assert one.step(x, y) == two.step(x, y)
    assert_bound(one)
    assert_alike(one, two, 0)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("n", [1, 4])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 2e-5)])
def test_evaluation_is_the_layers(name, n, dtype, tolerance):
    model = MODELS[name][0](seed=1, dtype=dtype)
    x, _ = batch(name, n, dtype)
    model(x)
    model.eval()
    y = model(x)
    assert model._bindings is not None
    (network,) = model._bindings._found.values()
    assert network.usable()
    np.testing.assert_array_equal(y, network.output)
    np.testing.assert_allclose(y, model.forward(x), rtol=0, atol=tolerance * np.abs(y).max())
    assert not np.shares_memory(y, model(x))


@pytest.mark.parametrize("name", ["lenet", "residual_net"])
def test_results_do_not_depend_on_threads(name):
    make, loss = MODELS[name]
    x, y = batch(name, 20, np.float32)

    def call():
        model = make(seed=0)
        Trainer(model, loss, optim.SGD(model.parameters(), lr=0.1, momentum=0.9)).step(x, y)
        return model.state_dict().values()

    assert_same_on_threads(call, (1, 1, 2, 5))


def mixed(shape):
    """A layer with parameters that leaves the shape of its input as it is."""
    if len(shape) == 2:
        return nn.Linear(shape[1], shape[1], rng=0, dtype=np.float64)
    return getattr(nn, f"Conv{len(shape) - 2}d")(shape[1], shape[1], 1, rng=0, dtype=np.float64)


@pytest.mark.parametrize("case", LAYERS, ids=str)
def test_every_layer_within_a_network_is_itself(case):
    def make():
        layer = case.make()
        return nn.Sequential(nn.Identity() if layer.parameters() else mixed(case.x_shape), layer, nn.Tanh())

    x = case.x()
    target = np.random.default_rng(5).standard_normal(make()(x).shape)
    one, two = trainers(make, "mse")
    for _ in range(2):
        np.testing.assert_allclose(one.step(x, target), two.step(x, target), rtol=1e-12)
    assert_alike(one, two, 1e-12)


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("limit", [lowering.SMALL, 0], ids=["gradients wait", "arrays serve again"])
def test_drawn_networks_are_their_layers(limit, seed, monkeypatch):
    monkeypatch.setattr(lowering, "SMALL", limit)
    rng = np.random.default_rng(seed)
    model, image = drawn_network(rng)
    twin = copy.deepcopy(model)
    one = Trainer(model, "cross_entropy", optim.Adam(model.parameters(), lr=0.003))
    two = by_layers(Trainer(twin, "cross_entropy", optim.Adam(twin.parameters(), lr=0.003)))
    for n in (3, 5, 3):
        x, y = rng.standard_normal((n, *image)), rng.integers(0, 3, n)
        x.flags.writeable = False
        np.testing.assert_allclose(one.step(x, y), two.step(x, y), rtol=1e-9)
        for a, b in zip(model.parameters(), twin.parameters(), strict=True):
            np.testing.assert_allclose(a.grad, b.grad, rtol=0, atol=1e-8 * max(1e-3, np.abs(b.grad).max()))
    assert_bound(one)
    twin.load_state_dict(model.state_dict())
    model.eval(), twin.eval()
    for n in (3, 1):
        x = rng.standard_normal((n, *image))
        y = twin.forward(x)
        np.testing.assert_allclose(model(x), y, rtol=0, atol=1e-9 * max(1, np.abs(y).max()))


def skips_of_one_size():
    """Where an array that served twice would be written to while it is read."""

    def conv(seed):
        return nn.Conv2d(4, 4, 3, padding=1, rng=seed, dtype=np.float64)

    return nn.Sequential(
        conv(0), nn.ReLU(), nn.Residual(nn.Sequential(conv(1), nn.ReLU())), nn.ReLU(),
        nn.Residual(nn.Sequential(conv(2), nn.Tanh(), conv(3))),
        nn.Residual(nn.Sequential(conv(4), nn.ReLU()), nn.Sequential(conv(5), nn.Tanh())),
    )  # fmt: skip


EVALUATED = {
    "skips of one size": skips_of_one_size,
    "a shape alone": nn.Flatten,
    "nothing and a shape": lambda: nn.Sequential(nn.Dropout(), nn.Flatten()),
    "two normalisations": lambda: nn.Sequential(
        nn.Conv2d(4, 3, 3, rng=0, dtype=np.float64), *[nn.BatchNorm2d(3, dtype=np.float64) for _ in range(2)]
    ),
}


@pytest.mark.parametrize("case", EVALUATED)
def test_evaluation_of_networks_with_a_difficulty_is_the_layers(case):
    model = nn.Sequential(EVALUATED[case]())
    rng = np.random.default_rng(0)
    for _ in range(2):
        model(rng.standard_normal((5, 4, 8, 8)) * 2 + 1)
    model.eval()
    for _ in range(2):
        x = rng.standard_normal((3, 4, 8, 8))
        before = x.copy()
        np.testing.assert_allclose(model(x), model.forward(x), rtol=0, atol=1e-12)
        np.testing.assert_array_equal(x, before)
    (network,) = model._bindings._found.values()
    assert not network.opaque


def test_dropout_is_nothing_in_evaluation_and_is_drawn_in_training():
    def make():
        layers = nn.Flatten(), nn.Linear(64, 20, rng=0, dtype=np.float64), nn.Dropout(0.5, rng=3)
        return nn.Sequential(*layers, nn.Linear(20, 4, rng=1, dtype=np.float64))

    x, y = pair()
    one, two = trainers(make, "cross_entropy", momentum=0.9)
    for _ in range(3):
        np.testing.assert_allclose(one.step(x, y), two.step(x, y), rtol=1e-12)
    assert_alike(one, two, 1e-12)
    model = one.model.eval()
    np.testing.assert_allclose(model(x), two.model.eval().forward(x), rtol=1e-12)
    (network,) = model._bindings._found.values()
    assert not network.opaque


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["weight", "x"])
def test_numbers_that_are_not_finite_reach_what_they_reach_in_the_layers(value, where):
    """Winograd's algorithm must not spread them."""

    def make():
        layers = [nn.Conv2d(16, 16, 3, padding=1, rng=i) for i in range(2)]
        return nn.Sequential(layers[0], nn.ReLU(), nn.Conv2d(16, 16, 3, 2, 1, rng=3), nn.ReLU(), layers[1])

    x = np.random.default_rng(0).standard_normal((4, 16, 28, 28)).astype(np.float32)
    one, two = trainers(make, "mse", lr=0.0)
    target = np.zeros((4, 16, 14, 14), np.float32)
    for trainer in (one, two):
        trainer.step(x, target)
        if where == "weight":
            trainer.model[2].weight.data[3, 2, 1, 1] = value
    if where == "x":
        x[1, 3, 7, 7] = value
    a, b = one.step(x, target), two.step(x, target)
    assert a == b or (np.isnan(a) and np.isnan(b))
    for p, q in zip(one.model.parameters(), two.model.parameters(), strict=True):
        np.testing.assert_allclose(p.grad, q.grad, rtol=1e-3, atol=1e-5)
    one.model.eval()
    np.testing.assert_allclose(one.model(x), one.model.forward(x), rtol=1e-4, atol=1e-5)

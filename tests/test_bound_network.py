"""Bound networks against the same layers called one by one: the same numbers, however the model changes meanwhile."""

import copy
import os
import pickle
import subprocess
import sys
import threading
import tracemalloc

import numpy as np
import pytest
from drawn_networks import drawn_network
from layers import LAYERS

import fastconv as fc
from fastconv import binding, models, nn, optim, rewrites
from fastconv.backends.cpu import lowering, network_rewrites
from fastconv.graph import Graph
from fastconv.training import Trainer

MODELS = {
    "lenet": (models.lenet, "cross_entropy"),
    "autoencoder": (models.autoencoder, "mse"),
    "residual_net": (models.residual_net, "cross_entropy"),
    "unet": (models.unet, "mse"),
}


@pytest.fixture(autouse=True)
def cpu():
    with fc.use_backend("cpu"):
        yield


def batch(name, n, dtype, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.random((n, 1, 28, 28)).astype(dtype)
    return x, rng.integers(0, 10, n) if MODELS[name][1] == "cross_entropy" else x


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
    monkeypatch.setattr(rewrites, "rewritten", lambda graph, training: graph)
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


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("name", ["lenet", "residual_net"])
def test_bits_do_not_depend_on_threads(name, threads):
    make, loss = MODELS[name]
    x, y = batch(name, 20, np.float32)
    before = fc.get_num_threads()
    states = []
    try:
        for count in (1, threads):
            fc.set_num_threads(count)
            model = make(seed=0)
            trainer = Trainer(model, loss, optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
            trainer.step(x, y)
            states.append(model.state_dict())
    finally:
        fc.set_num_threads(before)
    for key, value in states[0].items():
        np.testing.assert_array_equal(value, states[1][key], err_msg=key)


@pytest.mark.parametrize("case", LAYERS, ids=str)
def test_every_layer_within_a_network(case):
    def make():
        return nn.Sequential(nn.Identity(), case.make(), nn.Tanh())

    x = case.x()
    shape = make()(x).shape
    target = np.random.default_rng(5).standard_normal(shape)
    if not make().parameters():
        return
    one, two = trainers(make, "mse")
    for _ in range(2):
        np.testing.assert_allclose(one.step(x, target), two.step(x, target), rtol=1e-12)
    assert_alike(one, two, 1e-12)


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("limit", [lowering.SMALL, 0], ids=["gradients wait", "arrays serve again"])
def test_drawn_networks(limit, seed, monkeypatch):
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
def test_evaluation_of_networks_with_a_difficulty(case):
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


# What a binding depends on.


def small(dtype=np.float64):
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1, rng=0, dtype=dtype), nn.Tanh(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(48, 4, rng=1, dtype=dtype),
    )  # fmt: skip


def pair():
    rng = np.random.default_rng(2)
    return rng.standard_normal((6, 1, 8, 8)), rng.integers(0, 4, 6)


CHANGES = {
    "another layer": lambda model: model.append(nn.Linear(4, 4, rng=5, dtype=np.float64)),
    "another parameter": lambda model: setattr(model[4], "weight", nn.Parameter(model[4].weight.data * 2)),
    "another array": lambda model: setattr(model[4].weight, "data", model[4].weight.data * 2),
    "numbers in place": lambda model: model[0].weight.data.__imul__(2),
    "a state": lambda model: model.load_state_dict({k: v * 0.5 for k, v in model.state_dict().items()}),
    "an option": lambda model: setattr(model[0], "padding", ((2, 0), (0, 2))),
    "a forward of its own": lambda model: setattr(model[1], "forward", lambda x: x * 0.5) or setattr(
        model[1], "backward", lambda grad: grad * 0.5
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_the_model_is_seen(change):
    x, y = pair()
    one, two = trainers(small, "cross_entropy")
    for trainer in (one, two):
        trainer.step(x, y)
        CHANGES[change](trainer.model)
        trainer.optimizer = optim.SGD(trainer.model.parameters(), lr=0.1)
    for _ in range(2):
        np.testing.assert_allclose(one.step(x, y), two.step(x, y), rtol=1e-12)
    assert_alike(one, two, 1e-12)
    one.model.eval()
    np.testing.assert_allclose(one.model(x), one.model.forward(x), rtol=1e-10)


@pytest.mark.parametrize("name", ["direct", "fft"])
def test_an_algorithm_that_is_preferred_is_seen(name):
    x, y = pair()
    one, two = trainers(small, "cross_entropy")
    one.step(x, y), two.step(x, y)
    model = small().eval()
    model(x)
    try:
        fc.set_algorithm(name)
        assert one._bound(x, y) is None
        np.testing.assert_array_equal(model(x), model.forward(x))
        np.testing.assert_allclose(one.step(x, y), two.step(x, y), rtol=1e-12)
    finally:
        fc.set_algorithm("auto")
    assert one._bound(x, y) is not None


def test_a_class_with_a_forward_of_its_own_is_called():
    class Doubled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

        def backward(self, grad_output):
            return super().backward(2 * grad_output)

    x, y = pair()
    one, two = trainers(lambda: nn.Sequential(nn.Flatten(), Doubled(64, 4, rng=0, dtype=np.float64)), "cross_entropy")
    for _ in range(2):
        np.testing.assert_allclose(one.step(x, y), two.step(x, y), rtol=1e-12)


def test_numbers_of_the_optimizer_may_change():
    x, y = pair()
    one, two = trainers(small, "cross_entropy", momentum=0.9)
    for lr in (0.1, 0.01, 0.2):
        one.optimizer.lr = two.optimizer.lr = lr
        one.step(x, y), two.step(x, y)
    assert_alike(one, two, 1e-12)
    state = one.optimizer.state_dict()
    one.step(x, y)
    one.optimizer.load_state_dict(state), two.optimizer.load_state_dict(state)
    one.model.load_state_dict(two.model.state_dict())
    one.step(x, y), two.step(x, y)
    assert_alike(one, two, 1e-12)


@pytest.mark.parametrize("optimizer", [optim.SGD, optim.Adam, optim.AdamW])
@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.1}, {"momentum": 0.9, "nesterov": True}, {"momentum": 0.5}])
def test_every_optimizer(optimizer, options):
    if "momentum" in options and optimizer is not optim.SGD:
        return
    x, y = pair()
    one, two = trainers(small, "cross_entropy", optimizer, **options)
    for _ in range(3):
        one.step(x, y), two.step(x, y)
    assert_alike(one, two, 1e-12)
    assert one.optimizer.state_dict().keys() == two.optimizer.state_dict().keys()


@pytest.mark.parametrize("loss", ["mse", "l1", "binary_cross_entropy", "binary_cross_entropy_with_logits"])
def test_every_loss(loss):
    def make():
        layers = nn.Flatten(), nn.Linear(64, 4, rng=1, dtype=np.float64), nn.Sigmoid()
        return nn.Sequential(*layers)

    x, _ = pair()
    target = np.random.default_rng(4).random((6, 4))
    one, two = trainers(make, loss)
    for _ in range(2):
        np.testing.assert_allclose(one.step(x, target), two.step(x, target), rtol=1e-13)
    assert_alike(one, two, 1e-13)


def test_a_loss_of_ones_own():
    def loss(y, target):
        return float(((y - target) ** 3).sum()), 3 * (y - target) ** 2

    x, _ = pair()
    one, two = trainers(small, loss, lr=1e-3)
    target = np.zeros((6, 4))
    for _ in range(2):
        np.testing.assert_allclose(one.step(x, target), two.step(x, target), rtol=1e-12)
    assert_alike(one, two, 1e-12)


def test_clipped_gradients():
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


# Bad batches and bad numbers.

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


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["weight", "x"])
def test_numbers_that_are_not_finite(value, where):
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


# What a user does with models.


def test_bindings_are_bounded_and_follow_no_copy():
    x, y = pair()
    model = small()
    trainer = Trainer(model, "cross_entropy", optim.SGD(model.parameters(), lr=0.1))
    for n in range(1, 11):
        trainer.step(np.repeat(x, 2, 0)[:n], np.repeat(y, 2, 0)[:n])
    assert len(trainer._bindings._found) == binding.KEPT
    model.eval()
    model(x)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(twin(x), model(x))
        twin[4].bias.data += 1
        np.testing.assert_allclose(twin(x), model(x) + 1, rtol=1e-12)


def test_threads_evaluate_one_model_at_once():
    x, _ = pair()
    model = small().eval()
    expected, wrong = model(x), []

    def call():
        for _ in range(200):
            if not np.allclose(model(x), expected, rtol=1e-12):
                wrong.append(1)

    calls = [threading.Thread(target=call) for _ in range(3)]
    for thread in calls:
        thread.start()
    for thread in calls:
        thread.join()
    assert not wrong


def test_arrays_of_any_form_are_taken():
    x, y = pair()
    one, two = trainers(small, "cross_entropy")
    forms = np.asfortranarray(x), x[::-1], np.flip(x, 3), np.repeat(x, 2, 3)[..., ::2]
    for form in forms:
        form.flags.writeable = False
        np.testing.assert_allclose(one.step(form, y), two.step(form, y), rtol=1e-12)


def test_other_backends_call_the_layers():
    x, y = pair()
    one, two = trainers(small, "cross_entropy")
    with fc.use_backend("reference"):
        np.testing.assert_allclose(one.step(x, y), two.step(x, y), rtol=1e-12)
    one.step(x, y), two.step(x, y)
    assert_alike(one, two, 1e-12)


# Rewrites, each by itself.


def graph_of(model, shape):
    graph = Graph(shape, np.dtype(np.float64))
    graph.output = nn.module.bind(model, graph, graph.input)
    return graph


def test_pooling_comes_before_an_activation_that_grows():
    graph = graph_of(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.MaxPool2d(2)), (1, 1, 8, 8))
    rewrites.pool_before_activation(graph)
    assert [value.operation for value in graph.values] == ["input", "convolution", "max_pool", "tanh"]
    assert graph.output.operation == "tanh"
    assert graph.output.shape == (1, 2, 3, 3)


def test_pooling_stays_where_others_see_the_activation():
    pooled = nn.Sequential(nn.MaxPool2d(2), nn.ConvTranspose2d(2, 2, 2, 2))
    graph = graph_of(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Concat(nn.Identity(), pooled)), (1, 1, 8, 8))
    rewrites.pool_before_activation(graph)
    assert [value.operation for value in graph.values][2:4] == ["tanh", "max_pool"]


def test_batch_norm_is_folded_into_the_convolution_before_it():
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False, rng=0, dtype=np.float64), nn.BatchNorm2d(4, dtype=np.float64), nn.ReLU(),
        nn.Conv2d(4, 5, 3, rng=1, dtype=np.float64), nn.BatchNorm2d(5, affine=False, dtype=np.float64), nn.MaxPool2d(2),
    )  # fmt: skip
    x, _ = pair()
    for _ in range(3):
        model(x * 2 + 1)
    model.eval()
    for change in (lambda: None, lambda: model[1].weight.data.__imul__(-3), lambda: model[4].running_var.__imul__(4)):
        change()
        np.testing.assert_allclose(model(x), model.forward(x), rtol=0, atol=1e-13)
    network = next(iter(model._bindings._found.values()))
    assert not [name for name, _, _ in network.profile() if "batch_norm" in name]


def test_relu_is_computed_with_a_sum_and_with_a_normalisation():
    layers = nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU(), nn.Residual(nn.Conv2d(2, 2, 1)), nn.ReLU()
    graph = graph_of(nn.Sequential(*layers, nn.Conv2d(2, 1, 1), nn.ReLU()), (2, 1, 4, 4))
    rewrites.fuse_rectifiers(graph)
    names = [value.operation for value in graph.values]
    assert names == ["input", "convolution", "batch_norm", "convolution", "add", "convolution", "relu"]
    assert [value.options.get("relu", False) for value in graph.values] == [
        False,
        False,
        True,
        False,
        True,
        False,
        False,
    ]


def test_relu_stays_where_others_see_what_comes_before_it():
    graph = graph_of(nn.Sequential(nn.Residual(nn.Identity()), nn.Concat(nn.ReLU(), nn.Identity())), (1, 1, 4, 4))
    rewrites.fuse_rectifiers(graph)
    assert "relu" in [value.operation for value in graph.values]


POOLED = {
    "tanh after": (nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.Tanh()),
    "relu before": (nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2)),
    "nothing": (nn.Conv2d(1, 2, 3, bias=False), nn.MaxPool2d(2)),
}
NOT_POOLED = {
    "a stride": (nn.Conv2d(1, 2, 3, stride=2), nn.MaxPool2d(2)),
    "groups": (nn.Conv2d(2, 2, 3, groups=2), nn.MaxPool2d(2)),
    "other windows": (nn.Conv2d(1, 2, 3), nn.MaxPool2d(3)),
    "windows that overlap": (nn.Conv2d(1, 2, 3), nn.MaxPool2d(2, 1)),
    "windows that overhang": (nn.Conv2d(1, 2, 2), nn.MaxPool2d(2, ceil_mode=True)),
    "another user": (nn.Conv2d(1, 2, 3), nn.Concat(nn.Identity(), nn.Sequential(nn.MaxPool2d(2), nn.Upsample(size=6)))),
}


@pytest.mark.parametrize("case", [*POOLED, *NOT_POOLED])
def test_pooling_rides_on_the_convolutions_store(case):
    layers = (POOLED | NOT_POOLED)[case]
    channels = layers[0].in_channels
    graph = graph_of(nn.Sequential(*layers), (1, channels, 8, 8))
    rewrites.rewritten(graph, True)
    network_rewrites.pool_on_the_store(graph, 1)
    names = [value.operation for value in graph.values]
    assert (names == ["input", "pooled_convolution"]) == (case in POOLED), names


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sparse_gradients_are_the_dense_ones(dtype, monkeypatch):
    """With and without the rewrite that keeps the gradient through pooling sparse."""

    def make():
        return nn.Sequential(
            nn.Conv2d(2, 5, 3, padding=1, rng=0, dtype=dtype), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(5, 17, 3, rng=1, dtype=dtype), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(153, 3, rng=2, dtype=dtype),
        )  # fmt: skip

    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((6, 2, 16, 16)).astype(dtype), rng.integers(0, 3, 6)
    gradients = []
    for dense in (False, True):
        if dense:
            monkeypatch.setattr(network_rewrites, "pool_on_the_store", lambda graph, threads: None)
        model = make()
        trainer = Trainer(model, "cross_entropy", optim.SGD(model.parameters(), lr=0.1))
        trainer.step(x, y)
        assert_bound(trainer)
        gradients.append([parameter.grad.copy() for parameter in model.parameters()])
    for sparse, dense in zip(*gradients, strict=True):
        np.testing.assert_allclose(sparse, dense, rtol=0, atol=(1e-14 if dtype == np.float64 else 1e-6))


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

"""Rewrites of a network's graph: the graph after each, the graph where it must not act, the numbers of the layers."""

import numpy as np
import pytest
from bound_models import assert_bound, pair

import fastconv as fc
from fastconv import nn, optim, rewrites
from fastconv.backends.cpu import network_rewrites
from fastconv.graph import Graph
from fastconv.training import Trainer


@pytest.fixture(autouse=True)
def cpu():
    with fc.use_backend("cpu"):
        yield


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
    assert [value.operation for value in graph.values if value.options.get("relu")] == ["batch_norm", "add"]


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
    rewrites.rewritten(graph)
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

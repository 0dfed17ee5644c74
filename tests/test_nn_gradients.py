"""The gradient of every layer and model, with respect to x and to each parameter, against central differences.

Each row of `CHECKS` is one of them; pytest counts them, twice, once on each backend.
"""

from functools import cache

import numpy as np
import pytest
from differences import STEP
from layers import LAYERS, MODELS
from numpy.testing import assert_allclose

import fastconv as fc
from fastconv import nn


@pytest.fixture(autouse=True)
def one_thread():
    """Thousands of tiny calls: on a busy machine the threads' barriers cost a hundred times what is computed."""
    fc.set_num_threads(1)
    yield
    fc.set_num_threads(None)


def checks(cases):
    """(case, what the gradient is with respect to): "x" and the names of all parameters."""
    for case in cases:
        for name in ("x", *(name for name, _ in case.make().named_parameters())):
            yield pytest.param(case, name, id=f"{case}:{name}")


CHECKS = [*checks(LAYERS)]
MODEL_CHECKS = [*checks(MODELS)]


class Loss:
    """The sum of y * grad_output, for a fixed grad_output: a loss whose gradient with respect to y is known."""

    def __init__(self, case):
        self.model, self.x = case.make(), case.x()
        self.random = self.model.random_state()
        self.grad_output = np.random.default_rng(5).standard_normal(self.y().shape)

    def y(self):
        self.model.load_random_state(self.random)  # Dropout drops the same every time
        return self.model(self.x)

    def __call__(self):
        return np.sum(self.y() * self.grad_output)

    def gradients(self):
        self.y()
        grad_x = self.model.backward(self.grad_output)
        return {"x": grad_x} | {name: parameter.grad for name, parameter in self.model.named_parameters()}

    def array(self, name):
        return self.x if name == "x" else dict(self.model.named_parameters())[name].data

    def slope(self, array, direction):
        """The derivative along a direction: (L(array + h d) - L(array - h d)) / 2h, off by about h^2 and 1e-16 / h."""
        at = array.copy()
        array[...] = at + STEP * direction
        above = self()
        array[...] = at - STEP * direction
        below = self()
        array[...] = at
        return (above - below) / (2 * STEP)


@pytest.mark.parametrize(("case", "name"), CHECKS)
def test_a_layers_gradient_is_the_central_difference(case, name, backend):
    loss = Loss(case)
    expected, array = np.empty(loss.array(name).shape), loss.array(name)
    for i in np.ndindex(array.shape):
        direction = np.zeros(array.shape)
        direction[i] = 1
        expected[i] = loss.slope(array, direction)
    gradient = loss.gradients()[name]
    assert gradient.shape == array.shape
    assert gradient.dtype == np.float64
    assert_allclose(gradient, expected, rtol=1e-6, atol=1e-7)


@cache
def model_gradients(case, backend):
    loss = Loss(case)
    return loss, loss.gradients()


@pytest.mark.parametrize(("case", "name"), MODEL_CHECKS)
def test_a_models_gradient_is_the_slope_along_a_direction(case, name, backend, rng):
    loss, gradients = model_gradients(case, backend)
    array = loss.array(name)
    direction = rng.standard_normal(array.shape)
    direction /= np.linalg.norm(direction)
    expected = np.sum(gradients[name] * direction)
    assert_allclose(loss.slope(array, direction), expected, rtol=1e-5, atol=1e-7)


def test_no_layer_is_left_out():
    classes = {name for name in nn.__all__ if name not in {"Module", "Parameter", "init"}}
    assert classes <= {type(case.make()).__name__ for case in LAYERS}
    factories = {name for name in fc.models.__all__ if name.islower()}
    assert factories == {case.name for case in MODELS}
    assert len(CHECKS) + len(MODEL_CHECKS) >= 150


def test_gradients_add_up_until_zero_grad(backend):
    layer, x = nn.Linear(2, 1, dtype=np.float64), np.array([[1.0, 2.0]])
    for times in (1, 2):
        layer(x)
        layer.backward(np.array([[3.0]]))
        assert_allclose(layer.weight.grad, times * np.array([[3.0, 6.0]]))
        assert_allclose(layer.bias.grad, [times * 3.0])
    layer.zero_grad()
    assert layer.weight.grad is None


@pytest.mark.parametrize("case", LAYERS, ids=str)
def test_backward_writes_to_nothing_that_it_is_given(case, backend):
    layer, x = case.make(), case.x()
    x.flags.writeable = False
    y = layer(x)
    grad_output = np.asfortranarray(np.ones(y.shape))
    grad_output.flags.writeable = False
    grad_x = layer.backward(grad_output)
    assert grad_x.shape == x.shape

"""The adjoint identity <layer(x), g> = <x, backward(g)> = <weight, weight's gradient>, for every linear layer.

Max pooling and dropout are linear too once their winners and their mask are drawn, and one forward draws them.
"""

import numpy as np
import pytest
from layers import LAYERS

KINDS = ("Conv", "MaxPool", "AvgPool", "Linear", "Dropout", "Flatten", "Unflatten", "Upsample", "Identity")
LINEAR = [case for case in LAYERS if case.name.startswith(KINDS)]
LINEAR += [case for case in LAYERS if case.name == "Residual-shortcut"]


@pytest.mark.parametrize("case", LINEAR, ids=str)
def test_backward_is_the_adjoint_of_forward(backend, case):
    layer, x = case.make(), case.x()
    parameters = dict(layer.named_parameters())
    for name, parameter in parameters.items():
        if name.endswith("bias"):
            parameter.data[...] = 0
    y = layer(x)
    grad = np.random.default_rng(5).standard_normal(y.shape)
    grad_x = layer.backward(grad)
    inner = (y * grad).sum()
    scale = 1e-12 * (1 + np.linalg.norm(y) * np.linalg.norm(grad))
    assert abs(inner - (x * grad_x).sum()) <= scale
    weights = [parameter for name, parameter in parameters.items() if name.endswith("weight")]
    if weights:
        assert abs(inner - sum((w.data * w.grad).sum() for w in weights)) <= scale

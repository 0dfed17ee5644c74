"""The models: shapes, numbers of parameters and FLOPs by hand, and that a seed fixes them."""

import numpy as np
import pytest
from layers import MODELS
from numpy.testing import assert_array_equal

from fastconv import models, nn

FACTORIES = {
    "lenet": (models.lenet, (3, 10)),
    "autoencoder": (models.autoencoder, (3, 1, 28, 28)),
    "residual_net": (models.residual_net, (3, 10)),
    "unet": (models.unet, (3, 1, 28, 28)),
}


def count(model):
    return sum(parameter.size for parameter in model.parameters())


@pytest.mark.parametrize("name", FACTORIES)
def test_outputs_have_their_shape_and_dtype(name, backend):
    factory, y_shape = FACTORIES[name]
    for dtype in (np.float32, np.float64):
        model = factory(seed=0, dtype=dtype)
        y = model(np.zeros((3, 1, 28, 28), dtype))
        assert y.shape == y_shape == model.output_shape((3, 1, 28, 28))
        assert y.dtype == dtype
        assert all(parameter.dtype == dtype for parameter in model.parameters())


@pytest.mark.parametrize("name", FACTORIES)
def test_a_seed_fixes_the_weights(name):
    factory = FACTORIES[name][0]
    first, second, other = (factory(seed=seed).state_dict() for seed in (3, np.random.default_rng(3), 4))
    assert all(np.array_equal(first[key], second[key]) for key in first)
    assert not all(np.array_equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("case", MODELS, ids=str)
def test_backward_reaches_every_parameter(case, backend):
    model, x = case.make(), case.x()
    y = model(x)
    assert model.backward(np.ones_like(y)).shape == x.shape
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_lenet_by_hand():
    model = models.lenet(seed=0)
    convolutions = (6 * 9 + 6) + (16 * 6 * 25 + 16)
    linears = (400 * 120 + 120) + (120 * 84 + 84) + (84 * 10 + 10)
    assert count(model) == convolutions + linears == 61_610
    flops = 28 * 28 * 6 * 9 + 10 * 10 * 16 * 150 + 400 * 120 + 120 * 84 + 84 * 10
    assert model.flops((5, 1, 28, 28)) == 5 * 2 * flops == 5 * 682_512
    assert [type(layer).__name__ for layer in model] == [
        "Conv2d", "Tanh", "MaxPool2d", "Conv2d", "Tanh", "MaxPool2d",
        "Flatten", "Linear", "Tanh", "Linear", "Tanh", "Linear",
    ]  # fmt: skip
    assert list(model.state_dict()) == [f"{i}.{name}" for i in (0, 3, 7, 9, 11) for name in ("weight", "bias")]


def test_lenet_has_as_many_outputs_as_classes():
    assert models.lenet(classes=26).output_shape((1, 1, 28, 28)) == (1, 26)
    with pytest.raises(ValueError, match="out_features is 0"):
        models.lenet(classes=0)


def test_autoencoder_by_hand(backend):
    model = models.autoencoder(latent=3, seed=0)
    encoder = (16 * 9 + 16) + (32 * 16 * 9 + 32) + (1568 * 3 + 3)
    decoder = (3 * 1568 + 1568) + (32 * 16 * 9 + 16) + (16 * 9 + 1)
    assert count(model.encoder) == encoder
    assert count(model.decoder) == decoder
    x = np.random.default_rng(0).random((2, 1, 28, 28), np.float32)
    z = model.encode(x)
    assert z.shape == (2, 3)
    assert_array_equal(model.decode(z), model(x))
    assert ((model(x) > 0) & (model(x) < 1)).all()
    assert [key for key in model.state_dict() if key.endswith("weight")] == [
        "encoder.0.weight", "encoder.2.weight", "encoder.5.weight",
        "decoder.0.weight", "decoder.3.weight", "decoder.5.weight",
    ]  # fmt: skip


def test_autoencoder_takes_modules_alone():
    with pytest.raises(TypeError, match="decoder is 3: a Module is accepted"):
        models.Autoencoder(nn.Identity(), 3)
    with pytest.raises(ValueError, match="out_features is 0"):
        models.autoencoder(latent=0)


def test_residual_net_by_hand():
    model = models.residual_net(seed=0)
    convolutions = 9 * (16 + 2 * 16 * 16 + 16 * 32 + 32 * 32 + 32 * 64 + 64 * 64)
    norms = 2 * (16 + 2 * 16 + 2 * 32 + 2 * 64)
    shortcuts = (16 * 32 + 32) + (32 * 64 + 64)
    assert count(model) == convolutions + norms + shortcuts + (64 * 10 + 10)
    assert sum(isinstance(layer, nn.Residual) for layer in model) == 3
    assert "5.branch.1.running_mean" in model.state_dict()
    assert "5.shortcut.weight" in model.state_dict()


def test_unet_by_hand():
    model = models.unet(seed=0)
    down = (9 * 16 + 16) + (9 * 16 * 32 + 32) + (9 * 32 * 64 + 64)
    up = (4 * 64 * 32 + 32) + (9 * 64 * 32 + 32) + (4 * 32 * 16 + 16) + (9 * 32 * 16 + 16)
    assert count(model) == down + up + (16 + 1)
    assert model.flops((1, 1, 28, 28)) <= 20e6
    assert sum(isinstance(module, nn.Concat) for _, module in model.named_modules()) == 2


@pytest.mark.parametrize("case", MODELS, ids=str)
def test_wrong_images_name_the_layer(case):
    with pytest.raises(ValueError, match=r"layer .*0 Conv2d: .* 3 channels: 1 are accepted"):
        case.make().summary((1, 3, 28, 28))

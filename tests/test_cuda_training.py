"""Training with data, parameters and gradients on the device, against the cpu backend's; and what crosses to it."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.placement import on_gpu

pytestmark = pytest.mark.gpu
STEPS, CLOSE = 20, 1e-4  # of losses of about 2, in float32


def small_network():
    """A network of LeNet's layers for images of 8 x 8."""
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1, rng=0),
        nn.Tanh(),
        nn.MaxPool2d(2),
        nn.Conv2d(3, 4, 3, rng=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16, 10, rng=2),
    )


def small_autoencoder():
    """An encoder with a stride and a decoder of a transposed convolution, beside a skip and concatenated layers."""
    inner = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, rng=3), nn.ReLU())
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2, padding=1, rng=0),
        nn.Residual(inner),
        nn.Concat(nn.Identity(), nn.Sequential(nn.Conv2d(4, 2, 1, rng=4), nn.Sigmoid())),
        nn.ConvTranspose2d(6, 1, 3, stride=2, padding=1, output_padding=1, rng=1),
    )


def digits(count, size):
    train = fc.datasets.load("mnist5k").train
    first = 0 if size == 28 else 10
    place = slice(first, first + size)
    return train.x[:count, :, place, place].copy(), train.y[:count]


def losses(make, loss, optimizer, batches):
    """Of a trainer's steps, and the trainer."""
    model = make()
    trainer = fc.training.Trainer(model, loss, optimizer(model.parameters()))
    return [trainer.step(x, y) for x, y in batches], trainer


NETWORKS = {
    "classes": (small_network, "cross_entropy", lambda p: fc.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True)),
    "images": (small_autoencoder, "mse", lambda p: fc.optim.Adam(p, lr=0.01)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_small_networks_learn_as_on_the_cpu(cuda, name):
    make, loss, optimizer = NETWORKS[name]
    x, y = digits(2 * STEPS, 8)
    batches = [(x[i : i + 2], y[i : i + 2] if loss == "cross_entropy" else x[i : i + 2]) for i in range(0, len(x), 2)]
    found, trainer = losses(make, loss, optimizer, batches)
    with fc.use_backend("cpu"):
        expected, other = losses(make, loss, optimizer, batches)
    np.testing.assert_allclose(found, expected, atol=CLOSE)
    for key, array in other.model.state_dict().items():
        np.testing.assert_allclose(trainer.model.state_dict()[key], array, atol=10 * CLOSE)


def test_lenet_learns_as_on_the_cpu(cuda):
    x, y = digits(2, 28)
    build = lambda: fc.models.lenet(seed=0)  # noqa: E731
    optimizer = NETWORKS["classes"][2]
    found, trainer = losses(build, "cross_entropy", optimizer, [(x[:1], y[:1])])
    told = trainer.predict(x[1:])  # by what the step made of the parameters
    with fc.use_backend("cpu"):
        expected, other = losses(build, "cross_entropy", optimizer, [(x[:1], y[:1])])
        np.testing.assert_allclose(told, other.predict(x[1:]), atol=CLOSE)
        assert np.abs(told - build().eval()(x[1:])).max() > 10 * CLOSE
    np.testing.assert_allclose(found, expected, atol=CLOSE)


def test_a_step_copies_a_batch_in_and_a_number_out(cuda, monkeypatch):
    from fastconv.backends.cuda import device

    crossed = []
    for name in ("copy_in", "copy_out"):
        original = getattr(device.Device, name)

        def counted(self, handle, *array, original=original, name=name):
            crossed.append((name, handle.size))
            return original(self, handle, *array)

        monkeypatch.setattr(device.Device, name, counted)
    x, y = digits(2, 8)
    make, loss, optimizer = NETWORKS["classes"]
    _, trainer = losses(make, loss, optimizer, [(x, y)])
    crossed.clear()
    trainer.step(x, y)
    assert crossed == [("copy_in", 128), ("copy_in", 2), ("copy_out", 2)]  # a sum of losses, and of their weights
    assert all(on_gpu(array) for p in trainer.model.parameters() for array in (p.data, p.grad))


def test_a_model_comes_back_to_the_host(cuda):
    x, y = digits(2, 8)
    make, loss, optimizer = NETWORKS["classes"]
    _, trainer = losses(make, loss, optimizer, [(x, y)])
    there = trainer.predict(x)
    assert isinstance(there, np.ndarray)
    state = trainer.state_dict()
    fc.to_host(trainer.model)
    with fc.use_backend("cpu"):
        np.testing.assert_allclose(trainer.predict(x), there, atol=CLOSE)
        before = trainer.step(x, y)
    trainer.load_state_dict(state)
    assert abs(trainer.step(x, y) - before) < CLOSE


def test_arrays_of_both_places_are_told(cuda):
    model = fc.to_device(small_network())
    x, y = digits(2, 8)
    with pytest.raises(TypeError, match="weight lives on a GPU, x in the computer's memory"):
        model(x)
    with pytest.raises(TypeError, match="x lives on a GPU, target in the computer's memory"):
        fc.functional.cross_entropy(model(fc.to_device(x)), y)


def test_a_wrong_label_is_told_and_changes_nothing(cuda):
    x, y = digits(2, 8)
    make, loss, optimizer = NETWORKS["classes"]
    _, trainer = losses(make, loss, optimizer, [(x, y)])
    before = trainer.model.state_dict()
    with pytest.raises(ValueError, match="target has the label 10: 0 to 9 is accepted"):
        trainer.step(x, y + 10 - y.max())
    for key, array in trainer.model.state_dict().items():
        np.testing.assert_array_equal(array, before[key])

"""Every layer and every model, each in a few forms, with an input for it: what the tests of `nn` run over."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fastconv import models, nn

F64 = {"dtype": np.float64, "rng": 7}


@dataclass(frozen=True)
class Case:
    name: str
    make: Callable[[], nn.Module]  # always the same layer, in float64
    x_shape: tuple[int, ...]

    def x(self):
        """Numbers that all differ and keep away from 0, so that no kink lies within a difference's reach."""
        rng, size = np.random.default_rng(11), int(np.prod(self.x_shape))
        return ((rng.permutation(size) - size // 2 + 0.25) * (4 / size)).reshape(self.x_shape)

    def __str__(self):
        return self.name


def shared():
    """One convolution and one activation at two places each."""
    convolution, tanh = nn.Conv2d(2, 2, 3, padding=1, **F64), nn.Tanh()
    return nn.Sequential(convolution, tanh, nn.Residual(nn.Sequential(convolution, tanh), convolution))


def skips():
    """A concatenation within a concatenation, as in a U-Net."""
    inner = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(2, 3, 1, **F64), nn.ConvTranspose2d(3, 2, 2, 2, **F64))
    outer = nn.Sequential(nn.Concat(nn.Identity(), inner), nn.Conv2d(4, 1, 3, padding="same", **F64))
    return nn.Concat(nn.Identity(), outer, nn.Tanh())


LAYERS = [
    Case("Conv1d", lambda: nn.Conv1d(2, 3, 3, 2, 1, **F64), (2, 2, 7)),
    Case("Conv2d", lambda: nn.Conv2d(2, 3, 3, padding=1, **F64), (2, 2, 4, 5)),
    Case("Conv2d-groups", lambda: nn.Conv2d(4, 2, (3, 2), (2, 1), ((0, 1), (1, 0)), 1, 2, False, **F64), (2, 4, 5, 4)),
    Case("Conv2d-same", lambda: nn.Conv2d(1, 2, 2, 2, "same", dilation=2, **F64), (1, 1, 5, 4)),
    Case("Conv2d-one-image", lambda: nn.Conv2d(2, 3, 3, **F64), (2, 4, 4)),
    Case("Conv3d", lambda: nn.Conv3d(2, 2, 2, padding=1, **F64), (1, 2, 2, 3, 3)),
    Case("ConvTranspose1d", lambda: nn.ConvTranspose1d(2, 3, 3, 2, **F64), (2, 2, 4)),
    Case("ConvTranspose2d", lambda: nn.ConvTranspose2d(2, 3, 3, 2, 1, 1, **F64), (2, 2, 3, 3)),
    Case("ConvTranspose2d-groups", lambda: nn.ConvTranspose2d(2, 4, 2, 1, 0, 0, 2, False, (2, 1), **F64), (1, 2, 3, 3)),
    Case("ConvTranspose3d", lambda: nn.ConvTranspose3d(1, 2, 2, 2, **F64), (1, 1, 2, 2, 3)),
    Case("MaxPool1d", lambda: nn.MaxPool1d(2), (2, 3, 6)),
    Case("MaxPool2d", lambda: nn.MaxPool2d(2), (2, 3, 4, 6)),
    Case("MaxPool2d-overlap", lambda: nn.MaxPool2d(3, 2, 1, 1, False, True), (2, 2, 6, 6)),
    Case("MaxPool3d", lambda: nn.MaxPool3d(2, 1), (1, 2, 3, 3, 3)),
    Case("AvgPool1d", lambda: nn.AvgPool1d(2), (2, 3, 6)),
    Case("AvgPool2d", lambda: nn.AvgPool2d(2), (2, 3, 4, 6)),
    Case("AvgPool2d-overlap", lambda: nn.AvgPool2d(3, 2, 1, True, False), (2, 2, 6, 6)),
    Case("AvgPool2d-divisor", lambda: nn.AvgPool2d(2, divisor_override=3), (2, 2, 4, 4)),
    Case("AvgPool3d", lambda: nn.AvgPool3d(2, 1), (1, 2, 3, 3, 3)),
    Case("Linear", lambda: nn.Linear(5, 3, **F64), (4, 5)),
    Case("Linear-axes", lambda: nn.Linear(5, 3, False, **F64), (2, 3, 5)),
    Case("BatchNorm1d", lambda: nn.BatchNorm1d(3, dtype=np.float64), (5, 3)),
    Case("BatchNorm1d-signals", lambda: nn.BatchNorm1d(3, dtype=np.float64), (2, 3, 4)),
    Case("BatchNorm2d", lambda: nn.BatchNorm2d(3, dtype=np.float64), (2, 3, 3, 4)),
    Case("BatchNorm2d-plain", lambda: nn.BatchNorm2d(3, 1e-3, None, False, dtype=np.float64), (2, 3, 3, 4)),
    Case("BatchNorm2d-batch", lambda: nn.BatchNorm2d(2, track_running_stats=False, dtype=np.float64), (2, 2, 3, 4)),
    Case("BatchNorm3d", lambda: nn.BatchNorm3d(2, dtype=np.float64), (2, 2, 2, 2, 3)),
    Case("Dropout", lambda: nn.Dropout(0.4, rng=3), (4, 6)),
    Case("Flatten", lambda: nn.Flatten(), (2, 3, 2, 2)),
    Case("Flatten-some", lambda: nn.Flatten(-3, -2), (2, 3, 2, 2)),
    Case("Unflatten", lambda: nn.Unflatten(1, (3, -1)), (2, 12)),
    Case("Upsample", lambda: nn.Upsample(scale_factor=2), (2, 2, 3, 3)),
    Case("Upsample-size", lambda: nn.Upsample((5, 2)), (2, 2, 3, 3)),
    Case("Upsample-linear", lambda: nn.Upsample(7, mode="linear"), (2, 2, 3)),
    Case("Upsample-bilinear", lambda: nn.Upsample(scale_factor=(2, 1.5), mode="bilinear"), (1, 2, 3, 4)),
    Case("Upsample-corners", lambda: nn.Upsample((5, 4), None, "bilinear", True), (1, 2, 3, 3)),
    Case("Upsample-trilinear", lambda: nn.Upsample(scale_factor=2, mode="trilinear"), (1, 1, 2, 3, 2)),
    Case("Tanh", nn.Tanh, (3, 4)),
    Case("Sigmoid", nn.Sigmoid, (3, 4)),
    Case("ReLU", nn.ReLU, (3, 4)),
    Case("LeakyReLU", lambda: nn.LeakyReLU(0.2), (3, 4)),
    Case("ELU", lambda: nn.ELU(1.5), (3, 4)),
    Case("GELU", nn.GELU, (3, 4)),
    Case("GELU-tanh", lambda: nn.GELU("tanh"), (3, 4)),
    Case("Softplus", lambda: nn.Softplus(2.0, 3.0), (3, 4)),
    Case("Softmax", nn.Softmax, (3, 4)),
    Case("Softmax-last", lambda: nn.Softmax(-1), (2, 3, 4)),
    Case("LogSoftmax", lambda: nn.LogSoftmax(1), (3, 4)),
    Case("Identity", nn.Identity, (3, 4)),
    Case("Sequential", lambda: nn.Sequential(nn.Linear(4, 3, **F64), nn.Tanh(), nn.Linear(3, 2, **F64)), (3, 4)),
    Case("Residual", lambda: nn.Residual(nn.Sequential(nn.Linear(4, 4, **F64), nn.Tanh())), (3, 4)),
    Case(
        "Residual-shortcut",
        lambda: nn.Residual(nn.Conv2d(2, 3, 3, 2, 1, **F64), nn.Conv2d(2, 3, 1, 2, **F64)),
        (2, 2, 4, 4),
    ),
    Case("Concat", lambda: nn.Concat(nn.Identity(), nn.Linear(4, 2, **F64), nn.Tanh()), (3, 4)),
    Case("Concat-nested", skips, (1, 2, 4, 4)),
    Case("shared-layers", shared, (1, 2, 4, 4)),
]

MODELS = [
    Case("lenet", lambda: models.lenet(1, np.float64), (2, 1, 28, 28)),
    Case("autoencoder", lambda: models.autoencoder(4, 1, np.float64), (2, 1, 28, 28)),
    Case("residual_net", lambda: models.residual_net(1, np.float64), (2, 1, 28, 28)),
    Case("unet", lambda: models.unet(1, np.float64), (1, 1, 28, 28)),
]

"""Networks of any layers that fit together, drawn from a seed: chains, skips within skips, concatenations."""

import numpy as np

from fastconv import nn

F64 = {"dtype": np.float64}
ACTIVATIONS = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.Identity, nn.GELU)  # GELU is called as it is
CHANCES = (0.35, 0.2, 0.2, 0.2, 0.05)


def activation(rng):
    return ACTIVATIONS[rng.choice(len(ACTIVATIONS), p=CHANCES)]()


def alike(rng, channels, depth=0):
    """Layers whose output has their input's shape."""
    layers = []
    for _ in range(rng.integers(1, 4)):
        kind = rng.integers(0, 8)
        if kind <= 1:
            bias = bool(rng.integers(2))
            layers.append(nn.Conv2d(channels, channels, 3, padding=1, bias=bias, rng=rng, **F64))
        elif kind == 2:
            layers.append(nn.BatchNorm2d(channels, **F64))
        elif kind == 3:
            layers.append(activation(rng))
        elif kind == 4 and depth < 2:
            layers.append(nn.Residual(alike(rng, channels, depth + 1)))
        elif kind == 5 and depth < 2:
            layers.append(nn.Residual(alike(rng, channels, depth + 1), alike(rng, channels, depth + 1)))
        elif kind == 6 and depth < 2:
            layers.append(nn.Concat(nn.Identity(), alike(rng, channels, depth + 1)))
            layers.append(nn.Conv2d(2 * channels, channels, 1, rng=rng, **F64))
        else:
            layers += [nn.Conv2d(channels, channels, 1, rng=rng, **F64), activation(rng)]
    return nn.Sequential(*layers)


def drawn_network(rng):
    """A classifier of three classes, and the shape of an image for it."""
    channels, side, layers = int(rng.integers(1, 5)), int(rng.choice([8, 12, 13])), []
    image = channels, side, side
    for _ in range(rng.integers(2, 6)):
        kind, filters = rng.integers(0, 6), int(rng.integers(1, 6))
        if kind == 0 and side >= 4:
            layers.append(nn.MaxPool2d(2))
            side //= 2
        elif kind == 1 and side >= 4:
            layers += [nn.Conv2d(channels, filters, 3, padding=1, rng=rng, **F64), activation(rng)]
            layers += [nn.MaxPool2d(2), activation(rng)]
            channels, side = filters, side // 2
        elif kind == 2 and side <= 8:
            layers.append(nn.ConvTranspose2d(channels, filters, 2, 2, rng=rng, **F64))
            channels, side = filters, side * 2
        elif kind == 3 and side >= 5:
            layers += [nn.Conv2d(channels, filters, 3, 2, 1, rng=rng, **F64), activation(rng)]
            channels, side = filters, (side + 1) // 2
        else:
            layers.append(alike(rng, channels))
    layers += [nn.Flatten(), nn.Linear(channels * side * side, 20, rng=rng, **F64), activation(rng)]
    return nn.Sequential(*layers, nn.Linear(20, 3, rng=rng, **F64)), image

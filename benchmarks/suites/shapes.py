"""Layers of well-known networks, as they are: channels, pixels, filters.

Index letters: `c`/`o` channel in/out, `h w` pixel of the input, `r s` filter tap.
"""

from __future__ import annotations

from typing import NamedTuple

Pair = tuple[int, int]


class Convolution(NamedTuple):
    """A convolutional layer, without its bias."""

    network: str
    channels: int
    size: Pair
    filters: int
    taps: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    groups: int = 1


class Transposed(NamedTuple):
    """A transposed convolution, without its bias."""

    network: str
    channels: int
    size: Pair
    filters: int
    taps: int
    stride: int
    padding: int = 0
    output_padding: int = 0


class Pooling(NamedTuple):
    """A pooling layer; `kind` is "max" or "avg"."""

    network: str
    kind: str
    channels: int
    size: int
    window: int
    stride: int
    padding: int = 0


class Linear(NamedTuple):
    """A fully connected layer."""

    network: str
    features: int
    filters: int


def square(network: str, *layers: tuple[int, int, int, int, int]) -> list[Convolution]:
    """Layers of (C, H = W, O, R = S, stride), padded so that a stride of 1 keeps the size."""
    return [
        Convolution(network, c, (h, h), o, (r, r), (stride, stride), (r // 2, r // 2)) for c, h, o, r, stride in layers
    ]


def separable(network: str, *layers: tuple[int, int, int, int]) -> list[Convolution]:
    """Layers of (C, H = W, O, stride), each a depthwise 3x3 and a pointwise one."""
    found = []
    for c, h, o, stride in layers:
        found.append(Convolution(network, c, (h, h), c, (3, 3), (stride, stride), (1, 1), groups=c))
        found += square(network, (c, h // stride, o, 1, 1))
    return found


def deepbench(network: str, *layers: tuple[int, int, int, int, int, int, int, int, int]) -> list[Convolution]:
    """Layers of (W, H, C, O, S, R, padding along W, along H, stride): DeepBench's own order."""
    return [
        Convolution(network, c, (h, w), o, (r, s), (stride, stride), (ph, pw))
        for w, h, c, o, s, r, pw, ph, stride in layers
    ]


# He, Zhang, Ren, Sun, 2016; the stride stands in the 3x3 layer, as in PyTorch's and NVIDIA's ("v1.5").
RESNET50 = square(
    "resnet50",
    *[(3, 224, 64, 7, 2), (64, 56, 64, 1, 1), (64, 56, 64, 3, 1), (64, 56, 256, 1, 1), (256, 56, 64, 1, 1)],
    *[(256, 56, 128, 1, 1), (128, 56, 128, 3, 2), (128, 28, 512, 1, 1), (256, 56, 512, 1, 2), (512, 28, 128, 1, 1)],
    *[(128, 28, 128, 3, 1), (512, 28, 256, 1, 1), (256, 28, 256, 3, 2), (256, 14, 1024, 1, 1), (512, 28, 1024, 1, 2)],
    *[(1024, 14, 256, 1, 1), (256, 14, 256, 3, 1), (1024, 14, 512, 1, 1), (512, 14, 512, 3, 2), (512, 7, 2048, 1, 1)],
    *[(1024, 14, 2048, 1, 2), (2048, 7, 512, 1, 1), (512, 7, 512, 3, 1)],
)

# Simonyan, Zisserman, 2015.
VGG16 = square(
    "vgg16",
    *[(3, 224, 64, 3, 1), (64, 224, 64, 3, 1), (64, 112, 128, 3, 1), (128, 112, 128, 3, 1), (128, 56, 256, 3, 1)],
    *[(256, 56, 256, 3, 1), (256, 28, 512, 3, 1), (512, 28, 512, 3, 1), (512, 14, 512, 3, 1)],
)

# Howard et al., 2017.
MOBILENET = separable(
    "mobilenet",
    *[(32, 112, 64, 1), (64, 112, 128, 2), (128, 56, 128, 1), (128, 56, 256, 2), (256, 28, 256, 1)],
    *[(256, 28, 512, 2), (512, 14, 512, 1), (512, 14, 1024, 2), (1024, 7, 1024, 1)],
)

# fastconv.models.lenet and autoencoder.
LENET = [
    Convolution("lenet", 1, (28, 28), 6, (3, 3), padding=(1, 1)),
    Convolution("lenet", 6, (14, 14), 16, (5, 5)),
]
AUTOENCODER = square("autoencoder", (1, 28, 16, 3, 2), (16, 14, 32, 3, 2))

# https://github.com/baidu-research/DeepBench, code/kernels/conv_problems.h; spectrograms of 700 by 161 and lesser ones.
SPEECH = deepbench(
    "speech",
    *[(700, 161, 1, 32, 20, 5, 0, 0, 2), (341, 79, 32, 32, 10, 5, 0, 0, 2), (480, 48, 1, 16, 3, 3, 1, 1, 1)],
    *[(240, 24, 16, 32, 3, 3, 1, 1, 1), (120, 12, 32, 64, 3, 3, 1, 1, 1), (60, 6, 64, 128, 3, 3, 1, 1, 1)],
    *[(700, 161, 1, 64, 5, 5, 1, 1, 2), (350, 80, 64, 64, 3, 3, 1, 1, 1), (350, 80, 64, 128, 5, 5, 1, 1, 2)],
    *[(175, 40, 128, 128, 3, 3, 1, 1, 1), (175, 40, 128, 256, 5, 5, 1, 1, 2), (84, 20, 256, 256, 3, 3, 1, 1, 1)],
    *[(84, 20, 256, 512, 5, 5, 1, 1, 2), (42, 10, 512, 512, 3, 3, 1, 1, 1)],
)
VISION = deepbench(
    "vision",
    *[(108, 108, 3, 64, 3, 3, 1, 1, 2), (54, 54, 64, 64, 3, 3, 1, 1, 1), (27, 27, 128, 128, 3, 3, 1, 1, 1)],
    *[(14, 14, 128, 256, 3, 3, 1, 1, 1), (7, 7, 256, 512, 3, 3, 1, 1, 1), (224, 224, 3, 64, 3, 3, 1, 1, 1)],
    *[(112, 112, 64, 128, 3, 3, 1, 1, 1), (56, 56, 128, 256, 3, 3, 1, 1, 1), (28, 28, 256, 512, 3, 3, 1, 1, 1)],
    *[(14, 14, 512, 512, 3, 3, 1, 1, 1), (7, 7, 512, 512, 3, 3, 1, 1, 1), (224, 224, 3, 64, 7, 7, 3, 3, 2)],
    *[(28, 28, 192, 32, 5, 5, 2, 2, 1), (28, 28, 192, 64, 1, 1, 0, 0, 1), (14, 14, 512, 48, 5, 5, 2, 2, 1)],
    *[(14, 14, 512, 192, 1, 1, 0, 0, 1), (7, 7, 832, 256, 1, 1, 0, 0, 1), (7, 7, 832, 128, 5, 5, 2, 2, 1)],
    *[(56, 56, 64, 64, 3, 3, 1, 1, 1), (56, 56, 64, 256, 1, 1, 0, 0, 2), (28, 28, 128, 128, 3, 3, 1, 1, 1)],
    *[(28, 28, 128, 512, 1, 1, 0, 0, 2), (14, 14, 256, 256, 1, 1, 0, 0, 1), (14, 14, 256, 256, 3, 3, 1, 1, 1)],
    *[(14, 14, 256, 1024, 1, 1, 0, 0, 2), (7, 7, 512, 512, 1, 1, 0, 0, 1), (7, 7, 2048, 512, 1, 1, 3, 3, 2)],
    *[(112, 112, 64, 64, 1, 1, 0, 0, 1), (56, 56, 64, 256, 1, 1, 0, 0, 1), (56, 56, 256, 64, 1, 1, 0, 0, 1)],
    *[(56, 56, 256, 128, 1, 1, 0, 0, 2), (28, 28, 128, 512, 1, 1, 0, 0, 1), (28, 28, 512, 128, 1, 1, 0, 0, 1)],
    *[(28, 28, 512, 256, 1, 1, 0, 0, 2), (14, 14, 256, 1024, 1, 1, 0, 0, 1), (28, 28, 512, 1024, 1, 1, 0, 0, 2)],
    *[(14, 14, 1024, 256, 1, 1, 0, 0, 1), (14, 14, 1024, 512, 1, 1, 0, 0, 2), (7, 7, 512, 2048, 1, 1, 0, 0, 1)],
    *[(14, 14, 1024, 2048, 1, 1, 0, 0, 2), (7, 7, 2048, 512, 1, 1, 0, 0, 1)],
)

TRANSPOSED = [
    # fastconv.models.autoencoder and unet.
    Transposed("autoencoder", 32, (7, 7), 16, 3, 2, 1, 1),
    Transposed("autoencoder", 16, (14, 14), 1, 3, 2, 1, 1),
    Transposed("small unet", 64, (7, 7), 32, 2, 2),
    Transposed("small unet", 32, (14, 14), 16, 2, 2),
    # DCGAN's generator: Radford, Metz, Chintala, 2016.
    Transposed("dcgan", 100, (1, 1), 1024, 4, 1),
    Transposed("dcgan", 1024, (4, 4), 512, 4, 2, 1),
    Transposed("dcgan", 512, (8, 8), 256, 4, 2, 1),
    Transposed("dcgan", 256, (16, 16), 128, 4, 2, 1),
    Transposed("dcgan", 128, (32, 32), 3, 4, 2, 1),
    # U-Net: Ronneberger, Fischer, Brox, 2015.
    Transposed("unet", 1024, (28, 28), 512, 2, 2),
    Transposed("unet", 512, (52, 52), 256, 2, 2),
    Transposed("unet", 256, (100, 100), 128, 2, 2),
    Transposed("unet", 128, (196, 196), 64, 2, 2),
    # Segmentation with 21 classes, FCN-8s: Long, Shelhamer, Darrell, 2015.
    Transposed("fcn8s", 21, (16, 16), 21, 4, 2, 1),
    Transposed("fcn8s", 21, (64, 64), 21, 16, 8, 4),
    # Human pose: Xiao, Wu, Wei, 2018.
    Transposed("pose", 2048, (8, 6), 256, 4, 2, 1),
    Transposed("pose", 256, (16, 12), 256, 4, 2, 1),
    Transposed("pose", 256, (32, 24), 256, 4, 2, 1),
    # Transposed 3x3 layers, as in ENet's and ERFNet's decoders (Romera et al., 2018).
    Transposed("erfnet", 128, (64, 128), 64, 3, 2, 1, 1),
    Transposed("erfnet", 64, (128, 256), 16, 3, 2, 1, 1),
]

POOLING = [
    Pooling("lenet", "max", 6, 28, 2, 2),
    Pooling("lenet", "max", 16, 10, 2, 2),
    Pooling("resnet50", "max", 64, 112, 3, 2, 1),
    Pooling("resnet50", "avg", 2048, 7, 7, 7),
    Pooling("vgg16", "max", 64, 224, 2, 2),
    Pooling("vgg16", "max", 128, 112, 2, 2),
    Pooling("vgg16", "max", 256, 56, 2, 2),
    Pooling("vgg16", "max", 512, 28, 2, 2),
    Pooling("vgg16", "max", 512, 14, 2, 2),
    Pooling("googlenet", "max", 192, 28, 3, 1, 1),
    Pooling("inception-v3", "avg", 288, 35, 3, 1, 1),
    Pooling("densenet121", "avg", 128, 56, 2, 2),
    Pooling("densenet121", "avg", 512, 14, 2, 2),
]

LINEAR = [
    Linear("lenet", 400, 120),
    Linear("lenet", 120, 84),
    Linear("lenet", 84, 10),
    Linear("autoencoder", 1568, 16),
    Linear("autoencoder", 16, 1568),
    Linear("vgg16", 25088, 4096),
    Linear("vgg16", 4096, 4096),
    Linear("vgg16", 4096, 1000),
    Linear("resnet50", 2048, 1000),
]


def distinct(*networks: list[Convolution]) -> list[Convolution]:
    """The layers of all networks, each geometry once, under the first network's name."""
    found: dict[Convolution, Convolution] = {}
    for layer in (layer for network in networks for layer in network):
        found.setdefault(layer._replace(network=""), layer)
    return list(found.values())


CONVOLUTIONS = distinct(RESNET50, VGG16, MOBILENET, LENET, AUTOENCODER, SPEECH, VISION)

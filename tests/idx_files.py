"""Small sets of images as IDX files."""

import gzip

import numpy as np

from fastconv.datasets.sources import FILES


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return header + array.astype(np.uint8).tobytes()


def write(folder, train=20, test=10, size=(28, 28), packed=False, classes=10):
    """A small set of four IDX files: its arrays by file name."""
    rng = np.random.default_rng(0)
    arrays = {}
    for name, count in zip(FILES, (train, train, test, test), strict=True):
        array = rng.integers(0, 256, (count, *size)) if "images" in name else np.arange(count) % classes
        arrays[name] = array.astype(np.uint8)
        content = idx(arrays[name])
        (folder / f"{name}{'.gz' * packed}").write_bytes(gzip.compress(content) if packed else content)
    return arrays

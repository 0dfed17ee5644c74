# %% [markdown]
"""Images are signals with two indices
===================================

What was said of signals holds for images, with two indices in place of one:

``y[i, j] = sum over k, l of w[k, l] x[i - k, j - l]``

Three things are easier to see here than there: the flip, the patches, and what happens at the borders.
"""

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.cbook import get_sample_data

import fastconv as fc
import fastconv.functional as F
from fastconv import ndimage, plot, signal

PICTURES = Path(globals().get("__file__", "notebook")).parent  # beside this file; in a notebook the current folder
plt.style.use("tableau-colorblind10")

# %% [markdown]
# **The flip.** An impulse, a single bright pixel, shows a filter's hand. Convolution leaves a copy of the filter there
# (x[i - k] is the impulse where i = k), cross-correlation leaves it turned by half a turn.

# %%
letter = np.zeros((7, 7))
letter[1:6, 2] = letter[1, 2:5] = letter[3, 2:4] = 1  # an F, which no turn leaves as it is
impulse = np.zeros((13, 13))
impulse[6, 6] = 1
convolved = signal.convolve2d(impulse, letter, mode="same")
correlated = signal.correlate2d(impulse, letter, mode="same")
assert np.array_equal(convolved[3:10, 3:10], letter)
assert np.array_equal(correlated[3:10, 3:10], letter[::-1, ::-1])

figure, axes = plt.subplots(1, 4, figsize=(10, 3), layout="constrained")
names = "impulse x", "filter w", "convolution x * w", "cross-correlation x ⋆ w"
for ax, picture, name in zip(axes, (impulse, np.pad(letter, 3), convolved, correlated), names, strict=True):
    ax.imshow(picture, cmap="gray_r")
    ax.set(title=name, xticks=[], yticks=[])
plot.save(figure, PICTURES / "03_flip.png")

# %% [markdown]
# **Patches.** Each output pixel is the dot product of the filter with one patch of the image. Written as rows of a
# matrix, all patches times the filter are the whole image's cross-correlation: that is how many libraries compute it.
# (fastconv doesn't: the matrix is nine times the image.)

# %%
digit = fc.datasets.load("mnist5k", normalize="unit").train.x[5, 0]
patches = np.lib.stride_tricks.sliding_window_view(digit, (3, 3)).reshape(-1, 9)
weight = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]], np.float32)
as_matrix = (patches @ weight.ravel()).reshape(26, 26)
as_layer = F.conv2d(digit[None, None], weight[None, None])[0, 0]
assert patches.shape == (26 * 26, 9)
assert np.allclose(as_matrix, as_layer, atol=1e-5)

figure = plt.figure(figsize=(10, 3.4), layout="constrained")
left, middle, right = figure.subfigures(1, 3)
for side, picture, name, colours in (
    (left, digit, "A digit: 28 x 28", "gray"),
    (right, as_layer, "Patches times filter: 26 x 26", "RdBu_r"),
):
    ax = side.subplots()
    most = abs(picture).max()
    ax.imshow(picture, cmap=colours, vmin=0 if picture is digit else -most, vmax=most)
    ax.set(xticks=[], yticks=[])
    side.suptitle(name)
some = patches.reshape(26, 26, 9)[::4, ::4].reshape(-1, 3, 3)
for ax, patch in zip(middle.subplots(7, 7).ravel(), some, strict=True):
    ax.imshow(patch, cmap="gray", vmin=0, vmax=1)
    ax.set(xticks=[], yticks=[])
middle.suptitle("49 of the 676 patches")
plot.save(figure, PICTURES / "03_patches.png")

# %% [markdown]
# **Borders.** At the edge the filter overhangs, and something must stand there. Zeros are black: they darken the edge.
# Reflection goes on with the picture's mirror image (d c b a | a b c d), and a constant image stays constant. (The
# photograph: Commodore Grace Hopper, 1984, U.S. Navy, public domain; it comes with matplotlib.)

# %%
photo = plt.imread(get_sample_data("grace_hopper.jpg", asfileobj=False))[:300, 130:430, 1] / 255
smooth = fc.filters.gaussian_kernel(41, 8, normalize=True)
modes = {"zeros": "constant", "reflected": "reflect"}
blurred = {name: ndimage.convolve(photo, smooth, mode=mode) for name, mode in modes.items()}

flat = {name: ndimage.convolve(np.ones((99, 99)), smooth, mode=mode) for name, mode in modes.items()}
assert np.allclose(flat["reflected"], 1)
assert np.isclose(flat["zeros"][0, 49], 0.5 + smooth.sum(1)[20] / 2)  # half of the filter, and half of its middle row
assert np.isclose(flat["zeros"][0, 0], flat["zeros"][0, 49] ** 2)  # at a corner the half of a half

figure, axes = plt.subplots(1, 3, figsize=(10, 3.4), layout="constrained")
for ax, (name, picture), colour in zip(axes, blurred.items(), ("C1", "C0"), strict=False):
    ax.imshow(picture, cmap="gray", vmin=0, vmax=1)
    ax.set(title=f"Borders: {name}", xticks=[], yticks=[])
    axes[2].plot(picture[0], color=colour, label=name)
axes[2].set(title="Brightness of the uppermost row", xlabel="column", ylabel="brightness", ylim=(0, 1))
axes[2].legend(frameon=False)
plot.save(figure, PICTURES / "03_borders.png")

# %% [markdown]
"""A convolutional layer
=====================

A layer takes all channels of ``H_l`` at once. Filter i has a slice for each of them, and what the slices give is
added:

``H_{l+1, i} = H_l ⋆ W_i + b_i``

The star is cross-correlation: a network learns its filters, so nobody needs to flip them.
"""

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.cbook import get_sample_data

import fastconv as fc
import fastconv.functional as F
from fastconv import nn, plot, signal

PICTURES = Path(globals().get("__file__", "notebook")).parent  # beside this file; in a notebook the current folder
rng = np.random.default_rng(0)

# %% [markdown]
# **The formula, taken literally**: for each filter i and each channel c one cross-correlation of two matrices, summed
# over c. Images have four axes (N, C, H, W), a layer's weight too: (filters, channels, rows, columns).

# %%
x = rng.standard_normal((1, 3, 6, 6))
layer = nn.Conv2d(3, 2, 3, dtype=np.float64, rng=0)
weight, bias = layer.weight.data, layer.bias.data
by_hand = np.zeros((1, 2, 4, 4))
for i in range(2):
    for c in range(3):
        by_hand[0, i] += signal.correlate2d(x[0, c], weight[i, c], mode="valid")
    by_hand[0, i] += bias[i]

assert np.allclose(layer(x), by_hand)
assert sum(parameter.size for parameter in layer.parameters()) == 2 * (3 * 3 * 3 + 1)

# %% [markdown]
# **The size of the output.** With h pixels, a filter of k, p pixels of padding (both sides together) and a stride of s
#
# ``(h - k + p + s) // s``
#
# since the filter has h - k + p + 1 places, of which every s-th is taken. The table's last column is what came out.

# %%
rows = []
for h, k, p, s in ((28, 3, 2, 1), (28, 5, 0, 1), (28, 5, 4, 1), (28, 3, 2, 2), (28, 2, 0, 2), (227, 11, 0, 4)):
    padding = ((p // 2, p - p // 2),) * 2
    y = F.conv2d(np.zeros((1, 1, h, h), np.float32), np.zeros((1, 1, k, k), np.float32), stride=s, padding=padding)
    assert y.shape[2] == (h - k + p + s) // s
    rows.append(
        (h, k, p, s, f"({h} - {k} + {p} + {s}) // {s} = {(h - k + p + s) // s}", f"{y.shape[2]} x {y.shape[3]}")
    )
names = "h", "k", "p", "s", "(h - k + p + s) // s", "output"
for row in (names, *rows):
    print("{:>4} {:>4} {:>4} {:>4}   {:<29} {}".format(*row))

figure, ax = plt.subplots(figsize=(7.5, 2.6), layout="constrained")
ax.set_axis_off()
table = ax.table(rows, colLabels=names, cellLoc="center", loc="center", colWidths=(0.1, 0.1, 0.1, 0.1, 0.42, 0.18))
table.scale(1, 1.6)
table.auto_set_font_size(False)
for (line, _), cell in table.get_celld().items():
    cell.set(edgecolor="0.8", facecolor="#DCE9F2" if line == 0 else "white")
ax.set_title("Output sizes of a convolution")
plot.save(figure, PICTURES / "06_output_sizes.png")

# %% [markdown]
# **Padding** "same" keeps the size; without it ("valid") each layer of 3 x 3 eats a frame of one pixel. **Stride** 2
# computes every second row and column, and nothing else: it is the full output, thinned.

# %%
full = F.conv2d(x, weight, bias, padding=1)
assert full.shape == F.conv2d(x, weight, bias, padding="same").shape == (1, 2, 6, 6)
assert np.allclose(F.conv2d(x, weight, bias, padding=1, stride=2), full[:, :, ::2, ::2])
assert np.allclose(layer(x), full[:, :, 1:-1, 1:-1])

# %% [markdown]
# **On a colour photograph** (Commodore Grace Hopper, 1984, U.S. Navy, public domain; it comes with matplotlib): three
# channels in, four filters chosen by hand. The first two look at brightness, the others compare colours: a filter sees
# through all channels at once. The relu keeps what is positive.

# %%
photo = plt.imread(get_sample_data("grace_hopper.jpg", asfileobj=False))[:450, 50:450] / np.float32(255)
edge, blur = fc.filters.sobel_kernel(axis=1)[::-1, ::-1], fc.filters.gaussian_kernel(3, 0.8, normalize=True)
filters = np.zeros((4, 3, 3, 3), np.float32)
filters[0] = edge / 3  # brighter to the right
filters[1] = np.swapaxes(edge, 0, 1) / 3  # brighter below
filters[2] = np.multiply.outer([1, -0.5, -0.5], blur)  # red
filters[3] = np.multiply.outer([-0.5, -0.5, 1], blur)  # blue
bias = np.array([-0.2, -0.2, -0.02, -0.02], np.float32)
h = photo.transpose(2, 0, 1)[None]
maps = F.relu(F.conv2d(h, filters, bias, padding=1))[0]
red = h[0, :, 19:22, 29:32]
assert np.isclose(maps[2, 20, 30], max(0, (red * filters[2]).sum() - 0.02), atol=1e-6)

figure, axes = plt.subplots(1, 5, figsize=(11, 3), layout="constrained")
axes[0].imshow(photo)
for ax, picture in zip(axes[1:], maps, strict=True):
    ax.imshow(picture, cmap="gray", vmax=np.quantile(picture, 0.99))
for ax, name in zip(
    axes, ("H: 3 channels", "W₁: brighter right", "W₂: brighter below", "W₃: red", "W₄: blue"), strict=True
):
    ax.set(title=name, xticks=[], yticks=[])
plot.save(figure, PICTURES / "06_feature_maps.png")

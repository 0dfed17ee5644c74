# %% [markdown]
"""Pooling
=======

Pooling makes an image smaller: of each window of R x S pixels one number is left, the largest or the mean. Nothing is
learnt. The windows usually stand side by side (the stride is the window's own size):

``y[p, q] = max over r, s of x[p R + r, q S + s]``
"""

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import fastconv as fc
import fastconv.functional as F
from fastconv import plot

PICTURES = Path(globals().get("__file__", "notebook")).parent  # beside this file; in a notebook the current folder
plt.style.use("tableau-colorblind10")

# %% [markdown]
# **Both, by hand.** Four windows of 2 x 2, the first of them [1, 3; 4, 2].

# %%
x = np.array([[1.0, 3, 2, 0], [4, 2, 1, 5], [0, 1, 7, 2], [2, 3, 3, 4]])[None, None]
largest, winners = F.max_pool2d(x, 2, return_indices=True)
mean = F.avg_pool2d(x, 2)
assert largest[0, 0].tolist() == [[4, 5], [3, 7]]
assert mean[0, 0].tolist() == [[2.5, 2], [1.5, 4]]
assert np.array_equal(largest[0, 0], x[0, 0].reshape(2, 2, 2, 2).max((1, 3)))  # windows side by side are a reshape

# %% [markdown]
# **Backward.** A winner gets the whole gradient of its window, the others nothing: moving them a little changes
# nothing. The mean gives each pixel its part. (``winners`` are places in the flattened image: the 4 is number 4, row 1,
# column 0.)

# %%
grad_y = np.array([[1.0, 2], [3, 4]])[None, None]
grad_x = F.max_pool2d_input_grad(grad_y, winners, x.shape)
assert winners[0, 0].tolist() == [[4, 7], [13, 10]]
assert grad_x[0, 0].tolist() == [[0, 0, 0, 0], [1, 0, 0, 2], [0, 0, 4, 0], [0, 3, 0, 0]]
assert F.avg_pool2d_input_grad(grad_y, x.shape, 2)[0, 0, 0].tolist() == [0.25, 0.25, 0.5, 0.5]

figure, axes = plt.subplots(1, 4, figsize=(11, 3.2), layout="constrained", width_ratios=(2, 1.4, 1.4, 2))
windows = np.kron([[0, 1], [1, 0]], np.ones((2, 2)))
for ax, table, name in zip(
    axes,
    (x, largest, mean, grad_x),
    ("x, in windows of 2 x 2", "max_pool2d(x, 2)", "avg_pool2d(x, 2)", "gradient 1, 2, 3, 4\ngoes to the winners"),
    strict=True,
):
    shade = windows[:: 4 // table.shape[2], :: 4 // table.shape[3]]
    ax.imshow(shade, cmap="Blues", vmin=-0.3, vmax=4)
    for (i, j), value in np.ndenumerate(table[0, 0]):
        won = table.shape == x.shape and grad_x[0, 0, i, j] != 0
        ax.text(j, i, f"{value:g}", ha="center", va="center", fontsize=14, weight="bold" if won else "normal")
    ax.set(title=name, xticks=[], yticks=[])
plot.save(figure, PICTURES / "07_by_hand.png")

# %% [markdown]
# **On a feature map.** The edges of a digit, pooled twice: 26 x 26 pixels become 13 x 13 and 6 x 6, and what the filter
# found is still there. The mean blurs it away.

# %%
digit = fc.datasets.load("mnist5k", normalize="unit").test.x[3]
edges = F.relu(F.conv2d(digit, fc.filters.sobel_kernel(axis=0).astype(np.float32)[None, None]))
assert F.max_pool2d(edges, 2).shape == (1, 13, 13)
assert F.max_pool2d(F.max_pool2d(edges, 2), 2).shape == (1, 6, 6)
pictures = {
    "digit, 28 x 28": digit,
    "horizontal edges, 26 x 26": edges,
    "max, 13 x 13": F.max_pool2d(edges, 2),
    "max twice, 6 x 6": F.max_pool2d(F.max_pool2d(edges, 2), 2),
    "mean, 13 x 13": F.avg_pool2d(edges, 2),
    "mean twice, 6 x 6": F.avg_pool2d(F.avg_pool2d(edges, 2), 2),
}
figure, axes = plt.subplots(1, 6, figsize=(12, 2.5), layout="constrained")
for ax, (name, picture) in zip(axes, pictures.items(), strict=True):
    ax.imshow(picture[0], cmap="gray", vmin=0, vmax=digit.max() if picture is digit else edges.max())
    ax.set(xticks=[], yticks=[])
    ax.set_title(name, fontsize=10)
plot.save(figure, PICTURES / "07_feature_maps.png")

# %% [markdown]
# **What pooling is for**: it forgives. A digit that moves by a pixel changes; how much of that is left after pooling,
# relative to the numbers themselves? The larger the window, the less: of a half, windows of 14 leave a sixth or less.

# %%
images = fc.datasets.load("mnist5k", normalize="unit").test.x[:200]
sizes = (1, 2, 4, 7, 14)


def change(pool, size):
    """How much a shift by one pixel changes the pooled edges, as part of their own size."""
    still, moved = (
        pool(F.relu(F.conv2d(shifted, fc.filters.sobel_kernel(axis=0).astype(np.float32)[None, None], padding=1)), size)
        for shifted in (images, np.roll(images, 1, axis=3))
    )
    return np.linalg.norm(still - moved) / np.linalg.norm(still)


figure, ax = plt.subplots(figsize=(5.4, 3.6), layout="constrained")
for pool, marker, name in ((F.max_pool2d, "o", "max"), (F.avg_pool2d, "s", "mean")):
    changes = [change(pool, size) for size in sizes]
    assert changes == sorted(changes, reverse=True)
    ax.plot(sizes, changes, marker=marker, label=name)
ax.set(
    title="A digit moves by one pixel", xlabel="side of the window, pixels", ylabel="relative change", ylim=(0, None)
)
ax.set(xticks=sizes)
ax.legend(frameon=False)
plot.save(figure, PICTURES / "07_shift.png")

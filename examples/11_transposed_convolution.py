# %% [markdown]
"""Transposed convolution, overlap by overlap
==========================================

A convolution gathers: each output looks at a window. Its transpose scatters: each input puts a copy of the filter,
times its own value, on the output, ``stride`` pixels from its neighbour's; where copies overlap they add up. It makes
images larger: h pixels become ``(h - 1) s - 2 p + k + p_out``.
"""

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.animation import FuncAnimation, PillowWriter
from matplotlib.patches import Rectangle

import fastconv as fc
import fastconv.functional as F
from fastconv import plot

PICTURES = Path(globals().get("__file__", "notebook")).parent  # beside this file; in a notebook the current folder
x = np.array([[0.0, 1], [2, 3]])
w = np.array([[9.0, 8], [7, 6]])

# %% [markdown]
# **The course's example**, copy by copy: 0 · w, 1 · w, 2 · w and 3 · w, each where its pixel is. All four meet in the
# middle: 0·6 + 1·7 + 2·8 + 3·9 = 50.

# %%
copies = np.zeros((4, 3, 3))
for i, (p, q) in enumerate(np.ndindex(2, 2)):
    copies[i, p : p + 2, q : q + 2] = x[p, q] * w
y = copies.sum(0)
assert y.tolist() == [[0, 9, 8], [18, 50, 30], [14, 33, 18]]
assert np.array_equal(F.conv_transpose2d(x[None, None], w[None, None])[0, 0], y)

# %% [markdown]
# **The name.** Written as a matrix, a convolution of 3 x 3 pixels to 2 x 2 has four rows and nine columns; the
# transposed convolution multiplies by its transpose, from 4 numbers to 9. It is the convolution's input gradient, and
# not its inverse.

# %%
pixels = np.eye(9).reshape(9, 1, 3, 3)
matrix = F.conv2d(pixels, w[None, None]).reshape(9, 4).T
assert matrix.shape == (4, 9)
assert np.array_equal(matrix.T @ x.ravel(), y.ravel())
assert np.array_equal(F.conv2d_input_grad((1, 1, 3, 3), w[None, None], x[None, None])[0, 0], y)
assert not np.array_equal(F.conv2d(y[None, None], w[None, None])[0, 0], x)

# %% [markdown]
# **Animated**: on the left the pixel whose turn it is, on the right the output so far, its copy framed.

# %%
figure, axes = plt.subplots(1, 3, figsize=(8, 3.3), layout="constrained", width_ratios=(2, 2, 3))


def draw(ax, table, name, most):
    """A matrix with its numbers."""
    ax.clear()
    ax.imshow(table, cmap="Blues", vmin=0, vmax=1.6 * most)
    for (i, j), value in np.ndenumerate(table):
        ax.text(j, i, f"{value:g}", ha="center", va="center", fontsize=15)
    ax.set(title=name, xticks=[], yticks=[])


def frame(turn):
    """After `turn` copies; the last frame is the result."""
    done = min(turn + 1, 4)
    draw(axes[0], x, "x", 3)
    draw(axes[1], w, "filter w", 9)
    draw(axes[2], copies[:done].sum(0), "y: all copies added" if turn == 4 else f"y + {x.flat[turn]:g} · w", 50)
    if turn < 4:
        p, q = divmod(turn, 2)
        axes[0].add_patch(Rectangle((q - 0.48, p - 0.48), 0.96, 0.96, fill=False, ec="#C85200", lw=4))
        axes[2].add_patch(Rectangle((q - 0.48, p - 0.48), 1.96, 1.96, fill=False, ec="#C85200", lw=4))


FuncAnimation(figure, frame, frames=5).save(PICTURES / "11_transposed.gif", writer=PillowWriter(fps=0.8), dpi=80)
plot.save(figure, PICTURES / "11_transposed.png")

# %% [markdown]
# **Stride 2 and the checkerboard.** The copies now lie two pixels apart. A filter of 2 fits exactly. One of 3 overlaps
# in every second row and column, so that some pixels get four contributions where others get one: a pattern that
# nothing in the image has asked for. A filter of 4, a multiple of the stride, is even again (but at the borders).

# %%
ones = np.ones((1, 1, 6, 6))
counts = {k: F.conv_transpose2d(ones, np.ones((1, 1, k, k)), stride=2)[0, 0] for k in (2, 3, 4)}
for k, count in counts.items():
    assert count.shape == ((6 - 1) * 2 + k,) * 2
assert set(counts[2].flat) == {1}
assert set(counts[3][2:-2, 2:-2].flat) == {1, 2, 4}
assert set(counts[4][2:-2, 2:-2].flat) == {4}

digit = fc.datasets.load("mnist5k", normalize="unit").test.x[2]
figure, axes = plt.subplots(2, 3, figsize=(8, 5.4), layout="constrained")
for (above, below), (k, count) in zip(axes.T, counts.items(), strict=True):
    shown = above.imshow(count, cmap="cividis", vmin=0, vmax=4)
    above.set(title=f"filter {k} x {k}, stride 2", xticks=[], yticks=[])
    larger = F.conv_transpose2d(digit, np.full((1, 1, k, k), 4 / k**2, np.float32), stride=2)
    below.imshow(larger[0], cmap="gray", vmin=0)
    below.set(title=f"a digit, {larger.shape[1]} x {larger.shape[2]}", xticks=[], yticks=[])
figure.colorbar(shown, ax=axes[0], label="copies that overlap", ticks=range(5))
plot.save(figure, PICTURES / "11_checkerboard.png")

# %% [markdown]
# **The way out** that many networks take: enlarge first, by repeating or interpolating pixels, and convolve then. Every
# pixel gets the same number of contributions.

# %%
even = F.conv2d(F.interpolate(ones, scale_factor=2), np.ones((1, 1, 3, 3)))
assert set(even.flat) == {9}

# %% [markdown]
"""Derivatives and Sobel's filters
===============================

An edge is where brightness changes, and change is a derivative. Of a signal that is known at whole numbers only,

``x'[n] ≈ (x[n + 1] - x[n - 1]) / 2``

which is a convolution with ``[1, 0, -1] / 2``. Sobel's filter takes it along one axis and smooths along the other.
"""

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.cbook import get_sample_data

import fastconv as fc
from fastconv import ndimage, plot, signal

PICTURES = Path(globals().get("__file__", "notebook")).parent  # beside this file; in a notebook the current folder
plt.style.use("tableau-colorblind10")

# %% [markdown]
# **The derivative of a signal.** For a parabola the central difference is exact: (n + 1)² - (n - 1)² = 4 n, half of
# which is the derivative 2 n. The filter is written for convolution, which flips it. Noise it makes louder; so the
# signal is smoothed too, in one step: the Gaussian's derivative is the filter. (It goes wrong at the ends, where the
# signal is continued by its mirror image.)

# %%
n = np.arange(6.0)
slope = signal.convolve(n**2, fc.filters.derivative_kernel() / 2, mode="valid")
assert slope.tolist() == [2, 4, 6, 8]

t = np.linspace(0, 2 * np.pi, 200)
noisy = np.sin(t) + np.random.default_rng(0).normal(0, 0.02, t.size)
step = t[1] - t[0]
raw = ndimage.convolve1d(noisy, fc.filters.derivative_kernel() / (2 * step))
calm = ndimage.gaussian_filter1d(noisy, sigma=6, order=1) / step  # the Gaussian's derivative does both at once
assert np.abs(calm - np.cos(t))[20:-20].max() < 0.1

# %% [markdown]
# **Sobel's filter is an outer product**: the difference across the edge, [1, 2, 1] along it. Where the image is a ramp
# of slope 1, it gives 8: a difference over two pixels, times the 4 of 1 + 2 + 1.

# %%
down, across = fc.filters.sobel_kernel(axis=0), fc.filters.sobel_kernel(axis=1)
assert np.array_equal(across, np.outer([1, 2, 1], [1, 0, -1]))
ramp = np.tile(np.arange(9.0), (9, 1))
assert (ndimage.sobel(ramp, axis=1)[:, 1:-1] == 8).all()
assert (ndimage.sobel(ramp, axis=0) == 0).all()

# %% [markdown]
# **Magnitude and direction.** Both derivatives together are the gradient, an arrow that points to where it gets
# brighter: its length is ``sqrt(gx² + gy²)``, its direction ``atan2(gy, gx)``. A bright disc's gradient points inward,
# along the radius: so the direction can be checked everywhere on its edge.

# %%
rows, columns = np.mgrid[-50:51, -50:51]
disc = 1 / (1 + np.exp(np.hypot(rows, columns) - 30))
gy, gx = ndimage.sobel(disc, axis=0), ndimage.sobel(disc, axis=1)
edge = np.hypot(gx, gy) > 0.5
angle = np.arctan2(gy, gx)
radial = np.arctan2(-rows, -columns)
assert np.abs(np.angle(np.exp(1j * (angle - radial))))[edge].max() < np.deg2rad(2)

# %%
figure, axes = plt.subplots(1, 3, figsize=(10, 3.3), layout="constrained", width_ratios=(1.5, 1, 1.1))
axes[0].plot(t, raw, color="0.75", label="[1, 0, -1] / 2")
axes[0].plot(t, calm, color="C1", label="Gaussian's derivative, σ = 6")
axes[0].plot(t, np.cos(t), "--", color="C0", label="cos t")
axes[0].set(title="The derivative of sin t + noise of 0.02", xlabel="t", ylabel="derivative", ylim=(-3.4, 2.2))
axes[0].legend(frameon=False, loc="lower center", fontsize=9)
axes[1].imshow(disc, cmap="gray")
axes[1].set(title="A disc", xticks=[], yticks=[])
shown = axes[2].imshow(np.where(edge, np.rad2deg(angle), np.nan), cmap="twilight", vmin=-180, vmax=180)
axes[2].set(title="Direction at its edge", xticks=[], yticks=[], facecolor="0.6")
figure.colorbar(shown, ax=axes[2], label="degrees, 90 is down", ticks=range(-180, 181, 90))
plot.save(figure, PICTURES / "04_derivatives.png")

# %% [markdown]
# **A photograph's edges** (Commodore Grace Hopper, 1984, U.S. Navy, public domain; it comes with matplotlib), a little
# smoothed first, for a derivative is noise's best friend. ``ndimage.sobel`` is the convolution with the filter above.

# %%
photo = plt.imread(get_sample_data("grace_hopper.jpg", asfileobj=False))[:450, 50:450] @ [0.299, 0.587, 0.114] / 255
photo = ndimage.gaussian_filter(photo, 1)
gy, gx = ndimage.sobel(photo, axis=0), ndimage.sobel(photo, axis=1)
assert np.allclose(gy, ndimage.convolve(photo, down))
assert np.allclose(gx, ndimage.convolve(photo, across))
magnitude, angle = np.hypot(gx, gy), np.rad2deg(np.arctan2(gy, gx))

figure, axes = plt.subplots(1, 4, figsize=(11, 3.7), layout="constrained")
most = np.quantile(magnitude, 0.99)
axes[0].imshow(gx, cmap="RdBu_r", vmin=-most, vmax=most)
axes[1].imshow(gy, cmap="RdBu_r", vmin=-most, vmax=most)
axes[2].imshow(magnitude, cmap="gray_r", vmin=0, vmax=most)
axes[3].set_facecolor("0.6")
axes[3].imshow(angle, cmap="twilight", vmin=-180, vmax=180, alpha=np.clip(3 * magnitude / most - 0.3, 0, 1))
names = "gx: vertical edges", "gy: horizontal edges", "Magnitude", "Direction, where there is one"
for ax, name in zip(axes, names, strict=True):
    ax.set(title=name, xticks=[], yticks=[])
plot.save(figure, PICTURES / "04_sobel.png")

# %% [markdown]
"""The Gaussian filter
===================

The smoothest of smoothing filters: the density of the normal distribution, taken at whole pixels. In two dimensions

``w[i, j] = exp(-(i² + j²) / (2 σ²)) / (2 π σ²)``

The course's filter has 23 x 23 taps and σ = 3.8: three standard deviations to each side.
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
rng = np.random.default_rng(0)
kernel = fc.filters.gaussian_kernel(23, 3.8)

# %% [markdown]
# **The density.** Its middle is 1 / (2 π σ²). Its sum is a little less than 1, since the tails beyond 11 pixels are cut
# off; ``normalize=True`` divides by the sum, so that a grey picture stays as grey as it was.

# %%
assert np.isclose(kernel[11, 11], 1 / (2 * np.pi * 3.8**2))
assert np.isclose(kernel[11, 11 + 3] / kernel[11, 11], np.exp(-(3**2) / (2 * 3.8**2)))
print(f"the sum of the 529 taps is {kernel.sum():.4f}")
smooth = fc.filters.gaussian_kernel(23, 3.8, normalize=True)
assert np.isclose(smooth.sum(), 1)

# %% [markdown]
# **A noisy signal.** Independent noise of standard deviation s leaves a filter with s · sqrt(sum of w²). For a Gaussian
# that is about s / sqrt(2 σ sqrt(π)), here 0.27 s: what is left is a quarter of the noise.

# %%
t = np.linspace(0, 4 * np.pi, 400)
clean = np.sin(t) + (t > 6)
noisy = clean + rng.normal(0, 0.4, t.size)
taps = fc.filters.gaussian_kernel1d(23, 3.8, normalize=True)
quiet = signal.convolve(noisy, taps, mode="same")

noise = signal.convolve(rng.normal(0, 1, 100_000), taps, mode="valid")
assert np.isclose(noise.std(), np.sqrt((taps**2).sum()), rtol=0.03)
assert np.isclose(noise.std(), 1 / np.sqrt(2 * 3.8 * np.sqrt(np.pi)), rtol=0.05)

figure, axes = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained", width_ratios=(1, 2))
image = axes[0].imshow(kernel, extent=(-11.5, 11.5, 11.5, -11.5), cmap="cividis")
axes[0].set(title="The filter: 23 x 23, σ = 3.8", xlabel="j, pixels", ylabel="i, pixels")
figure.colorbar(image, ax=axes[0], label="weight")
axes[1].plot(t, noisy, ".", color="0.7", ms=3, label="noisy, s = 0.4")
axes[1].plot(t, clean, "--", color="0.2", lw=1, label="clean")
axes[1].plot(t, quiet, color="C1", lw=2, label="filtered")
axes[1].set(title="A noisy signal: the noise goes, and so does the sharp step", xlabel="t", ylabel="value")
axes[1].legend(frameon=False, ncols=3, loc="lower left")
plot.save(figure, PICTURES / "02_gaussian_filter.png")

# %% [markdown]
# **A photograph**: Commodore Grace Hopper, 1984, an official photograph of the U.S. Navy and so in the public domain;
# it comes with matplotlib. ``ndimage.correlate`` with ``mode="reflect"`` lets the picture go on as its mirror image.

# %%
colours = plt.imread(get_sample_data("grace_hopper.jpg", asfileobj=False)) / 255
photo = colours[:450, 50:450] @ [0.299, 0.587, 0.114]  # what the eye makes of red, green and blue
grainy = photo + rng.normal(0, 0.2, photo.shape)
filtered = ndimage.correlate(grainy, smooth, mode="reflect")

# %% [markdown]
# **Two short passes instead of a long one.** The density is a product, w[i, j] = g[i] g[j], so filtering the rows and
# then the columns is the same: 2 · 23 products a pixel, not 23². fastconv sees that from the numbers and does it
# itself.

# %%
rows = ndimage.correlate1d(grainy, taps, axis=1)
assert np.allclose(filtered, ndimage.correlate1d(rows, taps, axis=0))
assert np.allclose(smooth, np.outer(taps, taps))
print(fc.explain("correlate", photo.shape, smooth, dtype="float64"))

# %% [markdown]
# **What is gained, what is lost.** In two dimensions 2 σ sqrt(π) = 13.5 times less noise is left. The error is larger
# than that: now it is the picture's own fine detail that is missing.

# %%
left = filtered - ndimage.correlate(photo, smooth)
assert np.isclose(left.std(), 0.2 / (2 * 3.8 * np.sqrt(np.pi)), rtol=0.1)

figure, axes = plt.subplots(1, 3, figsize=(10, 4.1), layout="constrained")
names = "The photograph", "with noise of 0.2", "through the filter"
for ax, picture, name in zip(axes, (photo, grainy, filtered), names, strict=True):
    ax.imshow(picture, cmap="gray", vmin=0, vmax=1)
    error = np.sqrt(np.mean((picture - photo) ** 2))
    ax.set(title=name, xlabel="" if picture is photo else f"root mean square error {error:.3f}", xticks=[], yticks=[])
plot.save(figure, PICTURES / "02_photograph.png")

# %% [markdown]
"""scipy.ndimage, replaced
=======================

``fastconv.ndimage`` has the names, arguments and results of ``scipy.ndimage``'s filters. So a program that is there
already needs one line changed:

``from scipy import ndimage`` becomes ``from fastconv import ndimage``

Here is such a program: it finds cells in an unevenly lit picture under the microscope.
"""

# %%
import timeit
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import fastconv as fc
from fastconv import plot

try:
    from scipy import ndimage as before
except ImportError:  # then there is nothing to compare with
    before = None

PICTURES = Path(globals().get("__file__", "notebook")).parent  # beside this file; in a notebook the current folder
plt.style.use("tableau-colorblind10")
modules = {"fastconv": fc.ndimage} | ({"SciPy": before} if before else {})

# %% [markdown]
# **The picture**, drawn from a seed: 150 cells, none nearer than 40 pixels to another, light that falls off to one
# corner, and noise. So it is known where the cells are.

# %%
rng = np.random.default_rng(0)
size, cells = 1024, []
while len(cells) < 150:
    place = rng.uniform(30, size - 30, 2)
    if all(np.hypot(*(place - other)) > 40 for other in cells):
        cells.append(place)
rows, columns = np.mgrid[:size, :size].astype(np.float32)
image = 0.6 - 0.5 * (rows + columns) / (2 * size)
for row, column in cells:
    window = np.s_[max(0, int(row) - 30) : int(row) + 31, max(0, int(column) - 30) : int(column) + 31]
    image[window] += 0.25 * np.exp(-((rows[window] - row) ** 2 + (columns[window] - column) ** 2) / (2 * 7**2))
image += rng.normal(0, 0.05, image.shape)
image = image.astype(np.float32)

# %% [markdown]
# **The program.** It is given the module, so that both can be asked. Nothing in it knows whose it is.

# %%
steps = {
    "background, gaussian_filter, σ = 40": lambda ndimage, image: ndimage.gaussian_filter(image, 40),
    "noise, gaussian_filter, σ = 2": lambda ndimage, image: ndimage.gaussian_filter(image, 2),
    "blobs, gaussian_laplace, σ = 7": lambda ndimage, image: -ndimage.gaussian_laplace(image, 7),
    "outlines, sobel twice": lambda ndimage, image: np.hypot(ndimage.sobel(image, 0), ndimage.sobel(image, 1)),
    "peaks, maximum_filter, 31 x 31": lambda ndimage, image: ndimage.maximum_filter(image, 31),
}


def find_cells(ndimage, image):
    """The picture as it would be in even light, its outlines, and the cells' places (N, 2)."""
    background, noise, blobs, outlines, peaks = steps.values()
    flat = noise(ndimage, image - background(ndimage, image))
    bumps = blobs(ndimage, flat)
    found = (bumps == peaks(ndimage, bumps)) & (bumps > 0.35 * bumps.max())
    return flat, outlines(ndimage, flat), np.argwhere(found)


results = {name: find_cells(module, image) for name, module in modules.items()}

# %% [markdown]
# **The same results.** All cells are found, to a few pixels, and nothing else; and SciPy finds them at the very same
# pixels.

# %%
flat, outlines, found = results["fastconv"]
distances = np.linalg.norm(found[:, None] - np.array(cells), axis=2)
assert len(found) == len(cells)
assert distances.min(0).max() < 6
if "SciPy" in results:
    assert np.allclose(flat, results["SciPy"][0], atol=1e-5)
    assert np.allclose(outlines, results["SciPy"][1], atol=1e-5)
    assert np.array_equal(found, results["SciPy"][2])

figure, axes = plt.subplots(1, 3, figsize=(11, 4), layout="constrained")
axes[0].imshow(image, cmap="gray")
axes[1].imshow(flat, cmap="gray")
axes[1].plot(found[:, 1], found[:, 0], "o", mfc="none", color="C1", ms=9)
axes[2].imshow(outlines, cmap="gray_r", vmin=np.median(outlines))
for ax, name in zip(axes, ("The picture", f"In even light: {len(found)} cells found", "Outlines"), strict=True):
    ax.set(title=name, xticks=[], yticks=[])
plot.save(figure, PICTURES / "16_cells.png")

# %% [markdown]
# **The time** of each step on this machine: the best of five, after a first call that compiles.


# %%
def best(step, module):
    """Milliseconds."""
    seconds = timeit.repeat(lambda: step(module, image), number=1, repeat=6)
    return 1e3 * min(seconds[1:])


figure, ax = plt.subplots(figsize=(8.5, 3.6), layout="constrained")
for shift, (name, module) in zip((0.2, -0.2), modules.items(), strict=False):
    times = [best(step, module) for step in steps.values()]
    bars = ax.barh(np.arange(5) - shift, times, height=0.38, label=f"{name}: {sum(times):.0f} ms in all")
    ax.bar_label(bars, fmt="%.1f", padding=3)
    print(f"{name}: {sum(times):.0f} ms")
ax.set(title=f"{size} x {size} pixels, float32; threads: {fc.get_num_threads()}", xlabel="milliseconds")
ax.set(yticks=range(5), yticklabels=steps.keys())
ax.set_xlim(0, 1.1 * ax.get_xlim()[1])
ax.invert_yaxis()
figure.legend(frameon=False, loc="outside lower center", ncols=2)
plot.save(figure, PICTURES / "16_times.png")

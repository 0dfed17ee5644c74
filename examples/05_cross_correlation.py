# %% [markdown]
"""Cross-correlation: finding a template
=====================================

Cross-correlation slides a small picture over a large one and multiplies without flipping. Where both agree the sum is
large, so it can search. What makes it trustworthy is a norm: with T' and I' the template and the window less their
means

``score = sum of T' I' / sqrt(sum of T'² · sum of I'²)``

which is the correlation coefficient of the pixels: 1 for a perfect match, whatever the brightness and the contrast.
"""

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.cbook import get_sample_data
from matplotlib.patches import Rectangle

import fastconv as fc
from fastconv import plot, signal

PICTURES = Path(globals().get("__file__", "notebook")).parent  # beside this file; in a notebook the current folder
rng = np.random.default_rng(0)

# %% [markdown]
# **By hand.** A template of three numbers in a signal of six: the sums of products are largest where the signal is
# largest, not where it looks like the template. The coefficient is 1 at the true place, and nowhere else.

# %%
x, template = np.array([[9.0, 9.0, 9.0, 1.0, 2.0, 1.0]]), np.array([[1.0, 2.0, 1.0]])
products = fc.match_template(x, template, "ccorr")
assert products.tolist() == [[36, 28, 13, 6]]
assert np.array_equal(products, signal.correlate2d(x, template, mode="valid"))
score = fc.match_template(x, template, "ccoeff_normed")
assert score.argmax() == 3
assert np.allclose(score, [[0, np.corrcoef(x[0, 1:4], template)[0, 1], np.corrcoef(x[0, 2:5], template)[0, 1], 1]])

# %% [markdown]
# **In a photograph** (Commodore Grace Hopper, 1984, U.S. Navy, public domain; it comes with matplotlib). The template
# is the badge of her cap, cut out of the clean picture. The picture that is searched is noisy, and dark at the top.

# %%
photo = plt.imread(get_sample_data("grace_hopper.jpg", asfileobj=False)) @ [0.299, 0.587, 0.114] / 255
badge = photo[22:86, 228:292]
light = np.linspace(0.3, 1, len(photo))[:, None]
scene = photo * light + rng.normal(0, 0.1, photo.shape)

products = fc.match_template(scene, badge, "ccorr")
score = fc.match_template(scene, badge, "ccoeff_normed")
places, scores = fc.find_template(scene, badge)
assert places.tolist() == [[22, 228]]
window = scene[22:86, 228:292]
assert np.isclose(scores[0], np.corrcoef(window.ravel(), badge.ravel())[0, 1], atol=1e-5)
brightest = np.unravel_index(products.argmax(), products.shape)
print(f"the badge is at row 22, column 228; found at {tuple(places[0].tolist())} with a score of {scores[0]:.2f};")
print(f"the largest sum of products is at {tuple(map(int, brightest))}, where the picture is bright")


def box(ax, place, colour, name):
    """Mark a place that is as large as the badge."""
    height, width = badge.shape
    ax.add_patch(Rectangle((place[1], place[0]), width, height, fill=False, ec=colour, lw=2.5, label=name))


figure, axes = plt.subplots(1, 4, figsize=(11, 3.9), layout="constrained", width_ratios=(0.5, 1, 1, 1))
axes[0].imshow(badge, cmap="gray")
axes[1].imshow(scene, cmap="gray", vmin=0, vmax=1)
box(axes[1], places[0], "#FF800E", "coefficient")
box(axes[1], brightest, "#5F9ED1", "products")
axes[1].legend(loc="lower left", fontsize=8)
for ax, scores_map, name in ((axes[2], products, "Sums of products"), (axes[3], score, "Correlation coefficient")):
    shown = ax.imshow(scores_map, cmap="cividis")
    ax.set_title(name)
    figure.colorbar(shown, ax=ax, shrink=0.7, label="score")
axes[3].plot(*places[0][::-1], "o", mfc="none", mec="#FF800E", ms=14, mew=2)
axes[0].set_title("Template")
axes[1].set_title("The scene, and what was found")
for ax in axes:
    ax.set(xticks=[], yticks=[])
plot.save(figure, PICTURES / "05_cross_correlation.png")

# %% [markdown]
# **Several at once.** Stars of the flag: ``find_template`` gives the best places that are some distance apart, and a
# threshold says how alike is alike enough.

# %%
flag = photo[:300, :180]
star = flag[58:120, 43:91]
places, scores = fc.find_template(flag, star, count=None, threshold=0.5)
assert places[0].tolist() == [58, 43]
assert np.isclose(scores[0], 1)
figure, ax = plt.subplots(figsize=(4.2, 5.6), layout="constrained")
ax.imshow(flag, cmap="gray")
for (row, column), value in zip(places, scores, strict=True):
    ax.add_patch(Rectangle((column, row), 48, 62, fill=False, ec="#FF800E", lw=2))
    ax.text(column + 24, row + 62, f"{value:.2f}", ha="center", va="top", color="#FF800E", fontsize=10, weight="bold")
ax.set(title=f"{len(places)} places with a score above 0.5", xticks=[], yticks=[])
plot.save(figure, PICTURES / "05_several.png")

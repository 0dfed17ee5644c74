# %% [markdown]
"""Inside the engine
=================

How fast can a convolution be? As fast as the processor multiplies and adds, or as memory delivers, whichever is
slower: the roof over each layer. ``fastconv.explain`` says how a call is computed here, what it costs, and how near
to the roof it comes. The numbers are this machine's, and other programs that run meanwhile make them worse.
"""

# %%
import re
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import fastconv as fc
import fastconv.functional as F
from fastconv import plot

PICTURES = Path(globals().get("__file__", "notebook")).parent  # beside this file; in a notebook the current folder
plt.style.use("tableau-colorblind10")
rng = np.random.default_rng(0)

# %% [markdown]
# **One layer, explained.** 64 filters for 64 channels of 56 x 56 pixels, as in the middle of a ResNet. The arithmetic
# can be counted by hand: 2 · 64 · 64 · 9 for each pixel, less what the zeros around the image spare.

# %%
shape = (1, 64, 56, 56), (64, 64, 3, 3)
plan = fc.explain("conv2d", *shape, padding=1)
print(plan)
taps_inside = (3 * 56 - 2) ** 2  # along an axis 56 windows of 3 taps, without the two that stand outside
assert plan.flops == 2 * 64 * 64 * taps_inside

# %% [markdown]
# **Two algorithms, one result.** Winograd's needs 36 products where the definition needs 144, so that it may go through
# the roof, which counts the definition's; it pays with a little accuracy.

# %%
x, w = rng.standard_normal(shape[0], np.float32), rng.standard_normal(shape[1], np.float32)
exact = F.conv2d(x.astype(float), w.astype(float), padding=1)
for algorithm in ("direct", "winograd"):
    error = np.abs(F.conv2d(x, w, padding=1, algorithm=algorithm) - exact).max() / np.abs(exact).max()
    print(f"{algorithm:<9} largest error {error:.1e} of the largest output")
    assert error < 1e-5

# %% [markdown]
# **The roofline.** Each layer has an intensity: operations for each byte that it must read or write. Below the slope is
# what memory could feed, below the level what the arithmetic units can do. Layers that fit into the caches may do
# better than the slope, which is measured by copying a large array.

# %%
layers = {
    "LeNet, first": ((1, 1, 28, 28), (6, 1, 3, 3), {"padding": 1}),
    "LeNet, second": ((1, 6, 14, 14), (16, 6, 5, 5), {}),
    "3 x 3, 64 of 64": (*shape, {"padding": 1, "algorithm": "direct"}),
    "the same, Winograd": (*shape, {"padding": 1, "algorithm": "winograd"}),
    "1 x 1, 256 of 64": ((1, 64, 56, 56), (256, 64, 1, 1), {}),
    "depthwise 3 x 3": ((1, 256, 56, 56), (256, 1, 3, 3), {"padding": 1, "groups": 256}),
    "7 x 7, stride 2": ((1, 3, 224, 224), (64, 3, 7, 7), {"padding": 3, "stride": 2}),
}
found = {name: fc.explain("conv2d", *sizes, measure=True, **options) for name, (*sizes, options) in layers.items()}

source = np.zeros(2**24, np.float32)
copy, seconds = source.copy(), []
for _ in range(5):
    start = time.perf_counter()
    np.copyto(copy, source)
    seconds.append(time.perf_counter() - start)
bandwidth, roof = 2 * source.nbytes / min(seconds), max(e.roof for e in found.values())

figure, ax = plt.subplots(figsize=(9, 4.8), layout="constrained")
intensity = np.geomspace(1, 400, 200)
bounds = f"roof: {bandwidth / 1e9:.0f} GB/s of memory,\n{roof / 1e9:.0f} GFLOP/s of arithmetic"
ax.loglog(intensity, np.minimum(bandwidth * intensity, roof) / 1e9, color="0.5", label=bounds)
for (name, e), marker in zip(found.items(), "osD^vPX", strict=True):
    print(f"{name:<20} {e.flops / e.bytes:>6.1f} FLOP/byte {e.speed / 1e9:>6.1f} GFLOP/s, {e.fraction:.0%} of the roof")
    ax.plot(e.flops / e.bytes, e.speed / 1e9, marker, ms=9, label=name)
ax.set(title="Layers under the roof of this machine", xlabel="operations for each byte", ylabel="speed, GFLOP/s")
ax.set_ylim(None, 2.2 * max(roof, *(e.speed for e in found.values())) / 1e9)
ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
ax.grid(alpha=0.3)
plot.save(figure, PICTURES / "15_roofline.png")

# %% [markdown]
# **The machine code** of the loop that does nearly all of the work. A good one is multiply-adds between registers, each
# of many numbers at once, and few loads: every number that was loaded is used several times.

# %%
code = fc.explain("conv2d", *shape, padding=1, algorithm="direct", assembly=True).assembly
lines = [line.strip().replace("\t", " ") for line in code.splitlines()]
kinds = {"multiply-add": r"v?fn?m(add|la|sub)", "load": r"v?(mov|broadcast|ld)"}
colours = {"multiply-add": "#006BA4", "load": "#C85200", "other": "0.4"}
kind_of = [next((k for k, pattern in kinds.items() if re.match(pattern, line)), "other") for line in lines]
counts = {kind: kind_of.count(kind) for kind in colours}
assert counts["multiply-add"] > counts["load"] > 0

figure, (left, right) = plt.subplots(1, 2, figsize=(8, 7), layout="constrained", width_ratios=(1.3, 1))
for i, (line, kind) in enumerate(zip(lines[:52], kind_of, strict=False)):
    left.text(0, 1 - (i + 0.5) / 52, line, family="monospace", fontsize=8, va="center", color=colours[kind])
left.set_axis_off()
left.set_title("The hot loop of a direct convolution")
bars = right.bar(counts.keys(), counts.values(), color=colours.values())
right.bar_label(bars)
right.set(title="Instructions in it", ylabel="instructions")
plot.save(figure, PICTURES / "15_machine_code.png")

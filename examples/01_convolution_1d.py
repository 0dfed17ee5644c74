# %% [markdown]
"""Convolution of a signal, step by step
=====================================

A filter slides over a signal. At each place the samples below it are multiplied by its numbers and added up:

``y[n] = sum over k of w[k] x[n - k]``

Here the filter is ``[0.25, 0.5, 0.25]`` and the signal a step, so that every sum can be done in one's head.
"""

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.animation import FuncAnimation, PillowWriter

from fastconv import plot, signal

PICTURES = Path(globals().get("__file__", "notebook")).parent  # beside this file; in a notebook the current folder
plt.style.use("tableau-colorblind10")

x = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0])
w = np.array([0.25, 0.5, 0.25])

# %% [markdown]
# **The formula as two loops.** The filter's middle is k = 0; outside of the signal there are zeros. Just before the
# step the sum is 0.25 · 1, just after it 0.5 · 1 + 0.25 · 1: the step has become a ramp.

# %%
y = np.zeros(len(x))
for n in range(len(x)):
    for k in (-1, 0, 1):
        if 0 <= n - k < len(x):
            y[n] += w[k + 1] * x[n - k]

assert y.tolist() == [0, 0, 0, 0, 0.25, 0.75, 1, 1, 1, 0.75]
assert np.array_equal(signal.convolve(x, w, mode="same"), y)

# %% [markdown]
# **Where the filter overhangs.** ``"full"`` has every place where filter and signal meet (n + k - 1 of them),
# ``"same"`` as many as the signal, ``"valid"`` only those where the filter lies in the signal (n - k + 1). The last
# 0.75 of ``"same"`` is no property of the signal: there the filter has met a zero that we invented.

# %%
assert {m: len(signal.convolve(x, w, mode=m)) for m in ("full", "same", "valid")} == {
    "full": 12,
    "same": 10,
    "valid": 8,
}

# %% [markdown]
# **Convolution flips the filter**: w[k] meets x[n - k], so the filter's last number meets the signal's first. Without
# the minus it is cross-correlation. A symmetric filter can't tell the two apart; this one can.

# %%
ahead = np.array([1.0, 2.0, 3.0])
assert signal.convolve([0, 1, 0], ahead, mode="same").tolist() == [1, 2, 3]  # an impulse gives the filter itself
assert signal.correlate([0, 1, 0], ahead, mode="same").tolist() == [3, 2, 1]  # and here the filter, flipped

# %% [markdown]
# **The filter, again and again.** Convolution is associative, so smoothing twice is smoothing once with ``w * w`` = [1,
# 4, 6, 4, 1] / 16. Its repetitions come closer and closer to a bell: the next example.

# %%
twice = signal.convolve(w, w)
assert (16 * twice).tolist() == [1, 4, 6, 4, 1]
often = w
for _ in range(7):
    often = signal.convolve(often, w)

figure, axes = plt.subplots(1, 3, figsize=(10, 3.2), layout="constrained")
axes[0].step(range(10), x, where="mid", color="0.6", label="signal x")
axes[0].plot(range(10), y, "o-", color="C0", label="smoothed y")
for n, place in ((4, (-32, 2)), (5, (6, -12)), (9, (6, -12))):
    axes[0].annotate(f"{y[n]:g}", (n, y[n]), place, textcoords="offset points", color="C0")
axes[0].set(title="A step, smoothed", xlabel="n", ylabel="value", xlim=(-0.5, 10.9), ylim=(-0.1, 1.4))
axes[0].legend(loc="upper left", frameon=False)
for ax, taps, name in ((axes[1], w, "The filter w"), (axes[2], often, "Eight of them, convolved")):
    ax.stem(np.arange(len(taps)) - len(taps) // 2, taps, basefmt="0.6")
    ax.set(title=name, xlabel="k", ylabel="weight", xlim=(-8.8, 8.8), ylim=(0, None))
plot.save(figure, PICTURES / "01_convolution_1d.png")

# %% [markdown]
# **The filter slides.** Each frame is one n: the filter above the three samples it sees, the sum in words, and the
# output so far.

# %%
figure, (above, below) = plt.subplots(2, 1, figsize=(6.4, 4.6), layout="constrained", sharex=True)


def frame(n):
    """What there is to see when the filter's middle is at n."""
    for ax in (above, below):
        ax.clear()
        ax.set(xlim=(-1.5, 10.5), ylim=(-0.1, 1.4), xticks=range(10))
    seen = [x[i] if 0 <= i < len(x) else 0.0 for i in (n - 1, n, n + 1)]
    terms = " + ".join(f"{weight:g}·{value:g}" for weight, value in zip(w, seen, strict=True))
    above.bar([n - 1, n, n + 1], w, width=0.9, color="C1", alpha=0.7, label="filter w")
    above.plot(range(10), x, "o", color="0.3", label="signal x")
    above.set(title=f"y[{n}] = {terms} = {y[n]:g}", ylabel="signal and filter")
    above.legend(loc="upper left", frameon=False)
    below.plot(range(10), x, "o", color="0.85")
    below.plot(range(n + 1), y[: n + 1], "o-", color="C0")
    below.plot(n, y[n], "o", color="C1", ms=9)
    below.set(xlabel="n", ylabel="output y")


animation = FuncAnimation(figure, frame, frames=len(x))
animation.save(PICTURES / "01_convolution_1d.gif", writer=PillowWriter(fps=1.5), dpi=80)

# %% [markdown]
"""Backpropagation through a convolution, by hand
==============================================

A convolution is linear, so its gradients are convolutions too. With y = x ⋆ w (cross-correlation) and g the loss's
gradient with respect to y:

- for the filter, ``grad_w = x ⋆ g``: each weight met the pixels of x that are g's places away;
- for the input, ``grad_x = g * w``, a full convolution: each pixel met the filter, flipped.

Here both are done with a pencil on an image of 3 x 3, and then checked in three ways.
"""

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import fastconv.functional as F
from fastconv import nn, plot, signal

PICTURES = Path(globals().get("__file__", "notebook")).parent  # beside this file; in a notebook the current folder
plt.style.use("tableau-colorblind10")
x = np.array([[1.0, 2, 0], [0, 1, 3], [2, 0, 1]])
w = np.array([[1.0, 0], [2, -1]])
target = np.array([[0.0, 1], [2, 0]])

# %% [markdown]
# **Forward.** The first output: 1·1 + 2·0 + 0·2 + 1·(-1) = 0. The loss is half the sum of squared errors, so its
# gradient with respect to y is the error itself.

# %%
y = F.conv2d(x[None, None], w[None, None])[0, 0]
assert y.tolist() == [[0, 1], [4, 0]]
loss = 0.5 * np.square(y - target).sum()
g = y - target
assert (loss, g.tolist()) == (2, [[0, 0], [2, 0]])

# %% [markdown]
# **Backward, with a pencil.** Only one output has an error: y[1, 0] is 2 too large. It was computed as 0·w[0,0] +
# 1·w[0,1] + 2·w[1,0] + 0·w[1,1], so the filter's gradient is 2 · [0, 1; 2, 0]; and as x[1,0]·1 + x[1,1]·0 + x[2,0]·2 +
# x[2,1]·(-1), so the input's is 2 · w, at that place.

# %%
grad_w = signal.correlate2d(x, g, mode="valid")
grad_x = signal.convolve2d(g, w, mode="full")
assert grad_w.tolist() == [[0, 2], [4, 0]]
assert grad_x.tolist() == [[0, 0, 0], [2, 0, 0], [4, -2, 0]]

# %% [markdown]
# **Check 1: the library's gradients**, as functions and as a layer.

# %%
images, filters, grads = (a[None, None] for a in (x, w, g))
assert np.array_equal(F.conv2d_weight_grad(images, filters.shape, grads)[0, 0], grad_w)
assert np.array_equal(F.conv2d_input_grad(images.shape, filters, grads)[0, 0], grad_x)

layer = nn.Conv2d(1, 1, 2, bias=False, dtype=np.float64, rng=0)
layer.weight.data[...] = w
layer(images)
assert np.array_equal(layer.backward(grads)[0, 0], grad_x)
assert np.array_equal(layer.weight.grad[0, 0], grad_w)

# %% [markdown]
# **Check 2: central differences**, the definition of a derivative. Move each number a little to both sides and see what
# the loss does: ``(loss(w + h) - loss(w - h)) / (2 h)``.


# %%
def differences(loss_of, a, h=1e-6):
    """The gradient of a function of a, number by number: one step for each of them."""
    steps = h * np.eye(a.size).reshape(-1, *a.shape)
    return np.array([loss_of(a + s) - loss_of(a - s) for s in steps]).reshape(a.shape) / (2 * h)


def loss_of(x, w):
    """Half the sum of squared errors."""
    return 0.5 * np.square(F.conv2d(x[None, None], w[None, None])[0, 0] - target).sum()


assert np.allclose(differences(lambda w: loss_of(x, w), w), grad_w, atol=1e-8)
assert np.allclose(differences(lambda x: loss_of(x, w), x), grad_x, atol=1e-8)

# %% [markdown]
# **Check 3: the adjoint identity.** For a linear operation three sums are the same number, whatever x, w and g are:
# ``sum of (x ⋆ w) g = sum of x grad_x = sum of w grad_w``. One line, no small h, exact.

# %%
assert (y * g).sum() == (x * grad_x).sum() == (w * grad_w).sum() == 8

# %% [markdown]
# **A step downhill.** With the filter's gradient the loss falls; how far is a matter of the learning rate. Along the
# gradient it is a parabola here: half as long a step as the best one gains less, a step twice as long nothing.

# %%
rates = np.linspace(0, 0.25, 101)
losses = [loss_of(x, w - rate * grad_w) for rate in rates]
best = rates[np.argmin(losses)]
change = F.conv2d(images, grad_w[None, None])  # of y, for a step of 1
assert np.isclose(best, np.square(grad_w).sum() / np.square(change).sum(), atol=0.0025)

figure, axes = plt.subplots(2, 3, figsize=(9, 6), layout="constrained")
names = "x", "filter w", "y = x ⋆ w", "g = y - target", "grad_w = x ⋆ g", "grad_x = g * w"
for ax, name, table in zip(axes.ravel(), names, (x, w, y, g, grad_w, grad_x), strict=True):
    ax.imshow(table, cmap="RdBu_r", vmin=-8, vmax=8)
    for (i, j), value in np.ndenumerate(table):
        ax.text(j, i, f"{value:g}", ha="center", va="center", fontsize=15)
    ax.set(title=name, xticks=[], yticks=[])
figure.suptitle("Forward (above) and backward (below)")
plot.save(figure, PICTURES / "09_backpropagation.png")

figure, ax = plt.subplots(figsize=(5, 3.4), layout="constrained")
ax.plot(rates, losses)
ax.plot(best, min(losses), "o", label=f"the best step: {best:.3f}")
ax.set(title="The loss along the filter's gradient", xlabel="learning rate", ylabel="loss", ylim=(0, None))
ax.legend(frameon=False)
plot.save(figure, PICTURES / "09_step.png")

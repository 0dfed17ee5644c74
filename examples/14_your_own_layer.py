# %% [markdown]
"""Write your own layer, and check its gradient
============================================

A layer is a class with two methods: ``forward`` computes, ``backward`` is its derivative. This one blurs with a
Gaussian whose width it learns, a convolution with a single parameter:

``y = x ⋆ w(σ),  w(σ)[i, j] = exp(-(i² + j²) / (2 σ²)) / (2 π σ²)``

Trained on a picture before and after a blur, it finds out how wide the blur was.
"""

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.cbook import get_sample_data

import fastconv as fc
import fastconv.functional as F
from fastconv import nn, plot

PICTURES = Path(globals().get("__file__", "notebook")).parent  # beside this file; in a notebook the current folder
plt.style.use("tableau-colorblind10")

# %% [markdown]
# **The layer.** What ``backward`` will need, ``forward`` keeps. The chain rule goes through the filter: the filter's
# gradient is known (``conv2d_weight_grad``), and the filter's derivative with respect to σ is
#
# ``dw / dσ = w · ((i² + j²) / σ³ - 2 / σ)``


# %%
class Blur(nn.Module):
    """Cross-correlation with a Gaussian of 23 x 23 taps, the width of which is learnt."""

    def __init__(self, sigma):
        self.sigma = nn.Parameter(np.array(sigma, np.float64))

    def forward(self, x):
        """y of x's shape, (N, 1, H, W)."""
        weight = fc.filters.gaussian_kernel(23, float(self.sigma.data))[None, None]
        self.keep(x, weight)
        return F.conv2d(x, weight, padding="same")

    def backward(self, grad_output):
        """The gradient with respect to x; adds to sigma's."""
        x, weight = self.kept()
        sigma, places = float(self.sigma.data), np.arange(-11, 12)
        squared = np.add.outer(places**2, places**2)
        grad_weight = F.conv2d_weight_grad(x, weight.shape, grad_output, padding="same")
        self.sigma.add_grad(np.array((grad_weight * weight * (squared / sigma**3 - 2 / sigma)).sum()))
        return F.conv2d_input_grad(x.shape, weight, grad_output, padding="same")


# %% [markdown]
# **The gradient check.** Multiply the output with any g and sum: a number, the derivative of which must be what
# ``backward(g)`` says. Central differences tell, for σ and for some pixels of x. In float64, and with h small but not
# tiny: the error has a part that grows like h², and a part like 1e-16 / h.

# %%
rng = np.random.default_rng(0)
x, g = rng.standard_normal((2, 2, 1, 30, 30))
layer = Blur(2.0)
layer(x)
grad_x = layer.backward(g)


def difference(h):
    """The derivative of the sum of y g with respect to sigma, by central differences."""
    return ((Blur(2.0 + h)(x) - Blur(2.0 - h)(x)) * g).sum() / (2 * h)


exact = float(layer.sigma.grad)
assert np.isclose(exact, difference(1e-5), rtol=1e-7)
for place in ((0, 0, 0, 0), (1, 0, 15, 7), (0, 0, 29, 29)):
    step = np.zeros_like(x)
    step[place] = 1e-3  # y is linear in x: any step is right
    assert np.isclose(grad_x[place], ((layer(x + step) - layer(x - step)) * g).sum() / 2e-3)
print(f"backward says {exact:.10f}, central differences {difference(1e-5):.10f}")

# %% [markdown]
# **The training.** A photograph (Commodore Grace Hopper, 1984, U.S. Navy, public domain; it comes with matplotlib), and
# the same blurred with σ = 3.8. The layer starts at 1 and is shown both. An optimizer needs nothing but
# ``parameters()``.

# %%
photo = plt.imread(get_sample_data("grace_hopper.jpg", asfileobj=False))[:256, 150:406, 1] / 255
sharp = photo[None, None] - photo.mean()
blurred = Blur(3.8).eval()(sharp)
layer = Blur(1.0)
trainer = fc.training.Trainer(layer, "mse", fc.optim.Adam(layer.parameters(), lr=0.1))
sigmas, losses = [], []
for _ in range(120):
    sigmas.append(float(layer.sigma.data))
    losses.append(trainer.step(sharp, blurred))
assert abs(sigmas[-1] - 3.8) < 0.02
print(f"after {len(sigmas)} steps sigma is {sigmas[-1]:.3f}")

widths = 10.0 ** np.arange(-10, 0)
errors = [abs(difference(h) / exact - 1) for h in widths]
figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
axes[0].loglog(widths, errors, "o-")
axes[0].set(title="Gradient check", xlabel="h", ylabel="relative error")
axes[1].plot(sigmas)
axes[1].axhline(3.8, color="0.6", ls="--", lw=0.8, label="the blur's true width")
axes[1].set(title="What the layer learns", xlabel="step", ylabel="σ, pixels", ylim=(0, None))
axes[1].legend(frameon=False, loc="lower right")
axes[2].semilogy(losses)
axes[2].set(title="The loss", xlabel="step", ylabel="mean squared error")
plot.save(figure, PICTURES / "14_your_own_layer.png")

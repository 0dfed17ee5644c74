# %% [markdown]
"""Skips ("Saltos"): why deep networks need them
=============================================

A residual block adds its input to what its layers make of it: ``y = branch(x) + x``. So the gradient has a way around
the layers too, ``grad_x = branch's gradient + g``, and it arrives at the first layer however many there are.

Here is one network of 22 layers, with its skips and without, from the very same first weights.
"""

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import fastconv as fc
import fastconv.functional as F
from fastconv import nn, plot

PICTURES = Path(globals().get("__file__", "notebook")).parent  # beside this file; in a notebook the current folder
plt.style.use("tableau-colorblind10")

# %% [markdown]
# **A block by hand.** With all weights 0 the branch gives 0: then the block is the identity, and its gradient is g
# itself. Without the skip nothing comes through, neither forward nor backward.

# %%
x, g = np.array([[[[1.0, -2], [3, 4]]]]), np.array([[[[5.0, 6], [7, 8]]]])
branch = nn.Conv2d(1, 1, 3, padding=1, dtype=np.float64)
branch.weight.data[...] = branch.bias.data[...] = 0
block = nn.Residual(branch)
assert np.array_equal(block(x), x)
assert np.array_equal(block.backward(g), g)
assert not branch(x).any()
assert not branch.backward(g).any()

# %% [markdown]
# **The networks.** A convolution that makes 7 x 7 pixels of 28 x 28, ten blocks of two convolutions, the mean of each
# channel, a linear layer. Taking the skips away is taking each block's branch alone. (The models that fastconv has
# ready, such as ``fc.models.residual_net``, also normalise each batch, which helps both.)


# %%
def network(seed, blocks=10, channels=16):
    """Twenty convolutions in ten residual blocks, between one that makes the image small and a linear layer."""
    rng = np.random.default_rng(seed)
    layers = [nn.Conv2d(1, channels, 5, stride=4, padding=2, rng=rng), nn.ReLU()]
    for _ in range(blocks):
        first, second = (nn.Conv2d(channels, channels, 3, padding=1, rng=rng) for _ in range(2))
        layers += [nn.Residual(nn.Sequential(first, nn.ReLU(), second)), nn.ReLU()]
    return nn.Sequential(*layers, nn.AvgPool2d(7), nn.Flatten(), nn.Linear(channels, 10, rng=rng))


def plain(model):
    """The same layers in a chain, without the skips."""
    return nn.Sequential(*(layer.branch if isinstance(layer, nn.Residual) else layer for layer in model))


models = {"with skips": network(seed=0), "without": plain(network(seed=0))}
weights = [[p.data for p in model.parameters()] for model in models.values()]
assert all(np.array_equal(a, b) for a, b in zip(*weights, strict=True))
print(f"{len(weights[0]) // 2} layers with weights; a block is\n{models['with skips'][2]}")

# %% [markdown]
# **The gradients, before anything is learnt.** How large is the loss's gradient with respect to each layer's weights?
# Along the chain every layer makes it smaller by about the same factor, and what arrives at the first layer is nothing.

# %%
data = fc.datasets.load("mnist5k")  # MNIST's digits, CC BY-SA 3.0
images, labels = data.train.x[:256], data.train.y[:256]
norms = {}
for name, model in models.items():
    model.backward(F.cross_entropy_input_grad(None, model(images), labels))
    gradients = [p.grad for key, p in model.named_parameters() if key.endswith("weight")]
    norms[name] = [float(np.linalg.norm(gradient)) for gradient in gradients]
    model.zero_grad()
    print(f"{name}: the first layer's gradient is {norms[name][0] / norms[name][-1]:.1e} of the last one's")
assert norms["without"][0] < 1e-6 * norms["without"][-1]
assert norms["with skips"][0] > 1e-2 * norms["with skips"][-1]

# %% [markdown]
# **The training.** The chain stays where it began, at a loss of log 10 = 2.303: it says 1/10 to every digit. With the
# skips the same layers learn.

# %%
histories = {}
for name, model in models.items():
    trainer = fc.training.Trainer(model, "cross_entropy", fc.optim.Adam(model.parameters(), lr=3e-3))
    histories[name] = fc.training.fit(trainer, data, epochs=5, batch_size=64, progress=False)
    print(f"{name}: {histories[name][-1]['val_metric']:.1%} of the test digits are right")
assert abs(histories["without"][-1]["loss"] - np.log(10)) < 0.02
assert histories["with skips"][-1]["val_metric"] > 0.8

figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
for (name, norm), colour, marker in zip(norms.items(), ("C0", "C1"), "os", strict=True):
    style = {"color": colour, "marker": marker, "ms": 4, "label": name}
    axes[0].semilogy(range(1, len(norm) + 1), norm, **style)
    axes[1].plot(range(1, 6), [row["loss"] for row in histories[name]], **style)
    axes[2].plot(range(1, 6), [row["val_metric"] for row in histories[name]], **style)
axes[1].axhline(np.log(10), color="0.6", lw=0.8, ls="--", label="log 10: knows nothing")
axes[0].set(title="Gradient of each layer, at the start", xlabel="layer", ylabel="norm", xticks=(1, 6, 11, 16, 22))
axes[1].set(title="Training loss", xlabel="epoch", ylabel="cross-entropy", xticks=range(1, 6), ylim=(0, 2.9))
axes[2].set(title="Test digits that are right", xlabel="epoch", ylabel="accuracy", xticks=range(1, 6), ylim=(0, 1))
for ax in axes:
    ax.legend(frameon=False)
    ax.grid(alpha=0.3)
plot.save(figure, PICTURES / "12_skips.png")

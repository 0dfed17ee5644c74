# %% [markdown]
"""Concatenated layers ("Capas Concatenadas"): the U-Net
=====================================================

An image that goes through pooling and up again has lost its details. Concatenation hands them over: a layer is given
what the deep layers found *and* what there was before, as more channels side by side, ``y = [x, deep(x)]``. Drawn,
the network is a U. Here it takes noise out of digits, with its concatenations and without.
"""

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import fastconv as fc
from fastconv import nn, plot

PICTURES = Path(globals().get("__file__", "notebook")).parent  # beside this file; in a notebook the current folder
plt.style.use("tableau-colorblind10")

# %% [markdown]
# **Forward and backward, by hand.** The channels of all branches, one after another. Backward each branch gets the
# gradient of its own channels; both came from x, so what they return is added.

# %%
x = np.array([[[[1.0, -2]]]])
both = nn.Concat(nn.Identity(), nn.ReLU())
assert both(x).tolist() == [[[[1, -2]], [[1, 0]]]]
assert both.backward(np.array([[[[10.0, 20]], [[1, 2]]]])).tolist() == [[[[10 + 1, 20 + 0]]]]

# %% [markdown]
# **The network.** Down by max pooling, up by transposed convolution. ``beside`` puts x next to what is made of it at
# half the size. Without concatenation only the latter goes on. (``fc.models.unet`` is the same with more channels.)


# %%
def unet(concatenated, seed=0):
    """A U of 8, 16 and 32 channels at 28 x 28, 14 x 14 and 7 x 7 pixels."""
    rng = np.random.default_rng(seed)

    def filters(channels, count):
        return nn.Sequential(nn.Conv2d(channels, count, 3, padding=1, rng=rng, init="he_normal"), nn.ReLU())

    def beside(channels, inner):
        up = nn.ConvTranspose2d(2 * channels, channels, 2, stride=2, rng=rng, init="he_normal")
        half = nn.Sequential(nn.MaxPool2d(2), inner, up)
        return nn.Concat(nn.Identity(), half) if concatenated else half

    given = 2 if concatenated else 1  # as many channels for each that a level has
    lower = nn.Sequential(filters(8, 16), beside(16, filters(16, 32)), filters(given * 16, 16))
    return nn.Sequential(filters(1, 8), beside(8, lower), filters(given * 8, 8), nn.Conv2d(8, 1, 1, rng=rng))


models = {"concatenated": unet(True), "without": unet(False)}
model = models["concatenated"]
print(model.summary((1, 1, 28, 28)))
assert model[1].output_shape((5, 8, 28, 28)) == (5, 16, 28, 28)  # 8 handed over, 8 from below

# %% [markdown]
# **The training**: from images with noise of standard deviation 0.3, a mean squared error of 0.09, to the clean ones.

# %%
digits = fc.datasets.load("mnist5k", normalize="unit")  # MNIST's, CC BY-SA 3.0
data = fc.datasets.denoising(digits, sigma=0.3, seed=0)
noisy, clean = data.test.x, data.test.y
histories, outputs = {}, {}
for name, network in models.items():
    trainer = fc.training.Trainer(network, "mse", fc.optim.Adam(network.parameters(), lr=4e-3))
    histories[name] = fc.training.fit(trainer, data, epochs=4, batch_size=64, progress=False)
    outputs[name] = trainer.predict(noisy)
    print(f"{name}: mean squared error {histories[name][-1]['val_metric']:.4f}")

errors = {name: np.square(output - clean).mean() for name, output in outputs.items()}
assert np.isclose(np.square(noisy - clean).mean(), 0.09, rtol=0.02)
assert errors["concatenated"] < 0.7 * errors["without"]
# %% [markdown]
# **What is seen.** Without the concatenations a stroke is about where it was; with them its edge is where it was.

# %%
chosen = [int(np.flatnonzero(digits.test.y == d)[0]) for d in (2, 3, 4, 5, 6, 8)]
rows = {"noisy": noisy, **outputs, "clean": clean}
figure = plt.figure(figsize=(10.5, 4.2), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=(1.5, 1))
for line, (name, images) in zip(left.subplots(4, 6), rows.items(), strict=True):
    line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    for ax, i in zip(line, chosen, strict=True):
        ax.imshow(images[i, 0], cmap="gray", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[])
left.suptitle("Noise removed by a U-Net")
ax = right.subplots()
for (name, history), marker in zip(histories.items(), "os", strict=True):
    ax.plot(range(1, 5), [row["val_metric"] for row in history], marker=marker, label=name)
ax.set(title="Test images", xlabel="epoch", ylabel="mean squared error", ylim=(0, None), xticks=range(1, 5))
ax.legend(frameon=False)
ax.grid(alpha=0.3)
plot.save(figure, PICTURES / "13_concatenation.png")

# %% [markdown]
# **What each half is for.** Set the last level's weights for the handed-over channels to 0, and see what is left; then
# those for what came from below. The strokes are handed over, and noise with them; what comes from below draws next to
# nothing by itself, but says where there is no stroke.

# %%
weight = model.eval()[2][0].weight.data
parts = {"both": noisy[chosen]}
for name, silenced in (("both", slice(0, 0)), ("from below", slice(0, 8)), ("handed over", slice(8, 16))):
    kept = weight.copy()
    weight[:, silenced] = 0
    parts[name] = model(noisy[chosen])
    weight[...] = kept
assert np.array_equal(parts["both"], model(noisy[chosen]))
figure, axes = plt.subplots(3, 6, figsize=(6.6, 3.5), layout="constrained")
for line, (name, images) in zip(axes, parts.items(), strict=True):
    line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    for ax, image in zip(line, images, strict=True):
        ax.imshow(image[0], cmap="gray", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[])
figure.suptitle("What the last level makes of its two halves")
plot.save(figure, PICTURES / "13_halves.png")

# %% [markdown]
"""The autoencoder: an image as sixteen numbers, and back
======================================================

An encoder makes a digit of 28 x 28 pixels into 16 numbers, its code; a decoder makes the image from them. Nobody says
what the numbers should mean: the only aim is that the image that comes out is the one that went in.

``loss = mean of (decode(encode(x)) - x)²``
"""

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import fastconv as fc
from fastconv import plot

PICTURES = Path(globals().get("__file__", "notebook")).parent  # beside this file; in a notebook the current folder
model = fc.models.autoencoder(latent=16, seed=0)
print(model.summary((1, 1, 28, 28)))
assert model.encoder.output_shape((1, 1, 28, 28)) == (1, 16)
assert model.decoder.output_shape((1, 16)) == (1, 1, 28, 28)

# %% [markdown]
# **The training.** The target is the image itself. What goes in is the image with noise added, new noise each time: so
# the network must know what a digit is like, and learns to clean one at the same time (a *denoising* autoencoder).

# %%
data = fc.datasets.reconstruction(fc.datasets.load("mnist5k", normalize="unit"))  # MNIST's, CC BY-SA 3.0
labels = fc.datasets.load("mnist5k").test.y
trainer = fc.training.Trainer(model, "mse", fc.optim.Adam(model.parameters(), lr=2e-3))
noise = fc.datasets.augment.noise
fc.training.fit(trainer, data, epochs=8, batch_size=64, seed=0, augment=lambda x, rng: noise(x, 0.3, rng))

# %% [markdown]
# **Reconstructions** of digits it has never seen, from 16 numbers each. For comparison, the best that 16 numbers can do
# linearly: principal component analysis, by a singular value decomposition.

# %%
model.eval()
digits = data.test.x
output = model(digits)
error = np.square(output - digits).mean()
flat = data.train.x.reshape(len(data.train), -1)
_, _, components = np.linalg.svd(flat - flat.mean(0), full_matrices=False)
plane = (digits.reshape(-1, 784) - flat.mean(0)) @ components[:16].T
linear = np.square(plane @ components[:16] + flat.mean(0) - digits.reshape(-1, 784)).mean()
print(f"mean squared error: autoencoder {error:.4f}, principal components {linear:.4f}")
assert error < linear
chosen = [int(np.flatnonzero(labels == d)[0]) for d in range(10)]
plot.save(plot.reconstructions(output[chosen, 0], digits[chosen, 0]), PICTURES / "10_reconstructions.png")

# %% [markdown]
# **Denoising.** The same network, given noise of 0.3 (a mean squared error of 0.09) on top.

# %%
noisy = noise(digits, 0.3, rng=1)
cleaned = model(noisy)
assert np.isclose(np.square(noisy - digits).mean(), 0.09, rtol=0.02)
assert np.square(cleaned - digits).mean() < 0.09 / 3
figure = plot.reconstructions(cleaned[chosen, 0], digits[chosen, 0], noisy[chosen, 0], "Noise removed")
plot.save(figure, PICTURES / "10_denoising.png")

# %% [markdown]
# **Emphasising aspects of the input.** Take the code of one digit, move one of its numbers, and decode: each row shows
# what that number stands for, such as slant, width or the weight of the stroke, more of it to the right, less to the
# left.

# %%
codes = model.encode(digits)
deviation = codes.std(0)
steps = np.linspace(-3, 3, 9).round(2)
start = codes[chosen[3]]
moved = start + np.eye(16)[:, None] * deviation * steps[:, None]
decoded = model.decode(moved.reshape(-1, 16).astype(np.float32)).reshape(16, 9, 28, 28)
assert np.allclose(decoded[:, 4], output[chosen[3], 0], atol=1e-4)  # the middle column is the digit as it was
effect = np.square(decoded - decoded[:, 4:5]).mean((1, 2, 3))
most = np.sort(np.argsort(-effect)[:6])
figure = plot.traversal(decoded[most], steps)
figure.suptitle("One number of a 3's code at a time")
for ax, number in zip(figure.axes[::9], most, strict=True):
    ax.set_ylabel(f"{number + 1}", rotation=0, ha="right", va="center")
plot.save(figure, PICTURES / "10_traversal.png")

# %% [markdown]
# **Interpolation.** Halfway between two images lies a double exposure; halfway between their codes lies a digit that
# looks as if someone had written it. (Between codes of one class more so: from one 7 to another.)

# %%
sevens = np.flatnonzero(labels == 7)
pairs = (chosen[1], chosen[7]), (chosen[3], chosen[8]), (sevens[1], sevens[4])
parts = np.linspace(0, 1, 9, dtype=np.float32)
figure, axes = plt.subplots(6, 9, figsize=(8, 5.6), layout="constrained")
for block, (a, b) in zip(np.split(axes, 3), pairs, strict=True):
    between = model.decode(codes[a] + parts[:, None] * (codes[b] - codes[a]))
    faded = digits[a] + parts[:, None, None, None] * (digits[b] - digits[a])
    assert np.allclose(between[0], output[a], atol=1e-4)
    for line, images, name in zip(block, (between, faded), ("codes", "pixels"), strict=True):
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
        for ax, image in zip(line, images, strict=True):
            ax.imshow(image[0], cmap="gray", vmin=0, vmax=1)
            ax.set(xticks=[], yticks=[])
figure.suptitle("From one digit to another: between codes, and between pixels")
plot.save(figure, PICTURES / "10_interpolation.png")

# %% [markdown]
# **The codes** of all test digits, in the plane in which they differ most. Ones and noughts lie apart, though the
# network was never told which is which; the others overlap in this plane, which shows only a part of their sixteen
# directions.

# %%
plot.save(plot.latent_plane(codes, labels, data.classes), PICTURES / "10_codes.png")

# %% [markdown]
"""LeNet learns to read digits
===========================

Two convolutions, each followed by tanh and max pooling, and three fully connected layers: LeCun's network of 1998. It
learns from 4,000 digits (of MNIST, by LeCun, Cortes and Burges, CC BY-SA 3.0; they come with fastconv) and is tested
with 1,000 that it has never seen.
"""

# %%
from pathlib import Path

import numpy as np

import fastconv as fc
import fastconv.functional as F
from fastconv import nn, plot

PICTURES = Path(globals().get("__file__", "notebook")).parent  # beside this file; in a notebook the current folder

# %% [markdown]
# **The network.** Every size follows from the formula (h - k + p + s) // s: 28 stays 28 (k = 3, p = 2), pooling halves
# it to 14, the second convolution makes it 10 (k = 5, p = 0), pooling 5. Most of the parameters are not in the filters,
# but most of the arithmetic is.

# %%
model = fc.models.lenet(seed=0)
print(model.summary((1, 1, 28, 28)))
assert model.output_shape((64, 1, 28, 28)) == (64, 10)
assert model[0].weight.size + model[0].bias.size == 6 * (1 * 3 * 3 + 1)

# %% [markdown]
# **The loss** is the cross-entropy, -log of the probability that the network gives the right digit. One that knows
# nothing gives each digit 1/10: a loss of log 10 = 2.303. That is where a training should begin.

# %%
data = fc.datasets.load("mnist5k")
trainer = fc.training.Trainer(model, "cross_entropy", fc.optim.SGD(model.parameters(), lr=0.02, momentum=0.9))
before = trainer.evaluate(data.test.x, data.test.y)
assert abs(before.loss - np.log(10)) < 0.1

# %% [markdown]
# **The training**: ten times through all images, in an order drawn from the seed, 64 at a time. After each batch every
# weight takes a small step against its gradient, with some momentum.

# %%
history = fc.training.fit(trainer, data, epochs=10, batch_size=64, seed=0)
assert history[-1]["val_metric"] > 0.94
plot.save(plot.curves(history), PICTURES / "08_curves.png")

# %% [markdown]
# **What it has learnt.** The six filters of the first layer, and what they make of a digit. Several weigh one side
# against the other: they answer to edges, each to another direction. Nobody told them to.

# %%
model.eval()
first, image = model[0], data.test.x[3:4]
maps = first(image)
assert np.allclose(maps, F.conv2d(image, first.weight.data, first.bias.data, padding=1))
plot.save(plot.filters(first.weight.data), PICTURES / "08_filters.png")
plot.save(plot.feature_maps(data.pixels(image)[0], np.tanh(maps[0])), PICTURES / "08_feature_maps.png")

# %% [markdown]
# **Where it is wrong.** Which digits are taken for which, and the mistakes that it was surest of. Some of them a person
# would make too.

# %%
logits = trainer.predict(data.test.x)
probabilities = F.softmax(logits, 1)
accuracy = np.mean(logits.argmax(1) == data.test.y)
assert np.isclose(accuracy, history[-1]["val_metric"])
assert np.allclose(probabilities.sum(1), 1, atol=1e-5)
print(f"{accuracy:.1%} of the test digits are right")
plot.save(plot.confusion_matrix(data.test.y, logits.argmax(1), data.classes), PICTURES / "08_confusion.png")
plot.save(
    plot.mistakes(data.pixels(data.test.x), data.test.y, probabilities, data.classes), PICTURES / "08_mistakes.png"
)

# %% [markdown]
# **Without the convolutions.** The three fully connected layers alone, on the pixels, have more parameters and are no
# better: a filter that has learnt an edge in one place knows it in all places.

# %%
rng = np.random.default_rng(0)
flat = nn.Sequential(
    nn.Flatten(),
    nn.Linear(784, 120, rng=rng),
    nn.Tanh(),
    nn.Linear(120, 84, rng=rng),
    nn.Tanh(),
    nn.Linear(84, 10, rng=rng),
)
rival = fc.training.Trainer(flat, "cross_entropy", fc.optim.SGD(flat.parameters(), lr=0.02, momentum=0.9))
without = fc.training.fit(rival, data, epochs=10, batch_size=64, progress=False)[-1]["val_metric"]
sizes = [sum(p.size for p in m.parameters()) for m in (model, flat)]
print(f"LeNet: {accuracy:.1%} with {sizes[0]:,} parameters; without convolutions: {without:.1%} with {sizes[1]:,}")
assert sizes[1] > sizes[0]
assert without < accuracy

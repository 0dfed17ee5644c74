"""Pictures of a training and of what a network has learnt.

Every function takes arrays and returns a matplotlib Figure, which `save` writes; none touches pyplot's global state.
"""

import io
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastconv import files
from fastconv.typing import Array, ArrayLike

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "confusion_matrix",
    "curves",
    "feature_maps",
    "filters",
    "latent_plane",
    "mistakes",
    "reconstructions",
    "save",
    "traversal",
]

COLUMNS = 9  # of small pictures, at most
TRAIN, TEST = "#1f5fa8", "#d1651d"


def save(figure: "Figure", path: str | os.PathLike[str]) -> None:
    """Write a figure, whole or not at all, in the format that the path's ending names; PNG if it has none.

    ValueError if matplotlib does not know the format.
    """
    content = io.BytesIO()
    figure.savefig(content, format=Path(path).suffix[1:] or "png", dpi=120, bbox_inches="tight")
    files.replace(path, content.getvalue())


def curves(history: Sequence[Mapping[str, Any]], metric: str = "accuracy") -> "Figure":
    """Loss and metric against the epoch.

    Parameters
    ----------
    history : sequence of mappings
        The rows that `fit` returns.
    metric : str
        What the metric is called: "accuracy" or "mse".

    Returns
    -------
    Figure

    Raises
    ------
    ImportError
        If matplotlib is not installed; this holds for every function here.

    Examples
    --------
    >>> figure = curves([{"epoch": 1, "loss": 0.5, "val_loss": 0.4, "val_metric": 0.9}])
    >>> [axes.get_title() for axes in figure.axes]
    ['Loss', 'Accuracy']
    """
    epochs = [row["epoch"] for row in history]
    held_out = bool(history) and all(row["val_loss"] is not None for row in history)
    figure = _figure(9.6 if held_out else 5.2, 3.8)
    axes = figure.subplots(1, 2 if held_out else 1, squeeze=False)[0]
    losses = [row["loss"] for row in history]
    axes[0].plot(epochs, losses, "o-", color=TRAIN, ms=4, label="training (mean of the epoch)")
    if held_out:
        line = {"color": TEST, "marker": "s", "ms": 4, "label": "held-out images"}
        axes[0].plot(epochs, [row["val_loss"] for row in history], **line)
        values = np.array([row["val_metric"] for row in history])
        best = int(np.argmax(np.nan_to_num(values if metric == "accuracy" else -values, nan=-np.inf)))
        axes[1].plot(epochs, values, **line)
        note = f"best: {values[best]:.4f}, epoch {epochs[best]}"
        axes[1].axhline(values[best], color="0.6", lw=0.8, ls="--", label=note)
    for ax, name in zip(axes, ("loss", "mean squared error" if metric == "mse" else metric), strict=False):
        ax.set(title=name.capitalize(), xlabel="epoch", ylabel=name)
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.set_xlim(min(epochs, default=1) - 0.5, max(epochs, default=1) + 0.5)
        ax.grid(alpha=0.3)
        ax.legend(frameon=False)
    return figure


def confusion_matrix(labels: ArrayLike, predictions: ArrayLike, classes: Sequence[str]) -> "Figure":
    """How many images of each class were taken for which; the mistakes are what is coloured.

    Parameters
    ----------
    labels, predictions : arrays (N,) of int
        The images' classes, and those that the network gave them.
    classes : sequence of str
        The classes' names.

    Returns
    -------
    Figure
    """
    count = len(classes)
    pairs = np.asarray(labels) * count + np.asarray(predictions)
    table = np.bincount(pairs, minlength=count * count).reshape(count, count)
    wrong = table - np.diag(table.diagonal())
    side = 2.2 + 0.52 * count
    figure = _figure(side + 0.8, side)
    from matplotlib.ticker import MaxNLocator

    ax = figure.subplots()
    image = ax.imshow(wrong, cmap="Oranges", vmin=0, vmax=max(1, int(wrong.max())))
    for i in range(count):
        for j in range(count):
            if table[i, j]:
                shade = "white" if wrong[i, j] > 0.6 * wrong.max() > 0 else "black"
                ax.text(j, i, table[i, j], ha="center", va="center", color=shade, fontsize=8,
                        fontweight="bold" if i == j else "normal")  # fmt: skip
    turned = max(map(len, classes), default=0) > 3
    ax.set_xticks(range(count), classes, rotation=45 if turned else 0, ha="right" if turned else "center")
    ax.set_yticks(range(count), classes)
    right, total = int(table.trace()), int(table.sum())
    ax.set(title=f"Confusion matrix: {right} of {total} right", xlabel="network says", ylabel="true class")
    figure.colorbar(image, ax=ax, label="mistakes", shrink=0.8, ticks=MaxNLocator(integer=True))
    return figure


def filters(weight: ArrayLike, title: str = "Filters of the first layer") -> "Figure":
    """The filters of a convolution, each input channel of each filter a picture: blue negative, red positive.

    Parameters
    ----------
    weight : array (O, C, R, S)
    title : str

    Returns
    -------
    Figure
    """
    images = np.asarray(weight)
    tiles = images.reshape(-1, *images.shape[2:])
    most = float(abs(tiles).max()) or 1.0
    names = [f"filter {i // images.shape[1] + 1}" for i in range(len(tiles))]
    figure, axes = _grid(len(tiles), title, extra=0.9)
    drawn = [ax.imshow(tile, cmap="RdBu_r", vmin=-most, vmax=most) for ax, tile in zip(axes, tiles, strict=False)]
    _named(axes, names)
    figure.colorbar(drawn[0], ax=axes, label="weight", shrink=0.8)
    return figure


def feature_maps(image: ArrayLike, maps: ArrayLike, title: str = "Feature maps of the first layer") -> "Figure":
    """An image, and what each filter of a layer makes of it.

    Parameters
    ----------
    image : array (H, W)
    maps : array (C, P, Q)
        A layer's output for this image.
    title : str

    Returns
    -------
    Figure
    """
    channels = np.asarray(maps)
    most = float(abs(channels).max()) or 1.0
    figure, axes = _grid(len(channels) + 1, title, extra=0.9)
    axes[0].imshow(np.asarray(image), cmap="gray")
    for ax, channel in zip(axes[1:], channels, strict=False):
        drawn = ax.imshow(channel, cmap="RdBu_r", vmin=-most, vmax=most)
    _named(axes, ["image", *[f"map {i + 1}" for i in range(len(channels))]])
    figure.colorbar(drawn, ax=axes, label="activation", shrink=0.8)
    return figure


def mistakes(
    images: ArrayLike, labels: ArrayLike, probabilities: ArrayLike, classes: Sequence[str], count: int = 24
) -> "Figure":
    """The images that were taken for a wrong class most surely.

    Parameters
    ----------
    images : array (N, H, W)
    labels : array (N,) of int
    probabilities : array (N, K)
        What the network gives each class.
    classes : sequence of str
        The K classes' names.
    count : int
        How many are shown at most.

    Returns
    -------
    Figure
    """
    pixels, targets, given = np.asarray(images), np.asarray(labels), np.asarray(probabilities)
    said = given.argmax(1)
    wrong = np.flatnonzero(said != targets)
    worst = wrong[np.argsort(-given[wrong, said[wrong]], kind="stable")][:count]
    title = f"Worst mistakes: {len(worst)} of {len(wrong)}, the surest first" if len(wrong) else "No mistakes"
    long = max(map(len, classes), default=0) > 3
    between = "\nas " if long else " as "
    figure, axes = _grid(max(1, len(worst)), title, extra=0.0, caption=0.58 if long else 0.42)
    for ax, i in zip(axes, worst, strict=False):
        ax.imshow(pixels[i], cmap="gray_r", vmin=0, vmax=1)
        ax.set_title(f"{classes[targets[i]]}{between}{classes[said[i]]}\n{given[i, said[i]]:.0%}", fontsize=8)
    return figure


def reconstructions(
    outputs: ArrayLike, targets: ArrayLike, noisy: ArrayLike | None = None, title: str = "Reconstructions"
) -> "Figure":
    """Images, what a network makes of them, and the difference, one below the other.

    Parameters
    ----------
    outputs : array (N, H, W)
        What the network gave.
    targets : array (N, H, W)
        What it should give.
    noisy : array (N, H, W), optional
        What it was given, if that is not the target.
    title : str

    Returns
    -------
    Figure
    """
    given, wanted = np.asarray(outputs), np.asarray(targets)
    rows = [("noisy input", np.asarray(noisy))] if noisy is not None else []
    rows += [("clean" if noisy is not None else "input", wanted), ("output", given)]
    differences = given - wanted
    count = len(given)
    figure = _figure(1.2 + 0.95 * count, 0.5 + 0.95 * (len(rows) + 1))
    axes = figure.subplots(len(rows) + 1, count, squeeze=False)
    for line, (name, images) in zip(axes, rows, strict=False):
        for ax, image in zip(line, images, strict=True):
            ax.imshow(image, cmap="gray", vmin=0, vmax=1)
        _row_name(line[0], name)
    for ax, difference in zip(axes[-1], differences, strict=True):
        ax.imshow(difference, cmap="RdBu_r", vmin=-1, vmax=1)
    _row_name(axes[-1][0], "output minus\n" + rows[-2][0])
    _bare(axes.ravel())
    error = float(np.square(differences).mean())
    figure.suptitle(f"{title}: mean squared error of these {count}: {error:.4f}")
    return figure


def latent_plane(codes: ArrayLike, labels: ArrayLike, classes: Sequence[str]) -> "Figure":
    """The codes of images in the plane of their first two principal components, coloured by class.

    Parameters
    ----------
    codes : array (N, L)
        What the encoder gives.
    labels : array (N,) of int
        The images' classes.
    classes : sequence of str
        The classes' names.

    Returns
    -------
    Figure
    """
    points, kinds = np.asarray(codes, np.float64), np.asarray(labels)
    centred = points - points.mean(0)
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    plane = centred @ directions[:2].T
    if plane.shape[1] == 1:
        plane = np.column_stack([plane, np.zeros(len(plane))])
    shares = np.append(sizes**2, 0.0) / (float((sizes**2).sum()) or 1.0)
    figure = _figure(7.2, 5.6)
    ax = figure.subplots()
    from matplotlib import colormaps

    colours = colormaps["tab10" if len(classes) <= 10 else "tab20"]
    for i, name in enumerate(classes):
        members, colour = plane[kinds == i], colours(i % colours.N)
        ax.scatter(members[:, 0], members[:, 1], s=12, alpha=0.6, color=colour, label=name, linewidths=0)
    for i in np.unique(kinds):
        across, up = np.median(plane[kinds == i], 0)
        ax.scatter(across, up, s=110, color=colours(i % colours.N), edgecolors="black", linewidths=1.2, zorder=3)
    ax.set(
        title=f"The codes of {len(points)} images, {points.shape[1]} numbers each",
        xlabel=f"first principal component ({shares[0]:.0%} of the variance)",
        ylabel=f"second principal component ({shares[1]:.0%})",
    )
    ax.legend(
        title="class\n(large: median)",
        alignment="left",
        markerscale=2,
        frameon=False,
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
    )
    ax.grid(alpha=0.3)
    return figure


def traversal(images: ArrayLike, steps: ArrayLike) -> "Figure":
    """What the decoder makes of codes that differ in one number: a row for each of them.

    Parameters
    ----------
    images : array (L, T, H, W)
        The decoded images: row i has the codes with another number i.
    steps : array (T,)
        What was added to that number, in standard deviations.

    Returns
    -------
    Figure
    """
    pictures, moved = np.asarray(images), np.asarray(steps)
    height, width = pictures.shape[:2]
    figure = _figure(1.6 + 0.62 * width, 0.9 + 0.62 * height)
    axes = figure.subplots(height, width, squeeze=False)
    for i, line in enumerate(axes):
        for ax, picture in zip(line, pictures[i], strict=True):
            ax.imshow(picture, cmap="gray", vmin=0, vmax=1)
        _row_name(line[0], f"{i + 1}")
    for ax, step in zip(axes[0], moved, strict=True):
        ax.set_title(f"{step:+g} sd" if step else "0", fontsize=8)
    _bare(axes.ravel())
    figure.suptitle("Traversal of the latent space from its mean code")
    figure.supylabel("number of the code")
    return figure


def _figure(width: float, height: float) -> "Figure":
    """An empty figure with a canvas of its own."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError('pictures need matplotlib: pip install "fastconv[app]"') from None
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _grid(count: int, title: str, extra: float, caption: float = 0.25) -> tuple["Figure", Array]:
    """A figure with at least `count` small pictures, the surplus ones empty."""
    rows = math.ceil(count / COLUMNS)
    columns = math.ceil(count / rows)
    figure = _figure(max(4.6, 1.05 * columns + extra), 0.5 + (1.05 + caption) * rows)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    _bare(axes)
    for ax in axes[count:]:
        ax.set_axis_off()
    figure.suptitle(title)
    return figure, axes


def _bare(axes: Array) -> None:
    """No ticks: these are pictures."""
    for ax in axes:
        ax.set(xticks=[], yticks=[])


def _named(axes: Array, names: Sequence[str]) -> None:
    """A name above each picture."""
    for ax, name in zip(axes, names, strict=False):
        ax.set_title(name, fontsize=8)


def _row_name(ax: Any, name: str) -> None:
    """A name to the left of a row."""
    ax.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)

import sys

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from fastconv import plot

CLASSES = tuple("0123456789")


def history(count=3, held_out=True):
    return [
        {
            "epoch": i + 1,
            "loss": 1 / (i + 1),
            "val_loss": 2 / (i + 1) if held_out else None,
            "val_metric": 1 - 1 / (i + 2) if held_out else None,
        }
        for i in range(count)
    ]


def texts(figure):
    """All that is written in a figure."""
    figure.canvas.draw()
    return "\n".join(text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")))


def figures():
    rng = np.random.default_rng(0)
    labels = np.arange(30) % 10
    images = rng.random((30, 28, 28))
    return {
        "curves": plot.curves(history()),
        "one epoch": plot.curves(history(1), "mse"),
        "no validation": plot.curves(history(held_out=False)),
        "not a number": plot.curves([{"epoch": 1, "loss": np.nan, "val_loss": np.nan, "val_metric": np.nan}]),
        "confusion": plot.confusion_matrix(labels, (labels + (labels == 3)) % 10, CLASSES),
        "all right": plot.confusion_matrix(labels, labels, [f"class {c}" for c in CLASSES]),
        "filters": plot.filters(rng.standard_normal((6, 1, 5, 5))),
        "many filters": plot.filters(rng.standard_normal((16, 3, 3, 3))),
        "feature maps": plot.feature_maps(images[0], rng.standard_normal((16, 28, 28))),
        "mistakes": plot.mistakes(images, labels, rng.random((30, 10)), CLASSES),
        "no mistakes": plot.mistakes(images, labels, np.eye(10)[labels], CLASSES),
        "reconstructions": plot.reconstructions(images[:5], images[5:10]),
        "denoising": plot.reconstructions(images[:5], images[5:10], images[10:15], "Noise removed"),
        "latent": plot.latent_plane(rng.standard_normal((30, 16)), labels, CLASSES),
        "latent of one number": plot.latent_plane(rng.standard_normal((30, 1)), labels, CLASSES),
        "traversal": plot.traversal(rng.random((4, 5, 28, 28)), np.linspace(-2, 2, 5)),
    }


FIGURES = figures()


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_drawn_and_saved(name, tmp_path):
    path = tmp_path / "a.png"
    plot.save(FIGURES[name], path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("curves", ["Loss", "Accuracy", "epoch", "held-out images", "best: 0.7500, epoch 3"]),
        ("one epoch", ["Mean squared error", "best: 0.5000, epoch 1"]),
        ("confusion", ["Confusion matrix: 27 of 30 right", "true class", "network says", "mistakes"]),
        ("mistakes", ["Worst mistakes: 24 of", "the surest first"]),
        ("no mistakes", ["No mistakes"]),
        ("filters", ["filter 6", "weight"]),
        ("feature maps", ["image", "map 16", "activation"]),
        ("reconstructions", ["input", "output", "mean squared error of these 5"]),
        ("denoising", ["noisy input", "clean", "Noise removed"]),
        ("latent", ["first principal component", "class", "16 numbers each"]),
        ("traversal", ["+2 sd", "Traversal"]),
    ],
)
def test_what_a_figure_says(name, expected):
    said = texts(FIGURES[name])
    for part in expected:
        assert part in said


def test_the_worst_mistakes_come_first():
    labels = np.array([0, 1, 2])
    given = np.array([[0.1, 0.9, 0.0], [0.7, 0.3, 0.0], [0.0, 0.2, 0.8]])
    figure = plot.mistakes(np.zeros((3, 4, 4)), labels, given, ("a", "b", "c"))
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == ["a as b\n90%", "b as a\n70%"]


def test_the_plane_is_that_of_the_principal_components():
    rng = np.random.default_rng(0)
    codes = rng.standard_normal((200, 5)) * [1, 10, 1, 5, 1]
    figure = plot.latent_plane(codes, np.zeros(200, int), ("all",))
    points = figure.axes[0].collections[0].get_offsets()
    np.testing.assert_allclose(np.cov(points.T)[0, 1], 0, atol=1e-10)  # components do not correlate
    values = np.sort(np.linalg.eigvalsh(np.cov(codes.T)))
    np.testing.assert_allclose(points.var(0, ddof=1), values[[-1, -2]])


def test_no_global_state_is_touched():
    import matplotlib

    backend = matplotlib.get_backend(auto_select=False)
    before = set(sys.modules)
    plot.curves(history())
    assert "matplotlib.pyplot" not in set(sys.modules) - before
    assert matplotlib.get_backend(auto_select=False) == backend


def test_a_full_disk_leaves_the_old_picture(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        plot.save(FIGURES["curves"], path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    with pytest.raises(ImportError, match=r'pip install "fastconv\[app\]"'):
        plot.curves(history())

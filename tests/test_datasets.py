import gzip
import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest
from idx_files import idx, write

from fastconv import datasets
from fastconv.datasets import Split, sources
from fastconv.datasets.idx import read_idx
from fastconv.datasets.sources import FILES


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """No folder has any set, and there is no network."""
    pooch = pytest.importorskip("pooch")
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.delenv("FASTCONV_DATA", raising=False)
    monkeypatch.setattr(sources, "_bases", lambda: [empty])

    def retrieve(url, known_hash, fname, path):
        raise ConnectionError("no network")

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    return empty


def test_the_embedded_digits_are_split_evenly():
    data = datasets.load("mnist5k")
    assert (data.train.x.shape, data.train.x.dtype) == ((4000, 1, 28, 28), np.float32)
    assert (data.test.y.shape, data.test.y.dtype) == ((1000,), np.int64)
    np.testing.assert_array_equal(np.bincount(data.train.y), [400] * 10)
    np.testing.assert_array_equal(np.bincount(data.test.y), [100] * 10)
    assert data.classes == tuple("0123456789")
    assert len(data.train) == 4000


def test_pixels_are_normalised_as_asked():
    raw = datasets.load("mnist5k", normalize=None)
    unit = datasets.load("mnist5k", normalize="unit")
    standard = datasets.load("mnist5k")
    pixels = raw.train.x / 255
    assert raw.train.x.dtype == np.uint8
    np.testing.assert_allclose(unit.train.x, pixels, rtol=1e-7)  # rounded to float32
    assert (standard.mean, standard.std) == pytest.approx((pixels.mean(), pixels.std()), rel=1e-12)
    np.testing.assert_allclose(standard.train.x, (pixels - pixels.mean()) / pixels.std(), rtol=1e-5, atol=1e-7)
    for data in (raw, unit, standard):
        np.testing.assert_allclose(data.pixels(data.test.x), raw.test.x[:, 0] / 255, atol=1e-6)


def test_the_embedded_digits_keep_their_attribution():
    text = (Path(sources.__file__).parent / "ATTRIBUTION.md").read_text(encoding="utf-8")
    assert "CC BY-SA 3.0" in text
    assert "LeCun" in text


@pytest.mark.parametrize("packed", [False, True])
def test_a_folder_is_loaded_by_its_path(tmp_path, packed):
    arrays = write(tmp_path, packed=packed, classes=3)
    data = datasets.load(tmp_path, normalize=None)
    np.testing.assert_array_equal(data.train.x[:, 0], arrays[FILES[0]])
    np.testing.assert_array_equal(data.test.y, arrays[FILES[3]])
    assert data.classes == ("0", "1", "2")
    assert datasets.load(str(tmp_path)).train.x.dtype == np.float32


def test_reading_idx_by_hand(tmp_path):
    path = tmp_path / "images"
    path.write_bytes(bytes([0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6]))
    np.testing.assert_array_equal(read_idx(path), [[[1, 2, 3], [4, 5, 6]]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not an IDX file of bytes: it begins with nothing"),
        (b"\0\0\x0d\x01\0\0\0\0", "begins with 00000d01"),
        (b"\0\0\x08\x03\0\0\0\x01", "is not an IDX file"),
        (b"\0\0\x08\x01\0\0\0\x05abc", r"is truncated or altered: its header says \(5,\), 13 bytes, it has 11"),
        (b"\0\0\x08\x01\0\0\0\x02abc", "is truncated or altered"),
        (b"\0\0\x08\x01\xff\xff\xff\xffabc", "is truncated or altered"),
        (gzip.compress(idx(np.zeros(9)), mtime=0)[:-9], "truncated or altered, gzip says"),
        (gzip.compress(idx(np.zeros(9)), mtime=0)[:-8] + bytes(8), "truncated or altered, gzip says"),
        (b"\x1f\x8bnot gzip", "truncated or altered, gzip says"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, content, message):
    path = tmp_path / "labels"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"labels.* {message}|labels is {message}"):
        read_idx(path)


def test_every_truncation_is_noticed(tmp_path):
    for content in (idx(np.arange(12).reshape(2, 3, 2)), gzip.compress(idx(np.arange(30)), mtime=0)):
        for length in range(len(content)):
            (tmp_path / "file").write_bytes(content[:length])
            with pytest.raises(ValueError, match=r"truncated or altered|not an IDX file"):
                read_idx(tmp_path / "file")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {0: np.zeros((3, 4, 4))},
            r"train-images-idx3-ubyte has 3 images of \(4, 4\) pixels, .* 20 labels: as many of",
        ),
        ({2: np.zeros((10, 4, 5))}, r"images of \(28, 28\) pixels, .*t10k-images.* of \(4, 5\): one size is accepted"),
        ({3: np.full(10, 11)}, "t10k-labels-idx1-ubyte has the label 11: those of .* below 10, are accepted"),
        ({0: np.zeros((20, 28))}, r"train-images-idx3-ubyte has 2 axes, shape \(20, 28\): 3 are accepted"),
        ({0: np.zeros((0, 28, 28)), 1: np.zeros(0)}, "as many of both are accepted, at least 1"),
    ],
)
def test_files_that_do_not_fit_each_other(tmp_path, changes, message):
    write(tmp_path)
    for index, array in changes.items():
        (tmp_path / FILES[index]).write_bytes(idx(array))
    with pytest.raises(ValueError, match=message):
        datasets.load(tmp_path)


def test_a_file_that_is_missing_from_a_folder(tmp_path):
    write(tmp_path)
    (tmp_path / FILES[1]).unlink()
    with pytest.raises(
        FileNotFoundError, match=r"train-labels-idx1-ubyte .*none of the folders .*: put it there, or set"
    ):
        datasets.load(tmp_path)


def test_a_published_set_must_be_what_was_published(tmp_path, nowhere):
    write(tmp_path)
    with pytest.raises(
        ValueError, match=r"train-images-idx3-ubyte is not the published file: the md5 .* load the folder"
    ):
        datasets.load("mnist", folder=tmp_path)


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A published set that is small: its folder, below tmp_path, and its checksums."""
    folder = tmp_path / "somewhere" / "fashion-mnist"
    folder.mkdir(parents=True)
    write(folder, packed=True)
    unpacked = [gzip.decompress((folder / f"{name}.gz").read_bytes()) for name in FILES]
    checksums = tuple(hashlib.md5(content).hexdigest() for content in unpacked)
    published = sources.Published("http://nowhere/", sources.CLOTHES, checksums, checksums)
    monkeypatch.setitem(sources.PUBLISHED, "fashion-mnist", published)
    return folder


@pytest.mark.parametrize("below", [False, True])
def test_a_published_set_from_a_folder(small, nowhere, below):
    data = datasets.load("fashion-mnist", folder=small.parent if below else small)
    assert data.name == "fashion-mnist"
    assert data.classes[9] == "Ankle boot"


@pytest.mark.parametrize("below", [False, True])
def test_a_published_set_from_the_environment(small, monkeypatch, below):
    monkeypatch.setenv("FASTCONV_DATA", str(small.parent if below else small))
    assert len(datasets.load("fashion-mnist").train) == 20


def test_a_published_set_from_the_share_of_the_system(small, monkeypatch, tmp_path):
    monkeypatch.delenv("FASTCONV_DATA", raising=False)
    share = tmp_path / "prefix" / "share"
    share.mkdir(parents=True)
    small.parent.rename(share / "datasets")
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "prefix"))
    assert len(datasets.load("fashion-mnist").train) == 20


def test_a_published_set_from_the_network(small, nowhere, monkeypatch):
    import pooch

    asked = []

    def retrieve(url, known_hash, fname, path):
        asked.append((url, known_hash))
        return str(small / fname)

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    assert len(datasets.load("fashion-mnist").train) == 20
    assert [url for url, _ in asked] == [f"http://nowhere/{name}.gz" for name in FILES]
    assert all(known.startswith("md5:") for _, known in asked)


def test_no_network_says_what_to_do(nowhere):
    expected = r"train-images-idx3-ubyte .*none of the folders .*set FASTCONV_DATA .*can't be downloaded .*no network"
    with pytest.raises(FileNotFoundError, match=expected):
        datasets.load("mnist")


def test_a_named_folder_is_the_only_one_that_is_looked_in(nowhere, small, tmp_path, monkeypatch):
    monkeypatch.setenv("FASTCONV_DATA", str(small))
    (tmp_path / "bare").mkdir()
    with pytest.raises(FileNotFoundError, match=r"none of the folders .*bare, .*bare"):
        datasets.load("fashion-mnist", folder=tmp_path / "bare")


def test_without_pooch_the_extra_is_named(nowhere, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ImportError, match=r'pip install "fastconv\[app\]"'):
        datasets.load("mnist")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: datasets.load("mnits"), "name is 'mnits': mnist5k, mnist, fashion-mnist are accepted, or the path"),
        (lambda: datasets.load("mnist5k", normalize="half"), "normalize is 'half': 'standard', 'unit' and None"),
        (lambda: Split(np.zeros((3, 1, 2, 2)), np.zeros(2)), "x has 3 images, y 2 targets"),
    ],
)
def test_bad_arguments_are_told(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_targets_of_reconstruction_are_the_images():
    data = datasets.reconstruction(datasets.load("mnist5k", normalize="unit"))
    assert data.train.y is data.train.x
    assert data.test.y is data.test.x


def test_denoising_adds_noise_to_the_images_and_keeps_them_as_targets():
    clean = datasets.load("mnist5k", normalize="unit")
    one, two = datasets.denoising(clean, 0.3, seed=1), datasets.denoising(clean, 0.3, seed=1)
    np.testing.assert_array_equal(one.train.x, two.train.x)
    assert one.train.y is clean.train.x
    assert one.train.x.dtype == np.float32
    error = np.square(one.test.x - one.test.y, dtype=np.float64).mean()
    assert abs(error - 0.09) < 0.001  # five standard errors of 784,000 draws
    assert (one.train.x[:1000] - one.train.y[:1000] != one.test.x - one.test.y).any()


def test_denoising_wants_floats():
    with pytest.raises(TypeError, match="x is uint8: float32"):
        datasets.denoising(datasets.load("mnist5k", normalize=None), 0.3)


@pytest.mark.skipif(not Path("/usr/share/datasets/fashion-mnist").is_dir(), reason="the system has no Fashion-MNIST")
def test_the_whole_fashion_mnist_of_the_system():
    data = datasets.load("fashion-mnist", folder="/usr/share/datasets", normalize=None)
    assert (len(data.train), len(data.test)) == (60000, 10000)
    np.testing.assert_array_equal(np.bincount(data.test.y), [1000] * 10)

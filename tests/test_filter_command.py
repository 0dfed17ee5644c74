"""`fastconv filter`: what it writes is what SciPy computes, and what is wrong is told in one line."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import ndimage

from fastconv import filters, photo
from fastconv.cli import main

Image = pytest.importorskip("PIL.Image")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with pictures of all kinds and some kernels."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(4)
    for name, shape in (("grey", (31, 40)), ("alpha", (31, 40, 2)), ("rgb", (31, 40, 3)), ("rgba", (31, 40, 4))):
        Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(f"{name}.png")
    Image.fromarray(rng.integers(0, 65536, (31, 40), np.uint16)).save("deep.png")
    Path("k.csv").write_text("1, 2, -1\n\n0.5,-3,0\n", encoding="utf-8")
    Path("uneven.csv").write_text("1,2\n3\n", encoding="utf-8")
    Path("words.csv").write_text("1,2\n3,four\n", encoding="utf-8")
    Path("nan.csv").write_text("1,nan\n", encoding="utf-8")
    Path("empty.csv").write_text("\n", encoding="utf-8")
    return tmp_path


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def run(arguments):
    assert main(["filter", *arguments.split()]) == 0


def expected(image, change):
    """Every channel but alpha changed in float64, then rounded and cut off."""
    channels = image.reshape(*image.shape[:2], -1).astype(np.float64)
    for k in range(channels.shape[2] - (channels.shape[2] in (2, 4))):
        channels[..., k] = np.clip(np.rint(change(channels[..., k])), 0, np.iinfo(image.dtype).max)
    return channels.reshape(image.shape).astype(image.dtype)


GAUSSIAN = filters.gaussian_kernel(23, 3.8, normalize=True)
SIXTH = filters.gaussian_kernel(5, 5 / 6, normalize=True)
OWN = np.array([[1, 2, -1], [0.5, -3, 0]])
CASES = {
    "--gaussian 23 --sigma 3.8": lambda x: ndimage.convolve(x, GAUSSIAN),
    "--gaussian 5 --mode wrap": lambda x: ndimage.convolve(x, SIXTH, mode="wrap"),
    "--box 3 --mode constant": lambda x: ndimage.uniform_filter(x, 3, mode="constant"),
    "--box 4 --mode nearest": lambda x: ndimage.convolve(x, np.full((4, 4), 1 / 16), mode="nearest"),
    "--sobel --mode mirror": lambda x: np.hypot(*(ndimage.sobel(x, axis, mode="mirror") for axis in (0, 1))) / 4,
    "--laplace": lambda x: np.abs(ndimage.laplace(x)),
    "--kernel k.csv": lambda x: ndimage.convolve(x, OWN),
}


@pytest.mark.parametrize("name", ["grey", "alpha", "rgb", "rgba", "deep"])
@pytest.mark.parametrize("options", CASES)
def test_the_result_is_scipys(folder, backend, options, name):
    run(f"{name}.png {options} -o out.png")
    image, found = pixels(f"{name}.png"), pixels("out.png")
    assert found.dtype == image.dtype
    # A sum that lies right between two numbers may be rounded to either.
    difference = np.abs(found.astype(int) - expected(image, CASES[options]))
    assert difference.max() <= 1
    assert difference.mean() < 0.01


def test_an_edge_from_black_to_white_is_white(folder):
    step = np.zeros((9, 10), np.uint8)
    step[:, 5:] = 255
    Image.fromarray(step).save("step.png")
    run("step.png --sobel")
    white = np.zeros((9, 10), np.uint8)
    white[:, 4:6] = 255
    assert_array_equal(pixels("step-filtered.png"), white)


def test_the_filter_is_flipped(folder):
    point = np.zeros((5, 5), np.uint8)
    point[2, 2] = 10
    Image.fromarray(point).save("point.png")
    Path("k.csv").write_text("1,2,3\n4,5,6\n7,8,9\n", encoding="utf-8")
    run("point.png --kernel k.csv --output out.png")
    assert_array_equal(pixels("out.png")[1:4, 1:4], [[10, 20, 30], [40, 50, 60], [70, 80, 90]])


def test_the_result_goes_beside_the_picture_or_where_it_is_told(folder, capsys):
    run("grey.png --box 3")
    assert capsys.readouterr().out == "the filtered picture is grey-filtered.png\n"
    before = pixels("grey-filtered.png")
    run("grey.png --box 5")  # what was there is replaced
    assert (pixels("grey-filtered.png") != before).any()
    Path("sub").mkdir()
    run("rgb.png --sobel -o sub/out.jpg")
    assert pixels("sub/out.jpg").shape == (31, 40, 3)
    run("sub/out.jpg --laplace")
    assert Path("sub/out-filtered.png").exists()


def test_pictures_of_other_kinds_are_taken_or_refused(folder):
    grey = Image.open("grey.png")
    grey.convert("1").save("bits.png")
    grey.convert("P").save("palette.png")
    Image.open("rgba.png").convert("P").save("transparent.png", transparency=0)
    Image.open("rgb.png").convert("CMYK").save("cmyk.tif")
    for name, shape in (("bits", (31, 40)), ("palette", (31, 40, 3)), ("transparent", (31, 40, 4))):
        run(f"{name}.png --box 1 -o out.png")
        assert pixels("out.png").shape == shape
    assert_array_equal(np.unique(pixels("bits.png")), [False, True])
    run("bits.png --box 1 -o out.png")
    assert_array_equal(np.unique(pixels("out.png")), [0, 255])
    assert main(["filter", "cmyk.tif", "--box", "3"]) == 2


def test_a_picture_comes_out_the_right_way_up_and_with_its_profile(folder):
    turned = Image.open("rgb.png")
    exif = turned.getexif()
    exif[0x0112] = 6  # to be seen after a quarter turn clockwise
    turned.save("turned.png", exif=exif, icc_profile=b"a profile")
    run("turned.png --box 1 -o out.png")
    assert_array_equal(pixels("out.png"), np.rot90(pixels("rgb.png"), -1))
    with Image.open("out.png") as picture:
        assert picture.info["icc_profile"] == b"a profile"
        assert 0x0112 not in picture.getexif()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "the following arguments are required: picture"),
        ("grey.png", "one of the arguments --gaussian --box --sobel --laplace --kernel is required"),
        ("grey.png --sobel --laplace", "--laplace: not allowed with argument --sobel"),
        ("grey.png --gaussian 0", "--gaussian: '0': an integer of at least 1 is accepted"),
        ("grey.png --gaussian 5 --sigma -1", "--sigma: '-1': a number above 0 is accepted"),
        ("grey.png --box 5 --sigma 1", "--sigma is the Gaussian's: it is accepted with --gaussian"),
        ("grey.png --sobel --mode zero", "--mode: invalid choice: 'zero'"),
        ("nowhere.png --sobel", "No such file.*nowhere.png"),
        ("k.csv --sobel", "k.csv is no picture that Pillow reads"),
        ("half.png --sobel", "half.png is no picture that Pillow reads"),
        ("float.tif --sobel", "float.tif has the mode F: grey and RGB"),
        ("wide.tif --sobel", "wide.tif has pixels of 32 bits: 8 and 16 bits are accepted"),
        ("grey.png --kernel nowhere.csv", "No such file.*nowhere.csv"),
        ("grey.png --kernel grey.png", "grey.png is no text: rows of numbers"),
        ("grey.png --kernel uneven.csv", "uneven.csv, line 2 has 1 numbers: 2 are accepted"),
        ("grey.png --kernel words.csv", "words.csv, line 2: '3,four': numbers with commas"),
        ("grey.png --kernel nan.csv", "nan.csv, line 1: '1,nan': finite numbers"),
        ("grey.png --kernel empty.csv", "empty.csv is empty: rows of numbers"),
        ("grey.png --sobel -o grey.png", "grey.png is the picture itself: another file is accepted"),
        ("grey.png --sobel -o ./sub/../grey.png", "is the picture itself"),
        ("grey.png --sobel -o out.xyz", "out.xyz ends with '.xyz': an ending of a format"),
        ("grey.png --sobel -o out", "out ends with '': an ending of a format"),
        ("rgba.png --sobel -o out.jpg", "out.jpg can't hold the picture: .*RGBA.*; .png can"),
        ("grey.png --sobel -o nowhere/out.png", "No such file"),
    ],
)
def test_wrong_arguments_are_one_line_and_status_2(folder, capsys, arguments, message):
    Path("sub").mkdir()
    Path("half.png").write_bytes(Path("rgb.png").read_bytes()[:2000])
    Image.fromarray(np.ones((3, 4), np.float32)).save("float.tif")
    Image.fromarray(np.full((3, 4), 70000, np.int32)).save("wide.tif")
    kept = Path("grey.png").read_bytes()
    assert main(["filter", *arguments.split()]) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert re.search(message, said)
    assert Path("grey.png").read_bytes() == kept
    assert not list(Path().glob("out*"))


def test_without_pillow_the_extra_is_named(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert main(["filter", "grey.png", "--sobel"]) == 1
    assert 'fastconv filter needs Pillow: pip install "fastconv[app]"' in capsys.readouterr().err


def test_large_pictures_are_no_attack(folder, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    run("grey.png --box 3")
    assert Image.MAX_IMAGE_PIXELS == 100


def test_filtered_leaves_its_input_alone(backend):
    image = np.random.default_rng(1).integers(0, 256, (8, 9, 3), np.uint8)
    before = image.copy()
    image.flags.writeable = False
    found = photo.filtered(image[:, ::-1], np.ones((3, 3)) / 9)
    assert_array_equal(image, before)
    assert_array_equal(found, photo.filtered(image, np.ones((3, 3)) / 9)[:, ::-1])

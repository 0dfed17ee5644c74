"""First weights: bounds and standard deviations against the formulas."""

from math import sqrt

import numpy as np
import pytest

from fastconv import nn
from fastconv.nn import init

SHAPE = (64, 32, 5, 5)
FAN_IN, FAN_OUT = 32 * 25, 64 * 25


@pytest.mark.parametrize(
    ("rule", "bound"),
    [
        ("pytorch", 1 / sqrt(FAN_IN)),
        ("xavier_uniform", sqrt(6 / (FAN_IN + FAN_OUT))),
        ("he_uniform", sqrt(6 / FAN_IN)),
    ],
)
def test_uniform_rules_fill_their_bounds(rule, bound, rng):
    weight = getattr(init, rule)(SHAPE, rng)
    assert weight.shape == SHAPE
    assert np.abs(weight).max() <= bound
    assert np.abs(weight).max() > 0.999 * bound  # of 51,200 draws, all within 0.999 once in 10^22
    assert weight.std() == pytest.approx(bound / sqrt(3), rel=0.01)  # 5 standard errors are 0.01
    assert weight.mean() == pytest.approx(0, abs=0.02 * bound)


@pytest.mark.parametrize(
    ("rule", "deviation"), [("xavier_normal", sqrt(2 / (FAN_IN + FAN_OUT))), ("he_normal", sqrt(2 / FAN_IN))]
)
def test_normal_rules_have_their_deviation(rule, deviation, rng):
    weight = getattr(init, rule)(SHAPE, rng)
    assert weight.std() == pytest.approx(deviation, rel=0.016)  # 5 standard errors
    assert np.mean(np.abs(weight) < deviation) == pytest.approx(0.6827, abs=0.01)


def test_fans_by_hand():
    assert init.fans((120, 400)) == (400, 120)
    assert init.fans((6, 1, 3, 3)) == (9, 54)
    with pytest.raises(ValueError, match=r"shape is \(3,\): at least 2 axes"):
        init.fans((3,))


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [
        (nn.Conv2d(8, 32, 3, rng=0), 8 * 9),
        (nn.Conv2d(8, 32, 3, groups=4, rng=0), 2 * 9),
        (nn.Conv1d(8, 64, 5, rng=0), 8 * 5),
        (nn.Conv3d(4, 16, 3, rng=0), 4 * 27),
        (nn.ConvTranspose2d(32, 8, 3, rng=0), 8 * 9),
        (nn.ConvTranspose2d(32, 8, 3, groups=4, rng=0), 2 * 9),
        (nn.Linear(400, 120, rng=0), 400),
    ],
    ids=str,
)
def test_layers_begin_as_pytorchs(layer, fan_in):
    bound = 1 / sqrt(fan_in)
    for parameter, least in ((layer.weight, 0.98), (layer.bias, 0.5)):
        assert least * bound < np.abs(parameter.data).max() <= np.float32(bound)


def test_other_rules_begin_with_bias_zero():
    for rule in ("xavier_uniform", "xavier_normal", "he_uniform", "he_normal"):
        layer = nn.Linear(3, 2, init=rule, rng=1)
        expected = getattr(init, rule)((2, 3), np.random.default_rng(1))
        assert np.array_equal(layer.weight.data, expected.astype(np.float32))
        assert not layer.bias.data.any()


def test_the_seed_fixes_everything():
    first, second = nn.Conv2d(2, 3, 3, rng=4), nn.Conv2d(2, 3, 3, rng=np.random.default_rng(4))
    assert np.array_equal(first.weight.data, second.weight.data)
    assert np.array_equal(first.bias.data, second.bias.data)
    assert not np.array_equal(first.weight.data, nn.Conv2d(2, 3, 3, rng=5).weight.data)
    assert not np.array_equal(nn.Conv2d(2, 3, 3).weight.data, nn.Conv2d(2, 3, 3).weight.data)


def test_float64_begins_with_the_same_numbers():
    single, double = nn.Linear(3, 2, rng=4), nn.Linear(3, 2, rng=4, dtype=np.float64)
    assert np.array_equal(single.weight.data, double.weight.data.astype(np.float32))


def test_bad_arguments_are_told():
    names = "'pytorch', 'xavier_uniform', 'xavier_normal', 'he_uniform', 'he_normal'"
    with pytest.raises(ValueError, match=f"init is 'kaiming': one of {names} is accepted"):
        nn.Linear(3, 2, init="kaiming")
    with pytest.raises(TypeError, match=r"rng is 'seed'"):
        nn.Linear(3, 2, rng="seed")
    with pytest.raises(ValueError, match=r"rng is -1: a seed of at least 0"):
        nn.Linear(3, 2, rng=-1)
    with pytest.raises(TypeError, match=r"dtype is <class 'int'>: float32, float64 and float16 are accepted"):
        nn.Linear(3, 2, dtype=int)

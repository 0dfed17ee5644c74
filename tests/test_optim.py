import numpy as np
import pytest

import fastconv as fc
from fastconv.nn import Parameter
from fastconv.optim import SGD, Adam, AdamW, CosineSchedule, StepSchedule, WarmupSchedule, clip_grad_norm

# Three steps of torch.optim in float64 from w = [1, -2, 0.5], with g = w * [1, 2, 3] + 0.1 * t each time.
MAKERS = {
    "sgd": lambda p: SGD(p, lr=0.1),
    "momentum": lambda p: SGD(p, lr=0.1, momentum=0.9),
    "dampened": lambda p: SGD(p, lr=0.1, momentum=0.9, dampening=0.5, weight_decay=0.1),
    "nesterov": lambda p: SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda p: Adam(p, lr=0.1),
    "adam with decay": lambda p: Adam(p, lr=0.1, betas=(0.8, 0.9), eps=1e-3, weight_decay=0.1),
    "adamw": lambda p: AdamW(p, lr=0.1, weight_decay=0.1),
}
TORCH = {
    "sgd": [0.7000000000000001, -1.052, 0.1445],
    "momentum": [0.44800000000000006, -0.16099999999999998, -0.17500000000000004],
    "dampened": [0.54885725, -0.45677449999999964, -0.06394137500000006],
    "nesterov": [0.26040577344099997, 0.16545828851800004, -0.2290946009795],
    "adam": [0.700000002990459, -1.7010580922693221, 0.20245218720390945],
    "adam with decay": [0.7003741346071845, -1.7012018686293302, 0.20291428184768695],
    "adamw": [0.6733853109516905, -1.644838172442219, 0.1908623542737578],
}


def parameter(dtype=np.float64):
    return Parameter(np.array([1.0, -2.0, 0.5], dtype))


def gradient(w, t):
    return (w * np.array([1, 2, 3], w.dtype) + w.dtype.type(0.1 * t)).astype(w.dtype)


def steps(optimizer, first, last):
    for t in range(first, last):
        for p in optimizer.parameters:
            p.grad = gradient(p.data, t)
        optimizer.step()


@pytest.mark.parametrize("name", MAKERS)
def test_three_steps_give_the_parameters_of_pytorch(backend, name):
    p = parameter()
    steps(MAKERS[name]([p]), 0, 3)
    np.testing.assert_allclose(p.data, TORCH[name], rtol=1e-13)  # both in float64: rounding only


@pytest.mark.parametrize("name", MAKERS)
def test_single_precision_follows_double(backend, name):
    single, double = parameter(np.float32), parameter()
    steps(MAKERS[name]([single]), 0, 10)
    steps(MAKERS[name]([double]), 0, 10)
    assert single.data.dtype == np.float32
    np.testing.assert_allclose(single.data, double.data, atol=1e-5)  # ten steps of float32 rounding at 1e-7


def test_momentum_by_hand(backend):
    p = Parameter(np.array([1.0]))
    optimizer = SGD([p], lr=0.1, momentum=0.5)
    for expected in (0.9, 0.75, 0.575):  # velocities 1, 1.5, 1.75
        p.grad = np.array([1.0])
        optimizer.step()
        np.testing.assert_allclose(p.data, [expected], rtol=1e-15)


def test_half_precision_is_computed_in_single(backend):
    half, single = parameter(np.float16), parameter(np.float32)
    optimizer = Adam([half], lr=0.1)
    steps(optimizer, 0, 1)
    steps(Adam([single], lr=0.1), 0, 1)
    assert half.data.dtype == np.float16
    assert optimizer.state_dict()["0.mean"].dtype == np.float32
    np.testing.assert_array_equal(half.data, single.data.astype(np.float16))


@pytest.mark.parametrize("name", MAKERS)
def test_a_parameter_without_gradient_stays(backend, name):
    moved, still = parameter(), parameter()
    optimizer = MAKERS[name]([moved, still])
    moved.grad = np.ones(3)
    optimizer.step()
    assert (moved.data != parameter().data).all()
    np.testing.assert_array_equal(still.data, parameter().data)


def test_the_array_of_a_parameter_is_never_replaced(backend):
    p = parameter()
    data = p.data
    steps(Adam([p], lr=0.1), 0, 2)
    assert p.data is data


def test_gradients_are_not_written_to(backend):
    p = parameter()
    optimizer = Adam([p], weight_decay=0.1)
    grad = np.ones(3)
    grad.flags.writeable = False
    p.grad = grad
    optimizer.step()
    np.testing.assert_array_equal(grad, np.ones(3))


def test_gradients_may_be_strided(backend):
    strided, plain = parameter(), parameter()
    strided.grad, plain.grad = np.arange(6.0)[::-2], np.array([5.0, 3.0, 1.0])
    SGD([strided], lr=0.1).step()
    SGD([plain], lr=0.1).step()
    np.testing.assert_array_equal(strided.data, plain.data)


def test_zero_grad_forgets():
    p = parameter()
    p.grad = np.ones(3)
    SGD([p], lr=0.1).zero_grad()
    assert p.grad is None


@pytest.mark.parametrize("name", MAKERS)
def test_state_goes_on_bit_for_bit(backend, name):
    whole, parts = parameter(np.float32), parameter(np.float32)
    steps(MAKERS[name]([whole]), 0, 6)
    first = MAKERS[name]([parts])
    steps(first, 0, 3)
    second = MAKERS[name]([parts])
    second.load_state_dict(first.state_dict())
    steps(second, 3, 6)
    np.testing.assert_array_equal(parts.data, whole.data)


def test_state_is_a_copy(backend):
    p = parameter()
    optimizer = SGD([p], lr=0.1, momentum=0.9)
    steps(optimizer, 0, 1)
    state = optimizer.state_dict()
    before = state["0.velocity"].copy()
    steps(optimizer, 1, 2)
    np.testing.assert_array_equal(state["0.velocity"], before)


def test_state_holds_arrays_and_numbers():
    state = Adam([parameter()], lr=0.5, betas=(0.8, 0.9)).state_dict()
    assert state == {"lr": 0.5, "beta1": 0.8, "beta2": 0.9, "eps": 1e-8, "weight_decay": 0.0}
    optimizer = SGD([parameter()], lr=0.5, momentum=0.9)
    steps(optimizer, 0, 1)
    assert list(optimizer.state_dict()) == ["lr", "momentum", "dampening", "weight_decay", "nesterov", "0.velocity"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": None}, "lacks lr"),
        ({"1.mean": np.zeros(3)}, r"'1.mean' is not part of the state of Adam over 1 parameters"),
        ({"0.velocity": np.zeros(3)}, "'0.velocity' is not part"),
        ({"0.mean": np.zeros(4)}, r"0.mean has shape \(4,\): its parameter's, \(3,\), is accepted"),
        ({"0.step": None}, "lacks 0.step"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(change, message):
    optimizer = Adam([parameter()])
    steps(optimizer, 0, 2)
    state = {key: value for key, value in (optimizer.state_dict() | change).items() if value is not None}
    other = Adam([parameter()], lr=0.3)
    with pytest.raises(ValueError, match=message):
        other.load_state_dict(state)
    assert other.state_dict() == Adam([parameter()], lr=0.3).state_dict()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: SGD([], lr=0.1), ValueError, "parameters is empty: at least one Parameter"),
        (lambda: SGD([np.zeros(3)], lr=0.1), TypeError, "parameters holds ndarray: an iterable of Parameter"),
        (lambda: SGD([parameter()], lr=-1), ValueError, "lr is -1: a number of at least 0"),
        (lambda: SGD([parameter()], lr="fast"), TypeError, "lr is 'fast'"),
        (lambda: SGD([parameter()], lr=0.1, momentum=-0.1), ValueError, "momentum is -0.1"),
        (lambda: SGD([parameter()], lr=0.1, nesterov=True), ValueError, "nesterov is True, momentum 0"),
        (lambda: SGD([parameter()], 0.1, 0.9, 0.1, nesterov=True), ValueError, "nesterov is True, momentum 0.9"),
        (
            lambda: Adam([parameter()], betas=(0.9, 1.0)),
            ValueError,
            r"betas is \(0.9, 1.0\): two numbers of at least 0",
        ),
        (lambda: Adam([parameter()], betas=0.9), ValueError, "betas is 0.9: two numbers"),
        (lambda: Adam([parameter()], eps=-1e-8), ValueError, "eps is -1e-08"),
        (lambda: AdamW([parameter()], weight_decay=-1), ValueError, "weight_decay is -1"),
    ],
)
def test_bad_arguments_are_told(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_one_parameter_twice_is_an_error():
    p = parameter()
    with pytest.raises(ValueError, match="holds one Parameter twice"):
        SGD([p, p], lr=0.1)


@pytest.mark.parametrize(
    ("grad", "error", "message"),
    [
        (np.zeros(4), ValueError, r"the gradient of parameter 1 has shape \(4,\): \(3,\) is accepted"),
        (np.zeros(3, np.float32), TypeError, "the gradient of parameter 1 is float32: its own dtype, float64"),
    ],
)
def test_a_gradient_that_does_not_fit_moves_nothing(grad, error, message):
    first, second = parameter(), parameter()
    first.grad, second.grad = np.ones(3), grad
    with pytest.raises(error, match=message):
        SGD([first, second], lr=0.1).step()
    np.testing.assert_array_equal(first.data, parameter().data)


def test_clipping_scales_all_gradients_by_one_factor():
    one, two, none = parameter(), parameter(), parameter()
    one.grad, two.grad = np.array([3.0, 0.0, 0.0]), np.array([0.0, 4.0, 0.0])
    assert clip_grad_norm([one, two, none], 2.5) == 5.0
    np.testing.assert_allclose(one.grad, [1.5, 0, 0], rtol=1e-6)  # torch adds 1e-6 to the norm
    np.testing.assert_allclose(two.grad, [0, 2, 0], rtol=1e-6)
    assert none.grad is None


@pytest.mark.gpu
def test_clipping_on_a_gpu(cuda, rng):
    there, here = parameter(), parameter()
    here.grad = rng.standard_normal(3) * 5
    there.grad = here.grad
    there.to_device()
    assert clip_grad_norm([there], 2.0) == pytest.approx(clip_grad_norm([here], 2.0), rel=1e-14)
    np.testing.assert_allclose(fc.to_host(there.grad), here.grad, rtol=1e-14)


def test_clipping_leaves_small_gradients_alone():
    p = parameter()
    grad = p.grad = np.array([0.3, 0.0, 0.4])
    assert clip_grad_norm([p], 1.0) == 0.5
    assert p.grad is grad


def test_clipping_by_a_norm_that_is_not_finite_gives_nan():
    p = parameter()
    p.grad = np.array([np.inf, 1.0, 0.0])
    with np.errstate(invalid="ignore"):
        assert clip_grad_norm([p], 1.0) == np.inf
    np.testing.assert_array_equal(p.grad, [np.nan, 0, 0])
    p.grad = np.array([np.nan, 1.0, 0.0])
    assert np.isnan(clip_grad_norm([p], 1.0))
    assert np.isnan(p.grad).all()


def test_clipping_wants_a_norm():
    with pytest.raises(ValueError, match="max_norm is -1: a number of at least 0"):
        clip_grad_norm([parameter()], -1)


def rates(make, count=6):
    optimizer = SGD([parameter()], lr=1.0)
    schedule = make(optimizer)
    found = [optimizer.lr]
    for _ in range(count):
        schedule.step()
        found.append(optimizer.lr)
    return found


def test_step_schedule():
    assert rates(lambda o: StepSchedule(o, 2, gamma=0.5)) == [1, 1, 0.5, 0.5, 0.25, 0.25, 0.125]


def test_cosine_schedule():
    half = 0.5 + np.sqrt(2) / 4
    expected = [1, half, 0.5, 1 - half, 0, 0, 0]
    np.testing.assert_allclose(rates(lambda o: CosineSchedule(o, 4)), expected, atol=1e-15)
    assert rates(lambda o: CosineSchedule(o, 4, lr_min=0.2))[-1] == 0.2


def test_warmup_schedule():
    assert rates(lambda o: WarmupSchedule(o, 4)) == [0.25, 0.5, 0.75, 1, 1, 1, 1]
    expected = [0.5, 1, 1, 0.5, 0.25, 0.125, 0.0625]
    assert rates(lambda o: WarmupSchedule(o, 2, StepSchedule(o, 1, 0.5))) == expected


@pytest.mark.parametrize(
    "make",
    [
        lambda o: StepSchedule(o, 2, gamma=0.5),
        lambda o: CosineSchedule(o, 5, 0.1),
        lambda o: WarmupSchedule(o, 2, CosineSchedule(o, 3)),
    ],
)
def test_a_schedule_goes_on_from_its_state(make):
    one, two = SGD([parameter()], lr=1.0), SGD([parameter()], lr=0.3)
    whole = make(one)
    [whole.step() for _ in range(3)]
    other = make(two)
    other.load_state_dict(whole.state_dict())
    assert two.lr == one.lr
    whole.step()
    other.step()
    assert two.lr == one.lr


def test_bad_schedules_are_told():
    o = SGD([parameter()], lr=1.0)
    with pytest.raises(ValueError, match="step_size is 0: an int of at least 1"):
        StepSchedule(o, 0)
    with pytest.raises(ValueError, match="total is 0"):
        CosineSchedule(o, 0)
    with pytest.raises(ValueError, match="every is 'day': 'epoch' and 'step' are accepted"):
        StepSchedule(o, 1, every="day")
    with pytest.raises(ValueError, match="after is a schedule of another optimizer"):
        WarmupSchedule(o, 2, StepSchedule(SGD([parameter()], lr=1.0), 1))
    with pytest.raises(ValueError, match=r"keys \['count'\]: \['base', 'count'\] are accepted"):
        StepSchedule(o, 1).load_state_dict({"count": 1})

"""What a binding depends on, and what users do with models meanwhile: every change is seen, nothing is mixed up."""

import copy
import pickle
import threading

import numpy as np
import pytest
from bound_models import assert_alike, pair, small, trainers

import fastconv as fc
from fastconv import binding, nn, optim
from fastconv.training import Trainer


@pytest.fixture(autouse=True)
def cpu():
    with fc.use_backend("cpu"):
        yield


CHANGES = {
    "another layer": lambda model: model.append(nn.Linear(4, 4, rng=5, dtype=np.float64)),
    "another parameter": lambda model: setattr(model[4], "weight", nn.Parameter(model[4].weight.data * 2)),
    "another array": lambda model: setattr(model[4].weight, "data", model[4].weight.data * 2),
    "numbers in place": lambda model: model[0].weight.data.__imul__(2),
    "a state": lambda model: model.load_state_dict({k: v * 0.5 for k, v in model.state_dict().items()}),
    "an option": lambda model: setattr(model[0], "padding", ((2, 0), (0, 2))),
    "a forward of its own": lambda model: setattr(model[1], "forward", lambda x: x * 0.5) or setattr(
        model[1], "backward", lambda grad: grad * 0.5
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_the_model_is_seen(change):
    x, y = pair()
    one, two = trainers(small, "cross_entropy")
    for trainer in (one, two):
        trainer.step(x, y)
        CHANGES[change](trainer.model)
        trainer.optimizer = optim.SGD(trainer.model.parameters(), lr=0.1)
    for _ in range(2):
        np.testing.assert_allclose(one.step(x, y), two.step(x, y), rtol=1e-12)
    assert_alike(one, two, 1e-12)
    one.model.eval()
    np.testing.assert_allclose(one.model(x), one.model.forward(x), rtol=1e-10)


@pytest.mark.parametrize("name", ["direct", "fft"])
def test_an_algorithm_that_is_preferred_is_seen(name):
    x, y = pair()
    one, two = trainers(small, "cross_entropy")
    one.step(x, y), two.step(x, y)
    model = small().eval()
    model(x)
    try:
        fc.set_algorithm(name)
        assert one._bound(x, y) is None
        np.testing.assert_array_equal(model(x), model.forward(x))
        np.testing.assert_allclose(one.step(x, y), two.step(x, y), rtol=1e-12)
    finally:
        fc.set_algorithm("auto")
    assert one._bound(x, y) is not None


def test_a_class_with_a_forward_of_its_own_is_called():
    class Doubled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

        def backward(self, grad_output):
            return super().backward(2 * grad_output)

    x, y = pair()
    one, two = trainers(lambda: nn.Sequential(nn.Flatten(), Doubled(64, 4, rng=0, dtype=np.float64)), "cross_entropy")
    for _ in range(2):
        np.testing.assert_allclose(one.step(x, y), two.step(x, y), rtol=1e-12)


def test_numbers_of_the_optimizer_may_change():
    x, y = pair()
    one, two = trainers(small, "cross_entropy", momentum=0.9)
    for lr in (0.1, 0.01, 0.2):
        one.optimizer.lr = two.optimizer.lr = lr
        one.step(x, y), two.step(x, y)
    assert_alike(one, two, 1e-12)
    state = one.optimizer.state_dict()
    one.step(x, y)
    one.optimizer.load_state_dict(state), two.optimizer.load_state_dict(state)
    one.model.load_state_dict(two.model.state_dict())
    one.step(x, y), two.step(x, y)
    assert_alike(one, two, 1e-12)


def test_bindings_are_bounded_and_follow_no_copy():
    x, y = pair()
    model = small()
    trainer = Trainer(model, "cross_entropy", optim.SGD(model.parameters(), lr=0.1))
    for n in range(1, 11):
        trainer.step(np.repeat(x, 2, 0)[:n], np.repeat(y, 2, 0)[:n])
    assert len(trainer._bindings._found) == binding.KEPT
    model.eval()
    model(x)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(twin(x), model(x))
        twin[4].bias.data += 1
        np.testing.assert_allclose(twin(x), model(x) + 1, rtol=1e-12)


def test_threads_evaluate_one_model_at_once():
    x, _ = pair()
    model = small().eval()
    expected, wrong = model(x), []

    def call():
        for _ in range(200):
            if not np.allclose(model(x), expected, rtol=1e-12):
                wrong.append(1)

    calls = [threading.Thread(target=call) for _ in range(3)]
    for thread in calls:
        thread.start()
    for thread in calls:
        thread.join()
    assert not wrong


def test_arrays_of_any_form_are_taken():
    x, y = pair()
    one, two = trainers(small, "cross_entropy")
    forms = np.asfortranarray(x), x[::-1], np.flip(x, 3), np.repeat(x, 2, 3)[..., ::2]
    for form in forms:
        form.flags.writeable = False
        np.testing.assert_allclose(one.step(form, y), two.step(form, y), rtol=1e-12)


def test_other_backends_call_the_layers():
    x, y = pair()
    one, two = trainers(small, "cross_entropy")
    with fc.use_backend("reference"):
        np.testing.assert_allclose(one.step(x, y), two.step(x, y), rtol=1e-12)
    one.step(x, y), two.step(x, y)
    assert_alike(one, two, 1e-12)

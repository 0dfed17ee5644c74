import sys

import numpy as np
import pytest
from training_runs import assert_same_weights, data, network, run, trainer, without_times

import fastconv as fc
from fastconv import nn
from fastconv.optim import SGD, Adam, WarmupSchedule
from fastconv.training import EarlyStopping, Trainer, fit


class Constant(nn.Module):
    """y = weight, for every x: the loss's gradient is seen as it is."""

    def __init__(self):
        self.weight = nn.Parameter(np.array([1.0, 2.0]))

    def forward(self, x):
        self.keep()
        return np.tile(self.weight.data, (len(x), 1))

    def backward(self, grad_output):
        self.kept()
        self.weight.add_grad(grad_output.sum(0))
        return grad_output


# A step.


def test_a_step_by_hand(backend):
    model = Constant()
    loss = Trainer(model, "mse", SGD(model.parameters(), lr=0.1)).step(np.zeros((1, 1)), np.array([[0.0, 4.0]]))
    assert type(loss) is float
    assert loss == 2.5  # (1 + 4) / 2
    np.testing.assert_allclose(fc.to_host(model.weight.data), [0.9, 2.2])  # the gradient is (1, -2)


@pytest.mark.parametrize("loss", ["cross_entropy", "mse", "l1", "binary_cross_entropy_with_logits"])
def test_every_loss_falls_in_twenty_steps(backend, loss):
    built = Trainer(model := network(), loss, Adam(model.parameters()))
    x, y = data().train.x, data().train.y
    target = y if loss == "cross_entropy" else np.eye(2, dtype=np.float32)[y]
    losses = [built.step(x, target) for _ in range(20)]
    assert losses[-1] < losses[0]


def test_binary_cross_entropy_of_probabilities_falls(backend):
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 1, rng=0), nn.Sigmoid())
    built = Trainer(model, "binary_cross_entropy", SGD(model.parameters(), lr=0.5))
    x, y = data().train.x, data().train.y.astype(np.float32)[:, None]
    losses = [built.step(x, y) for _ in range(20)]
    assert losses[-1] < losses[0]


def test_a_loss_of_ones_own_is_called(backend):
    def absolute(y, target):
        return abs(y - target).sum(), (y > target) * 1.0 - (y < target) * 1.0

    model = Constant()
    built = Trainer(model, absolute, SGD(model.parameters(), lr=0.5))
    assert built.step(np.zeros((1, 1)), np.array([[0.0, 4.0]])) == 3
    np.testing.assert_allclose(fc.to_host(model.weight.data), [0.5, 2.5])


def test_clipping_bounds_the_step(backend):
    model = Constant()
    Trainer(model, "mse", SGD(model.parameters(), lr=1.0), clip_norm=0.1).step(np.zeros((1, 1)), np.full((1, 2), 1e6))
    assert np.linalg.norm(fc.to_host(model.weight.data) - [1, 2]) == pytest.approx(0.1, rel=1e-5)


def test_a_step_trains_and_an_evaluation_does_not():
    built = trainer()
    built.model.eval()
    built.step(data().train.x, data().train.y)
    assert built.model.training
    before = built.model.state_dict()
    built.evaluate(data().test.x, data().test.y)
    assert built.model.training
    for key, value in built.model.state_dict().items():
        np.testing.assert_array_equal(value, before[key])
    built.model.eval()
    built.predict(data().test.x)
    assert not built.model.training


@pytest.mark.parametrize(
    ("x", "y", "error"),
    [
        (data().train.x, np.full(38, 2), ValueError),
        (data().train.x, data().train.y[:3], ValueError),
        (data().train.x, data().train.y.astype("U1"), TypeError),
        (data().train.x.astype(int), data().train.y, TypeError),
        (data().train.x[:, :, :4], data().train.y, ValueError),
    ],
)
def test_a_step_on_bad_input_leaves_the_model_as_it_was(backend, x, y, error):
    built = trainer()
    built.step(data().train.x, data().train.y)
    before, drawn = built.model.state_dict(), built.model.random_state()
    with pytest.raises(error):
        built.step(x, y)
    for key, value in built.model.state_dict().items():
        np.testing.assert_array_equal(value, before[key], err_msg=key)
    assert built.model.random_state() == drawn
    other = trainer()
    other.step(data().train.x, data().train.y)
    assert built.step(data().train.x, data().train.y) == other.step(data().train.x, data().train.y)


def test_evaluation_does_not_depend_on_the_batch_size(backend):
    built, held_out = trainer(), data().test
    whole = built.evaluate(held_out.x, held_out.y)
    parts = built.evaluate(held_out.x, held_out.y, batch_size=5)
    assert parts == pytest.approx(whole, rel=1e-6)  # float32 sums in another order
    right = built.predict(held_out.x).argmax(1) == held_out.y
    assert whole.metric == right.mean()


def test_the_metric_of_images_is_their_squared_error(backend):
    model = Constant()
    built = Trainer(model, "l1", SGD(model.parameters(), lr=1.0))
    result = built.evaluate(np.zeros((3, 1)), np.zeros((3, 2)))
    assert result == (1.5, 2.5)
    assert built.metric_name(np.zeros((3, 2))) == "mse"


def test_no_image_has_no_prediction():
    assert trainer().predict(data().train.x[:0]).shape == (0, 2)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"loss": "hinge"}, ValueError, "loss is 'hinge': .*cross_entropy, l1, mse are accepted, or a function"),
        ({"loss": 3}, TypeError, "loss is 3: a name is accepted"),
        ({"clip_norm": -1}, ValueError, "clip_norm is -1: None is accepted"),
        ({"model": 3}, TypeError, "model is 3: a Module is accepted"),
        ({"optimizer": None}, TypeError, "optimizer is None: an Optimizer is accepted"),
        ({"schedule": "cosine"}, TypeError, "schedule is 'cosine': a Schedule is accepted"),
    ],
)
def test_bad_trainers_are_told(options, error, message):
    model = network()
    with pytest.raises(error, match=message):
        Trainer(**{"model": model, "loss": "mse", "optimizer": SGD(model.parameters(), lr=0.1)} | options)


# fit.


def test_fit_learns_and_tells():
    rows = []
    _, history = run(epochs=12, callbacks=[lambda _, row: rows.append(dict(row))])
    keys = ["epoch", "loss", "val_loss", "val_metric", "seconds", "images_per_second", "lr"]
    assert [list(row) for row in history] == [keys] * 12
    assert rows == history
    assert [row["epoch"] for row in history] == list(range(1, 13))
    assert history[-1]["loss"] < history[0]["loss"]
    assert history[-1]["val_metric"] > 0.8
    assert history[0]["lr"] == 0.05
    assert history[-1]["lr"] == 0


def test_the_seed_fixes_everything(backend):
    (one, first), (two, second), (three, _) = run(epochs=2), run(epochs=2), run(epochs=2, seed=4)
    assert_same_weights(one, two)
    assert without_times(first) == without_times(second)
    assert (one.model.state_dict()["0.weight"] != three.model.state_dict()["0.weight"]).any()


def test_every_image_is_seen_once_an_epoch_in_a_new_order():
    seen = []

    def look(x, _):
        seen.append(x[:, 0, 0, 0].copy())
        return x

    run(epochs=2, augment=look)
    sizes = [len(batch) for batch in seen]
    assert sizes == [8, 8, 8, 8, 6] * 2
    first, second = np.concatenate(seen[:5]), np.concatenate(seen[5:])
    assert (first != second).any()
    for epoch in (first, second):
        np.testing.assert_array_equal(np.sort(epoch), np.sort(data().train.x[:, 0, 0, 0]))


def test_validation_takes_other_images_or_none():
    train = (data().train.x, data().train.y)
    history = fit(trainer(), train, 1, progress=False, validation=data().test)
    assert history[0]["val_metric"] is not None
    for options in ({"validation": False}, {}):
        assert fit(trainer(), train, 1, progress=False, **options)[0]["val_loss"] is None


def test_a_schedule_of_steps_is_called_after_each_step():
    model = network()
    optimizer = SGD(model.parameters(), lr=1.0)
    schedule = WarmupSchedule(optimizer, 10, every="step")
    fit(Trainer(model, "cross_entropy", optimizer, schedule=schedule), data(), 1, 8, progress=False)
    assert schedule.count == 5
    assert optimizer.lr == 0.6


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"epochs": 0}, ValueError, "epochs is 0: an int of at least 1"),
        ({"batch_size": 0}, ValueError, "batch_size is 0"),
        ({"batch_size": 1.5}, TypeError, "batch_size is 1.5"),
        ({"seed": -1}, ValueError, "seed is -1"),
        ({"data": "mnist5k"}, TypeError, "data is str: a Split is accepted"),
        ({"data": (np.zeros((3, 1)), np.zeros(2))}, ValueError, r"data has x \(3, 1\) and y \(2,\): as many images"),
        ({"data": (np.zeros((0, 1)), np.zeros(0))}, ValueError, "at least 1, are accepted"),
        ({"resume": True}, ValueError, "resume is True, checkpoint None"),
        (
            {"validation": False, "early_stopping": EarlyStopping()},
            ValueError,
            "monitors 'val_loss', there is no valid",
        ),
    ],
)
def test_bad_fits_are_told(options, error, message):
    arguments = {"data": data(), "epochs": 1, "progress": False} | options
    with pytest.raises(error, match=message):
        fit(trainer(), arguments.pop("data"), arguments.pop("epochs"), **arguments)


def test_progress_is_one_line_an_epoch_where_there_is_no_terminal(capsys):
    run(epochs=2, progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("epoch 1/2: loss ")
    assert "val_accuracy" in lines[0]
    assert lines[0].endswith("images/s")


def test_progress_is_a_bar_on_a_terminal(capsys, monkeypatch):
    pytest.importorskip("tqdm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    run(epochs=1, progress=True)
    shown = capsys.readouterr().err
    for part in ("epoch 1/1", "38/38", "images/s", "loss ", "val_accuracy"):
        assert part in shown


def test_progress_is_lines_without_tqdm(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    run(epochs=1, progress=True)
    assert capsys.readouterr().err.startswith("epoch 1/1: loss ")


# Early stopping.


def rows(*losses, metric=None):
    return [{"val_loss": loss, "loss": loss, "val_metric": loss if metric else None} for loss in losses]


def test_early_stopping_waits_and_gives_the_best_weights_back():
    built, stopping = trainer(), EarlyStopping(patience=2, min_delta=0.1)
    for i, row in enumerate(rows(1.0, 0.5, 0.45, 0.46)):
        assert not stopping.stopped
        built.model[0].weight.data[...] = i
        stopping.update(built, row, "accuracy")
    assert stopping.stopped
    stopping.finish(built)
    assert (built.model[0].weight.data == 1).all()


def test_early_stopping_on_an_accuracy_wants_more():
    stopping = EarlyStopping(patience=1, monitor="val_metric")
    for row in rows(0.5, 0.6, metric=True):
        stopping.update(trainer(), row, "accuracy")
    assert not stopping.stopped
    stopping.update(trainer(), rows(0.6, metric=True)[0], "accuracy")
    assert stopping.stopped


def test_a_loss_that_is_not_a_number_is_never_better():
    stopping = EarlyStopping(patience=2)
    for row in rows(np.nan, np.nan):
        stopping.update(trainer(), row, "accuracy")
    assert stopping.stopped


def test_fit_stops_early_and_resumes_the_same(tmp_path):
    def options():
        return {"early_stopping": EarlyStopping(patience=2, monitor="loss", min_delta=0.3)}

    whole, history = run(epochs=20, **options())
    assert len(history) < 20
    path = tmp_path / "a.safetensors"
    run(path, epochs=2, **options())
    resumed, again = run(path, epochs=20, resume=True, **options())
    assert_same_weights(whole, resumed)
    assert without_times(again) == without_times(history)
    finished, _ = run(path, epochs=20, resume=True, **options())
    assert_same_weights(whole, finished)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patience": 0}, "patience is 0"),
        ({"monitor": "val_acc"}, "monitor is 'val_acc': 'val_loss', 'val_metric' and 'loss'"),
        ({"min_delta": -1}, "min_delta is -1"),
    ],
)
def test_bad_early_stopping_is_told(options, message):
    with pytest.raises(ValueError, match=message):
        EarlyStopping(**options)

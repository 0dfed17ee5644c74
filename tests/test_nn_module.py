"""Modules: parameters, names, state_dict, modes, random state, summary, files."""

import json
import sys
import threading
from contextvars import copy_context

import numpy as np
import pytest
from layers import LAYERS, MODELS
from numpy.testing import assert_array_equal

from fastconv import models, nn


class Net(nn.Module):
    """A module as a user writes one: attributes, in an order of its own."""

    def __init__(self):
        self.second = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3))
        self.scale = nn.Parameter(np.ones(1, np.float32))
        self.first = nn.Conv2d(1, 2, 1, bias=False)

    def forward(self, x):
        y = self.second(self.first(x))
        self.keep(y)
        return self.scale.data * y

    def backward(self, grad_output):
        (y,) = self.kept()
        self.scale.add_grad(np.array([np.sum(grad_output * y)]))
        return self.first.backward(self.second.backward(self.scale.data * grad_output))


KEYS = [
    "scale", "second.0.weight", "second.0.bias", "second.1.weight", "second.1.bias", "second.1.running_mean",
    "second.1.running_var", "second.1.num_batches_tracked", "first.weight",
]  # fmt: skip


def test_names_and_order_are_pytorchs():
    net = Net()
    assert list(net.state_dict()) == KEYS
    assert [name for name, _ in net.named_parameters()] == [
        key for key in KEYS if "running" not in key and "num" not in key
    ]
    assert [name for name, _ in net.named_modules()] == ["", "second", "second.0", "second.1", "first"]
    assert net.state_dict()["second.1.num_batches_tracked"].shape == ()
    assert net.state_dict()["second.1.num_batches_tracked"].dtype == np.int64


def test_a_module_of_ones_own_trains_all_its_parameters(backend):
    net, x = Net(), np.ones((2, 1, 3, 3), np.float32)
    y = net(x)
    assert net.backward(np.ones_like(y)).shape == x.shape
    assert net.scale.grad == pytest.approx(y.sum(), abs=1e-4)
    assert all(parameter.grad is not None for parameter in net.parameters())


@pytest.mark.parametrize("case", LAYERS + MODELS, ids=str)
def test_a_state_dict_makes_another_model_the_same(case, backend, rng):
    source, target, x = case.make(), case.make(), case.x()
    for parameter in target.parameters():
        parameter.data += rng.standard_normal(parameter.shape)
    arrays = [parameter.data for parameter in target.parameters()]
    source(x)  # moves the running statistics
    target.load_state_dict(source.state_dict())
    assert_array_equal(source.eval()(x), target.eval()(x))
    state = target.state_dict()
    assert all(np.array_equal(state[key], value) for key, value in source.state_dict().items())
    assert all(p.data is array for p, array in zip(target.parameters(), arrays, strict=True))


def test_state_dict_copies():
    layer = nn.Linear(2, 1)
    state = layer.state_dict()
    state["weight"][...] = 7
    assert not (layer.weight.data == 7).any()


def test_load_state_dict_casts_and_writes_in_place():
    layer = nn.Linear(2, 1)
    array = layer.weight.data
    layer.load_state_dict({"weight": [[1, 2]], "bias": np.array([0.1])})
    assert layer.weight.data is array
    assert_array_equal(array, np.array([[1, 2]], np.float32))
    assert layer.bias.data[0] == np.float32(0.1)


def test_load_state_dict_names_what_does_not_fit():
    layer = nn.Linear(2, 1, rng=0)
    before = layer.state_dict()
    zeros = {"weight": np.zeros((1, 2)), "bias": np.zeros(1)}
    with pytest.raises(ValueError, match="state does not fit Linear: missing are 'bias'"):
        layer.load_state_dict({"weight": zeros["weight"]})
    with pytest.raises(ValueError, match="not known are 'gain', 'shift'"):
        layer.load_state_dict(zeros | {"gain": np.zeros(1), "shift": np.zeros(1)})
    with pytest.raises(ValueError, match=r"bias has shape \(2,\): \(1,\) is accepted"):
        layer.load_state_dict(zeros | {"bias": np.zeros(2)})
    with pytest.raises(TypeError, match=r"bias is <U4: numbers are accepted"):
        layer.load_state_dict(zeros | {"bias": np.array(["zero"])})
    assert all(np.array_equal(before[key], value) for key, value in layer.state_dict().items())
    layer.load_state_dict({"weight": zeros["weight"], "gain": np.zeros(1)}, strict=False)
    assert not layer.weight.data.any()
    assert_array_equal(layer.bias.data, before["bias"])
    with pytest.raises(ValueError, match="weight has shape"):
        layer.load_state_dict({"weight": np.zeros(2)}, strict=False)


def test_a_layer_used_twice_is_trained_once_and_saved_under_both_names():
    layer = nn.Linear(2, 2)
    network = nn.Sequential(layer, nn.Tanh(), layer)
    assert network.parameters() == [layer.weight, layer.bias]
    assert [name for name, _ in network.named_parameters()] == ["0.weight", "0.bias"]
    assert list(network.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert network.summary((1, 2)).splitlines()[-1].split()[-2:] == ["6", "16"]


def test_forward_without_backward_does_not_pile_up(backend):
    network, x = nn.Sequential(nn.Linear(2, 2), nn.Tanh()), np.ones((1, 2), np.float32)
    for _ in range(3):
        y = network(x)
    assert all(len(layer._kept) == 1 for layer in network)
    network.backward(y)
    assert not any(layer._kept for layer in network)


def test_a_network_in_two_threads_keeps_apart(backend):
    network = nn.Sequential(nn.Linear(2, 2, rng=0), nn.Tanh()).eval()
    x, results = np.ones((1, 2), np.float32), []
    expected = network(x)
    threads = [
        threading.Thread(target=copy_context().run, args=(lambda: results.append(network(x)),)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert all(np.array_equal(y, expected) for y in results)


def test_modes_reach_all_children():
    net = Net()
    assert net.eval() is net
    assert not any(module.training for _, module in net.named_modules())
    assert net.train() is net
    assert all(module.training for _, module in net.named_modules())
    with pytest.raises(TypeError, match="mode is 'eval': True and False are accepted"):
        net.train("eval")


def test_an_unfinished_module_says_so():
    class Unfinished(nn.Module):
        pass

    with pytest.raises(NotImplementedError, match="Unfinished has no forward"):
        Unfinished()(np.zeros(1))
    with pytest.raises(NotImplementedError, match="Unfinished has no backward"):
        Unfinished().backward(np.zeros(1))


@pytest.mark.parametrize("bits", [np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64])
def test_random_state_survives_json(bits, backend):
    def network(seed):
        return nn.Sequential(nn.Dropout(rng=np.random.Generator(bits(seed))), nn.Residual(nn.Dropout(rng=seed + 1)))

    first, second, x = network(0), network(5), np.ones((4, 8))
    first(x)
    state = json.loads(json.dumps(first.random_state()))
    assert list(state) == ["0", "1.branch"]
    second.load_random_state(state)
    assert_array_equal(first(x), second(x))


def test_a_random_state_of_another_network_is_told():
    with pytest.raises(ValueError, match=r"state is of \[\]: one of \['0'\] is accepted"):
        nn.Sequential(nn.Dropout()).load_random_state({})
    assert models.lenet().random_state() == {}


def test_a_parameter_copies_its_values_and_checks_its_gradients():
    values = np.array([1.0, 2.0])
    parameter = nn.Parameter(values)
    values[0] = 7
    assert_array_equal(parameter.data, [1, 2])
    assert (parameter.shape, parameter.size, parameter.grad) == ((2,), 2, None)
    assert repr(parameter) == "Parameter(shape=(2,), dtype=float64)"
    with pytest.raises(ValueError, match=r"grad has shape \(1,\): \(2,\) is accepted"):
        parameter.add_grad(np.zeros(1))
    with pytest.raises(TypeError, match="data is int64: float32, float64 and float16"):
        nn.Parameter(np.array([1, 2], np.int64))


def test_summary_of_lenet():
    rows = [line.split("  ") for line in models.lenet(seed=0).summary((1, 1, 28, 28)).splitlines()]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    assert cells[0] == ["layer", "output shape", "parameters", "FLOPs"]
    assert cells[2] == ["0 Conv2d", "(1, 6, 28, 28)", "60", "84,672"]
    assert cells[5] == ["3 Conv2d", "(1, 16, 10, 10)", "2,416", "480,000"]
    assert cells[9] == ["7 Linear", "(1, 120)", "48,120", "96,000"]
    assert cells[-1] == ["total", "(1, 10)", "61,610", "682,512"]
    assert len(cells) == 12 + 4


def test_summary_indents_what_containers_hold():
    lines = models.residual_net(seed=0).summary((2, 1, 28, 28)).splitlines()
    names = [line[:30].rstrip() for line in lines]
    assert "5 Residual" in {name.split("  ")[0] for name in names}
    assert any(line.startswith("  5.branch Sequential") for line in lines)
    assert any(line.startswith("    5.branch.0 Conv2d") for line in lines)
    assert any(line.startswith("  5.shortcut Conv2d") for line in lines)
    assert len({len(line) for line in lines}) == 1
    columns = [line.rsplit(maxsplit=2)[1:] for line in lines[2:] if line[0] != "-"]
    numbers = np.array([[int(cell.replace(",", "")) for cell in row] for row in columns])
    assert_array_equal(numbers[:-1].sum(axis=0), numbers[-1])


def test_summary_of_one_layer():
    assert "Conv2d  (1, 6, 28, 28)          60  84,672" in nn.Conv2d(1, 6, 3, padding=1).summary((1, 1, 28, 28))


def test_summary_names_the_layer_that_does_not_fit():
    network = nn.Sequential(nn.Flatten(), nn.Residual(nn.Sequential(nn.Tanh(), nn.Linear(5, 4))))
    with pytest.raises(ValueError, match=r"layer 1\.branch\.1 Linear: input_shape is \(1, 4\), of 4 features"):
        network.summary((1, 2, 2))
    with pytest.raises(ValueError, match=r"layer 1 Residual: the branch gives shape \(1, 4\), the shortcut \(1, 5\)"):
        network.summary((1, 5))
    with pytest.raises(ValueError, match="input_shape is 3: a sequence of ints"):
        network.summary(3)


def test_a_saved_model_loads_into_another(tmp_path, backend):
    first, second = Net(), Net()
    first(np.ones((2, 1, 3, 3), np.float32))
    first.save(tmp_path / "net.safetensors")
    second.load(tmp_path / "net.safetensors")
    state = second.state_dict()
    assert all(np.array_equal(state[key], value) for key, value in first.state_dict().items())
    assert [path.name for path in tmp_path.iterdir()] == ["net.safetensors"]


def test_a_file_that_is_not_whole_is_told(tmp_path):
    path = tmp_path / "net.safetensors"
    Net().save(path)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ValueError, match=r"net\.safetensors is no safetensors file, or not a whole one"):
        Net().load(path)
    with pytest.raises(FileNotFoundError):
        Net().load(tmp_path / "none.safetensors")


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path, net = tmp_path / "net.safetensors", nn.Linear(2, 1, rng=0)
    net.save(path)
    before = path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    net.weight.data += 1
    with pytest.raises(OSError, match="No space left"):
        net.save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_files_need_safetensors(tmp_path, monkeypatch):
    for name in ("safetensors", "safetensors.numpy"):
        monkeypatch.setitem(sys.modules, name, None)
    message = r"need safetensors: pip install 'fastconv\[app\]'"
    with pytest.raises(ImportError, match=message):
        nn.Linear(2, 1).save(tmp_path / "net.safetensors")
    with pytest.raises(ImportError, match=message):
        nn.Linear(2, 1).load(tmp_path / "net.safetensors")

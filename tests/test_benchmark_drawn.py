"""The suite of drawn shapes: what is drawn, and how the slowest tenth is told. No test asserts a measured time."""

import pytest
from benchmark_rows import ROOF, document, row, tiny

from benchmarks import answers, slowest, table
from benchmarks.peers import fastconv_peer
from benchmarks.suites import drawn
from benchmarks.worker import Worker


def test_shapes_are_the_same_every_time_and_of_every_kind():
    cases = drawn.cases(False)
    assert [case.key for case in cases] == [case.key for case in drawn.cases(False)]
    assert len({case.key for case in cases}) == len(cases) == drawn.SHAPES
    assert {case.operation for case in cases} == {"conv1d", "conv2d", "conv3d"}
    assert all(10 ** drawn.WORK[0] <= case.flops <= 10 ** drawn.WORK[1] and case.alone for case in cases)
    channels = {case.arrays["x"][1] for case in cases}
    assert min(channels) == 1
    assert max(channels) > 256
    options = [case.options for case in cases]
    for wanted in (
        lambda o: o["groups"] > 1,
        lambda o: max(o["stride"]) > 1,
        lambda o: max(o["dilation"]) > 1,
        lambda o: any(before != after for before, after in o["padding"]),
    ):
        assert 0.1 < sum(map(wanted, options)) / len(options) < 0.99
    assert drawn.cases(True) == cases[: drawn.QUICK]


@pytest.mark.parametrize("number", range(3))
def test_a_shape_is_right_and_comes_with_what_its_plan_expects(number, tmp_path):
    case = min(drawn.cases(False), key=lambda case: abs(case.flops - 10 ** (5 + number / 2)))
    answers.write(case, tmp_path)
    reply = Worker(fastconv_peer.peer(2)).prepare(case, tmp_path)
    assert reply["status"] == "ok"
    remark = reply["remark"]
    assert remark["expected"] == pytest.approx(sum(remark["parts"].values()))
    assert slowest.USEFUL in remark["parts"]
    assert min(remark["parts"].values()) >= 0


def made(number, seconds, remark):
    found = row(seconds, tiny(number, suite="drawn", group="forward, direct"))
    found["results"]["fastconv"]["remark"] = remark
    return found


def test_the_slowest_tenth_is_listed_with_reasons():
    near = {"expected": 1e-3, "threads": 2, "parts": {slowest.USEFUL: 0.9e-3, "loads": 0.1e-3}}
    rows = [made(6 + number, 1e-6, near) for number in range(18)]
    idle = {"expected": 9e-4, "threads": 1, "parts": {slowest.USEFUL: 1e-5, "idle lanes": 8.9e-4}}
    rows += [made(30, 1e-3, idle), made(31, 2e-3, near)]
    lines = slowest.lines(rows, {"1": ROOF})
    assert lines[0] == "the slowest tenth:"
    assert len(lines) == 3
    assert lines[1].startswith("tiny 31: ")
    assert "on 2 threads: a call's own cost" in lines[1]
    assert lines[2].startswith("tiny 30: ")
    assert "on 1 thread: idle lanes 89 %" in lines[2]
    assert all(line in table.text(document(rows)) for line in lines)


def test_a_row_without_a_plan_says_so():
    lines = slowest.lines([made(6, 1e-3, None)], {"1": ROOF})
    assert lines[1].endswith("nothing is known of its plan")
    assert slowest.lines([], {"1": ROOF}) == []

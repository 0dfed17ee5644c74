"""How often the benchmark suite times a call, what it leaves out, and what it says of its own duration."""

import sys

import pytest
from benchmark_rows import tiny

import fastconv.functional as F
from benchmarks import answers, forecast, heat, peers, progress, run, schedule, table
from benchmarks.figures import LIMIT, Figures
from benchmarks.suites import layers
from benchmarks.worker import Worker
from fastconv import threads


class Given:
    """A peer whose calls take given seconds: a list an attribute of each variant, one entry a turn, the last again."""

    def __init__(self, lives=2, compiles=False, **variants):
        self.lives, self.compiles, self.times = [None] * lives, compiles, variants
        self.asked = []

    def ask(self, life, do, variants=None, **given):
        self.asked.append((do, life))
        if do == "prepare":
            found = {name: {"first_call": times[0], "error": 0.0} for name, times in self.times.items()}
            return {"status": "ok", "compiles": self.compiles, "variants": found, "not_tried": {}}
        for name in variants:
            if len(self.times[name]) > 1:
                self.times[name].pop(0)
        return {"status": "ok", "samples": {name: [self.times[name][0]] for name in variants}}

    def turns(self):
        return [life for do, life in self.asked if do == "turn"]


def row(tmp_path, rounds=6, case=None, **peers):
    return heat.Heat(case or tiny(), peers, str(tmp_path), Figures()).row(rounds)


def test_lives_take_the_rounds_in_turn_and_each_is_checked(tmp_path):
    own = Given(compiles=True, a=[1.0, 0.01, 0.02])
    row(tmp_path, rounds=4, fastconv=own)
    assert own.turns() == [0, 1, 0, 1]
    assert [life for do, life in own.asked if do == "prepare"] == [0, 1]


def test_rounds_that_agree_need_no_more_of_them(tmp_path):
    own, other = Given(compiles=True, a=[1.0, 0.01]), Given(a=[0.011])
    made = row(tmp_path, fastconv=own, numpy=other)
    assert len(own.turns()) == len(other.turns()) == 2
    assert made["ratios"]["numpy"]["median"] == pytest.approx(1.1)


def test_a_variant_that_is_behind_is_timed_once(tmp_path):
    for scale, times in ((10, 1), (1, 2)):  # twice where calls cost little
        own, other = Given(a=[0.01 * scale, 0.012 * scale, 0.01 * scale]), Given(a=[0.01 * scale], b=[0.03 * scale])
        made = row(tmp_path, rounds=3, fastconv=own, numpy=other)
        found = made["results"]["numpy"]["variants"]
        assert [len(found[name]["rounds"]) for name in ("a", "b")] == [3, times]
        assert made["seconds"]["numpy"] == 0.01 * scale


def test_one_disturbed_round_does_not_put_the_better_variant_aside(tmp_path):
    own, other = Given(a=[0.01, 0.012, 0.01]), Given(fast=[0.01, 0.5, 0.01], slow=[0.012])
    made = row(tmp_path, rounds=4, fastconv=own, numpy=other)
    assert len(made["results"]["numpy"]["variants"]["fast"]["rounds"]) > 1


def test_a_peer_far_behind_is_timed_once_and_fastconv_never_is_for_that(tmp_path):
    own, other = Given(a=[0.09, 0.1, 0.09, 0.1]), Given(a=[0.01])
    row(tmp_path, rounds=4, fastconv=own, numpy=other)
    assert len(own.turns()) == 4
    own, other = Given(a=[0.01, 0.012, 0.01, 0.012]), Given(a=[0.09])
    row(tmp_path, rounds=4, fastconv=own, numpy=other)
    assert other.turns() == [0]
    own, other = Given(a=[0.001, 0.0012, 0.001, 0.0012]), Given(a=[0.009])
    row(tmp_path, rounds=4, fastconv=own, numpy=other)
    assert other.turns() == [0, 0]  # such calls cost little, a second life would
    own, other = Given(a=[0.001, 0.0012, 0.001, 0.0012]), Given(a=[0.009, 0.009, 0.001])
    row(tmp_path, rounds=4, fastconv=own, numpy=other)
    assert other.turns() == [0, 0, 0, 1]  # and one that was disturbed comes back


def test_a_long_call_is_made_once_where_nothing_is_compiled(tmp_path):
    own, other = Given(compiles=True, a=[9.0, 5.0]), Given(a=[5.0])
    made = row(tmp_path, fastconv=own, numpy=other)
    assert len(own.turns()) == 1  # its first call compiled
    assert other.turns() == []
    assert made["seconds"] == {"fastconv": 5.0, "numpy": 5.0}
    own, other = Given(compiles=True, a=[0.15, 0.1]), Given(a=[0.6])
    made = row(tmp_path, fastconv=own, numpy=other)
    assert made["seconds"]["numpy"] == 0.6
    assert other.turns() == []


def test_a_wrong_second_life_is_a_wrong_row(tmp_path):
    class Forgetful(Given):
        def ask(self, life, do, **given):
            if do == "prepare" and life == 1:
                return {"status": "wrong", "reason": "a: error 1"}
            return super().ask(life, do, **given)

    made = row(tmp_path, fastconv=Forgetful(a=[0.01]))
    assert made["results"]["fastconv"]["status"] == "wrong"
    assert made["seconds"] == {}


def test_the_roof_of_a_row_is_the_median_of_its_rounds(tmp_path):
    class Measured(Given):
        def ask(self, life, do, **given):
            reply = super().ask(life, do, **given)
            return {**reply, "roof": 1e9 * len(self.turns()) ** 2} if do == "turn" else reply

    own = Measured(a=[0.01, 0.02, 0.01])
    assert row(tmp_path, rounds=3, fastconv=own)["roof"] == 4e9
    assert row(tmp_path, fastconv=Given(a=[0.01]))["roof"] is None


def test_the_processors_roof_is_no_gpus(tmp_path):
    class OnGPU(Given):
        def ask(self, life, do, **given):
            return {**super().ask(life, do, **given), "roof": None}

    assert row(tmp_path, fastconv=OnGPU(a=[0.01]))["roof"] is None
    assert pytest.importorskip("benchmarks.peers.fastconv_cuda_peer").FastconvOnGPU().roof(tiny()) is None


def test_fastconv_measures_the_roof_of_the_cases_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(threads, "_chosen", None)  # the peer sets it
    worker = Worker(peers.load("fastconv", 1))
    for case in (tiny(), tiny(dtype="float64")):
        answers.write(case, tmp_path)
        assert worker.prepare(case, str(tmp_path))["status"] == "ok"
        assert worker.turn()["roof"] > 0
    answers.write(tiny(), tmp_path)
    other = Worker(peers.load("numpy", 1))
    assert other.prepare(tiny(), str(tmp_path))["status"] == "ok"
    assert "roof" not in other.turn()


def test_a_case_of_fastconvs_own_asks_nobody_else(tmp_path):
    other = Given(a=[0.01])
    made = row(tmp_path, case=tiny(alone=True), fastconv=Given(a=[0.01]), numpy=other)
    assert list(made["results"]) == ["fastconv"]
    assert other.asked == []


def test_figures_expect_the_slower_of_flops_and_bytes():
    figures = Figures()
    small, large = tiny(10), tiny(100_000)  # 1000 FLOPs and 10 million, 1000 bytes both
    assert figures.expected("numpy", large) == {"expected": {}, "limit": LIMIT, "beaten": []}
    figures.note(
        "numpy",
        small,
        {"variants": {"a": {"rounds": [[0.02], [0.01]]}, "b": {"rounds": [[0.1]]}, "c": {}, "d": {"rounds": [[1e-4]]}}},
    )
    assert figures.expected("numpy", large)["expected"] == pytest.approx({"a": 100.0, "b": 1000.0})
    assert figures.expected("scipy", large)["expected"] == {}
    figures.note("fastconv", small, {"variants": {"a": {"rounds": [[1.0]]}}})
    assert figures.expected("fastconv", large) == {"expected": {}, "limit": None, "beaten": []}


def test_a_thrifty_run_leaves_a_beaten_variant_alone():
    timed = {"variants": {"a": {"rounds": [[0.02]]}, "b": {"rounds": [[0.01]]}, "c": {"rounds": [[0.011]]}}}
    for thrifty, beaten in ((True, ["a"]), (False, [])):
        figures = Figures(thrifty)
        figures.note("numpy", tiny(), timed)
        assert figures.expected("numpy", tiny(8))["beaten"] == beaten


@pytest.mark.parametrize(
    ("given", "tried"),
    [
        ({}, ["direct", "fft"]),
        ({"expected": {"direct": 0.3, "fft": 0.05}}, ["fft"]),
        ({"expected": {"direct": 0.04, "fft": 0.001}}, ["direct", "fft"]),  # a call of 40 ms is no matter
        ({"expected": {"direct": 2.0, "fft": 1.5}}, ["fft"]),
        ({"expected": {"direct": 200.0}, "limit": 40.0}, ["fft"]),
        ({"beaten": ["fft"]}, ["direct"]),
        ({"beaten": ["fft", "direct"]}, ["direct", "fft"]),
        ({"expected": {"direct": 200.0, "fft": 190.0}, "limit": 40.0}, []),
    ],
)
def test_a_worker_tries_what_may_be_its_peers_best(given, tried, tmp_path):
    class Two:
        compiles = False

        def prepare(self, case, inputs):
            return {
                name: lambda: F.conv2d(inputs["x"], inputs["weight"], None, padding=1) for name in ("direct", "fft")
            }

        def finish(self, answer):
            return answer

        def to_numpy(self, answer):
            return {"y": answer}

    answers.write(tiny(), tmp_path)
    reply = Worker(Two()).prepare(tiny(), str(tmp_path), **given)
    if tried:
        assert (reply["status"], list(reply["variants"])) == ("ok", tried)
        assert set(reply["not_tried"]) == {"direct", "fft"} - set(tried)
    else:
        assert (reply["status"], reply["reason"]) == ("left out", "expected 190 s a call")


def test_what_is_left_out_and_not_tried_is_shown():
    case = tiny()
    left = {"status": "left out", "reason": "expected 212 s a call", "variants": {}}
    kept = {"a": {"first_call": 1.0, "error": 0.0, "rounds": [[1.0]]}}
    beside = {"status": "ok", "variants": kept, "not_tried": {"direct": 212.0}}
    made = {"case": case.to_json(), "results": {"fastconv": beside, "numpy": left, "scipy": beside}, "threads": 1}
    made |= heat.summary(made["results"])
    assert "numpy left out: expected 212 s a call (tiny 6)" in table.reasons([made])
    assert any("scipy's direct was not tried" in line and "1 row" in line for line in table.reasons([made]))
    assert table.peer_cell(made, "numpy") == "left out"


def test_a_duration_in_words():
    assert [forecast.shown(seconds) for seconds in (3, 44, 130, 3600)] == ["10 s", "40 s", "2 min", "60 min"]


def test_what_is_left_follows_what_the_rows_took(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    shown = progress.Progress(4, 400.0)
    assert shown.left() == 400.0
    for _ in range(2):
        shown.row("row", 100.0, 200.0)
    assert 200.0 < shown.left() < 400.0


def test_direct_convolution_has_groups_of_its_own(monkeypatch):
    def chosen(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, *, algorithm="auto"):
        raise NotImplementedError

    for name in ("conv2d", "conv2d_input_grad", "conv2d_weight_grad"):
        monkeypatch.setattr(F, name, chosen)
    cases = [case for case in layers.cases(False) if "direct" in case.group]
    groups = {case.group for case in cases}
    assert groups == {f"{which}, direct{dtype}" for which in layers.PASSES for dtype in ("", ", float64")}
    assert all(case.alone and case.options["algorithm"] == "direct" and "(wide)" in case.name for case in cases)
    singles = schedule.on_one_thread(cases, "direct")
    assert len(singles) == len(cases) == len({case.key for case in [*cases, *singles]}) / 2
    assert {case.group for case in singles} == {f"{group}, 1 thread" for group in groups}
    made = run.plan(["layers"], 2, False, "direct")
    assert len(made.cases) == len(made.curves[1]) == len(cases)


def test_without_the_choice_there_is_no_such_group(monkeypatch):
    monkeypatch.setattr(F, "conv2d", lambda x, weight: None)
    assert not any(case.group == "forward, direct" for case in layers.cases(False))

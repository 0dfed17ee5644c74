"""What the benchmark suite reads off given times: figures, the table, the comparison, the page and its pictures."""

import json
import math
import sys
from dataclasses import replace

import pytest
from benchmark_rows import ROOF, document, row, tiny

from benchmarks import command, compare, heat, markdown, pictures, results, table, units


def test_a_document_makes_the_round_trip(tmp_path):
    made = document([row(1e-3, numpy=2e-3)])
    made["rows"][0]["results"]["numpy"]["variants"]["default"]["error"] = math.nan
    results.save(made, tmp_path / "a.json")
    found = results.load(tmp_path / "a.json")
    assert found["rows"][0]["results"]["numpy"]["variants"]["default"].pop("error") is None
    del made["rows"][0]["results"]["numpy"]["variants"]["default"]["error"]
    assert found == json.loads(json.dumps(made))
    assert list(tmp_path.iterdir()) == [tmp_path / "a.json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "is not JSON"), ("[]", "is not a benchmark's result"), ('{"format": 1}', "is not a benchmark's result")],
)
def test_other_files_are_refused(tmp_path, content, message):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        results.load(tmp_path / "a.json")


def test_ratios_are_taken_round_by_round():
    times = {"fastconv": [1.0, 2.0, 4.0], "numpy": [3.0, 2.0, 8.0]}
    found = {
        name: {"status": "ok", "variants": {"a": {"rounds": [[t] for t in rounds]}, "slow": {"rounds": [[99.0]] * 3}}}
        for name, rounds in times.items()
    }
    made = heat.summary(found)
    assert made["ratios"]["numpy"] == {"median": 2.0, "least": 1.0, "greatest": 3.0}
    assert made["seconds"] == {"fastconv": 2.0, "numpy": 3.0}


def test_figures_worked_by_hand():
    assert results.geometric_mean([0.5, 2.0, 8.0]) == pytest.approx(2.0)
    assert results.geometric_mean([]) is None
    assert results.slope([(10, 1.0), (100, 10.0), (1000, 100.0)]) == pytest.approx(1.0)
    assert results.slope([(10, 1.0), (1000, 10.0)]) == pytest.approx(0.5)
    assert results.slope([(10, 1.0), (10, 2.0)]) is None
    case = replace(tiny(), flops=10**9, traffic=10**6)  # 10 ms at the roof of float32, 0.1 ms at that of memory
    assert results.bound(row(0.02, case), {"1": ROOF}) == (pytest.approx(0.5, rel=0.01), "FMA")
    assert results.bound(row(0.02, replace(case, dtype="float64")), {"1": ROOF})[0] == pytest.approx(1.0, rel=0.01)
    assert results.bound(row(0.02, replace(case, traffic=10**8)), {"1": ROOF}) == (pytest.approx(0.5, rel=0.01), "FMA")
    assert results.bound(row(0.02, replace(case, traffic=10**9)), {"1": ROOF})[1] == "memory"
    assert results.bound(row(0.02, case), {}) is None
    beside = {**row(0.02, case), "roof": 6e10}  # what was measured beside the row counts, instead
    assert results.bound(beside, {"1": ROOF})[0] == pytest.approx(5 / 6, rel=0.01)


def test_a_groups_foot_names_the_worst_row():
    rows = [row(1.0, tiny(6), numpy=0.5, scipy=8.0), row(1.0, tiny(8), numpy=2.0), row(1.0, tiny(10), numpy=8.0)]
    assert table.footer(rows) == [
        "geometric mean of the ratio to the best peer 2.00 over 3 rows; worst 0.50 (tiny 6)",
        "geometric mean to each: numpy 2.00, scipy 8.00 (1 row)",
    ]


@pytest.mark.parametrize(
    ("function", "value", "text"),
    [
        (units.seconds, 1.234e-9, "1.23 ns"),
        (units.seconds, 4.5e-5, "45.0 µs"),
        (units.seconds, 9.996e-4, "1.00 ms"),
        (units.seconds, 123.4, "123 s"),
        (units.seconds, None, "-"),
        (units.count_bytes, 3 << 20, "3.00 MiB"),
        (units.digits, 12345.6, "12346"),
        (units.digits, 0.0123, "0.012"),
        (units.percent, 0.634, "63 %"),
    ],
)
def test_units_have_three_digits(function, value, text):
    assert function(value) == text


def test_a_narrow_terminal_loses_columns_and_no_row():
    made = document([row(1e-3, numpy=2e-3)])
    wide, narrow = table.text(made), table.text(made, 60)
    assert "first call" in wide.splitlines()[1]
    assert "first call" not in narrow.splitlines()[1]
    assert max(map(len, narrow.splitlines()[1:4])) <= 60
    assert "tiny 6" in narrow


def test_compare_names_what_is_slower(tmp_path, capsys):
    old = document([row(1e-3, tiny(6)), row(1e-3, tiny(8)), row(1e-3, tiny(10)), row(1e-3, tiny(12))])
    new = document([row(1.5e-3, tiny(6)), row(1e-3, tiny(8)), row(0.5e-3, tiny(10)), row(1.05e-3, tiny(12))])
    paths = [str(tmp_path / name) for name in ("old.json", "new.json")]
    for made, path in zip((old, new), paths, strict=True):
        results.save(made, path)
    assert command.main(["--compare", *paths]) == 1
    shown = capsys.readouterr().out
    slower, faster = shown.split("slower by more than 1.1: 1")[1].split("faster by more than 1.1: 1")
    assert "1.50" in slower
    assert "layers/forward/tiny 6" in slower
    assert "layers/forward/tiny 10" in faster
    assert "tiny 8" not in shown
    assert "warning" not in shown
    assert command.main(["--compare", *paths, "--threshold", "1.6"]) == 0
    assert command.main(["--compare", paths[0], paths[0]]) == 0
    assert "nothing got slower by more than 1.1 in 4 rows" in capsys.readouterr().out


def test_compare_gives_no_alarm_within_the_runs_own_spread(tmp_path):
    for name, seconds in (("old", 1e-3), ("new", 1.2e-3)):
        results.save(document([row(seconds, spread=0.8)]), tmp_path / f"{name}.json")
    text, status = compare.compare(str(tmp_path / "old.json"), str(tmp_path / "new.json"))
    assert status == 0
    assert "within the runs' own spread: 1" in text


def test_compare_warns_of_other_machines_and_names_what_broke(tmp_path):
    old, new = document([row(1e-3)]), document([row(1e-3)], threads=2)
    new["machine"]["processor"], new["status"] = "another", "interrupted"
    new["rows"][0]["results"]["fastconv"] = {"status": "wrong", "reason": "error 1", "variants": {}}
    for made, name in ((old, "old.json"), (new, "new.json")):
        results.save(made, tmp_path / name)
    text, status = compare.compare(str(tmp_path / "old.json"), str(tmp_path / "new.json"))
    assert status == 1
    assert "broken: layers/forward/tiny 6: fastconv wrong: error 1" in text
    assert "the machines differ in processor" in text
    assert "the runs had 1 and 2 threads" in text
    assert "the new run was interrupted" in text


def startup_of(seconds):
    return {"status": "ok", **{stage: {"median": seconds, "samples": [seconds] * 2} for stage in results.STAGES}}


def test_the_page_shows_figures_and_pictures(tmp_path):
    cases = [tiny(side, suite=suite) for suite in ("layers", "latency") for side in (6, 8, 10)]
    cases += [tiny(side, suite="scaling", group="side") for side in (6, 8, 10)]
    made = document([row(1e-6 * i, case, numpy=2e-6, scipy=1e-5) for i, case in enumerate(cases, 1)])
    made["rows"].append(row(1e-3, tiny(10, suite="scaling", group="threads")))
    made["rows"][0]["results"]["scipy"] = {"status": "failed", "reason": "see /some/folder/a.so", "variants": {}}
    made["startup"] = {"fastconv": startup_of(0.5), "numpy": startup_of(1.0)}
    path = markdown.write(made, tmp_path)
    text = path.read_text(encoding="utf-8")
    assert "`fastconv bench layers --peers numpy,scipy --threads 1 --rounds 2 --report`" in text
    assert "<details><summary>All 3 rows</summary>" in text
    assert "| first call, cold caches | 500 ms | numpy | 2.00 | 1.00 s |" in text
    assert "see (path)" in text
    assert str(tmp_path) not in text
    drawn = sorted((tmp_path / "results").glob("*.png"))
    assert {file.name for file in drawn} >= {"layers-roofline.png", "layers-ratios-by-name.png", "scaling-curves.png"}
    assert all(f"(results/{file.name})" in text for file in drawn)
    for file in drawn:
        assert inked(file) > 0.01


def inked(file):
    """The fraction of a picture that is not white."""
    from matplotlib import image

    return float((image.imread(file)[..., :3].min(axis=-1) < 0.9).mean())


def test_pictures_without_matplotlib_name_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pip install "fastconv\[app\]"'):
        pictures.write(document([row(1e-3, numpy=1e-3)]), tmp_path)

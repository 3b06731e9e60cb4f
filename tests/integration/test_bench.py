"""The bench itself: each part runs whole at its tiny size, and its tables have their rows. How fast
anything is does not matter here; nothing is asserted about it."""
import json
import os
import subprocess
import sys

import pytest

import harness

BENCH = harness.ROOT / "tests" / "bench"
sys.path.insert(0, str(BENCH))
import figures  # noqa: E402  (found by the line above)
import machine  # noqa: E402
import parts  # noqa: E402
import trial  # noqa: E402

VARIANTS = {
    "instant": ["floor", "worker"], "50ms": ["floor", "worker"], "10s": ["floor", "worker"],
    "idle-latency": ["worker"], "workers": ["1", "2", "4"],
    "limits": ["none", "far off"], "rows": ["none", "loaded"],
    "parked": ["none", "not due", "paused"], "submit": ["lines", "files"],
    "backlog": ["shallow", "deep"],
}
# Those that need no second load of their own: the other columns are the first one's code.
RUN_HERE = ["instant", "idle-latency", "limits", "rows", "parked", "submit", "backlog"]


def a_run(**variants):
    """What the bench would have measured of part `instant`."""
    return {"machine": {}, "parts": {"instant": {"title": "t", "load": "l", "figures": variants}}}


def bench(*arguments, ok=0, env=None):
    done = subprocess.run([BENCH / "run", *map(str, arguments)], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=300, check=False,
                          env={**os.environ, **(env or {})})
    assert done.returncode == ok, done.stdout + done.stderr
    return done


def test_quantiles_are_interpolated_in_their_bucket():
    buckets = [(0.001, 50), (0.002, 100), (float("inf"), 100)]
    assert trial.quantile(buckets, 0.5) == pytest.approx(0.001)
    assert trial.quantile(buckets, 0.99) == pytest.approx(0.00198)
    assert trial.quantile([(0.001, 1), (float("inf"), 10)], 0.99) == 0.001
    assert trial.quantile([(0.001, 0), (float("inf"), 0)], 0.5) is None
    assert trial.quantile([], 0.5) is None


def test_percentiles_are_values_that_were_seen():
    assert parts.percentile(range(1, 201), 99) == 198
    assert parts.percentile([7], 99) == 7
    assert parts.percentile([3, 1, 2], 50) == 2


def test_aims_are_judged_by_number_by_ratio_and_at_this_machines_pace():
    run = a_run(floor={"program_us": 36.0, "rate": 1000}, worker={"program_us": 60.0, "rate": 499})
    verdicts = {v.aim.figure: v for v in figures.verdicts(run)}
    assert verdicts["program_us"].limit == 35
    assert verdicts["program_us"].here == 70  # the floor costs twice what it did there
    assert verdicts["program_us"].words() == "not met; met at 70.0"
    assert verdicts["rate"].limit == 500
    assert verdicts["rate"].words() == "not met"
    assert set(verdicts) == {"program_us", "rate"}  # what was not measured is not judged
    run = a_run(floor={"program_us": 18.0, "rate": 1000}, worker={"program_us": 35.0, "rate": 500})
    assert [v.words() for v in figures.verdicts(run)] == ["met", "met"]


def test_growth_is_judged_at_modelsims_pace():
    run = a_run()
    run["parts"] = {"backlog": {"title": "t", "load": "l", "figures": {
        "shallow": {"both_us": 100.0, "modelsim_us": 10.0},
        "deep": {"both_us": 130.0, "modelsim_us": 12.0}}}}
    assert [v.words() for v in figures.verdicts(run)] == ["not met; met at 132.0"]
    run["parts"]["backlog"]["figures"]["deep"]["modelsim_us"] = 10.0
    assert [v.words() for v in figures.verdicts(run)] == ["not met; not met at 110.0"]


def test_of_repeated_runs_the_cheapest_of_each_variant_counts():
    first = {"a": {"both_us": 2.0, "rate": 1}, "b": {"program_us": 5.0, "rate": 2}}
    second = {"a": {"both_us": 3.0, "rate": 3}, "b": {"program_us": 4.0, "rate": 4}}
    assert figures.quietest([first, second]) == {"a": first["a"], "b": second["b"]}


def test_every_aim_names_a_part_a_variant_and_a_figure():
    assert {part.name for part in parts.PARTS} == VARIANTS.keys()
    for aim in figures.AIMS:
        assert aim.variant in VARIANTS[aim.part]
        assert not aim.beside or aim.beside in VARIANTS[aim.part]
        assert aim.figure in figures.FORMATS
    for _, part, variants, figure in figures.ALSO:
        assert set(variants) <= set(VARIANTS[part]) and figure in figures.FORMATS


@pytest.mark.skipif(harness.VARIANT != "release", reason="the bench measures the release build")
def test_each_part_runs_whole(tmp_path):
    kept = tmp_path / "figures.json"
    chosen = [word for name in RUN_HERE for word in ("--part", name)]
    text = bench("--here", "--tiny", "--json", kept, *chosen).stdout
    run = json.loads(kept.read_text())
    assert list(run["parts"]) == RUN_HERE
    assert run["machine"]["cores"] == os.cpu_count()
    for name, part in run["parts"].items():
        assert list(part["figures"]) == VARIANTS[name]
        for variant, found in part["figures"].items():
            assert all(value >= 0 for value in found.values()), (name, variant, found)
        assert f"{name}: {part['title']}" in text
        for _, label, _ in figures.rows(part):
            assert label in text
    for verdict in figures.verdicts(run):
        assert verdict.aim.text in text
    worker, floor = (run["parts"]["instant"]["figures"][v] for v in ("worker", "floor"))
    assert worker.keys() == floor.keys()
    for key in ("rate", "program_us", "postgres_us", "kafka_us", "wal_bytes", "disk_bytes",
                "rss_kib_call", "turn_p99_ms"):
        assert worker[key] > 0, key
    # What is kept can be printed again and compared.
    assert "| Aim | Limit |" in bench("--from", kept, "--markdown").stdout
    compared = subprocess.run([BENCH / "compare", kept, kept], capture_output=True, text=True,
                              check=True).stdout
    assert "instant, worker" in compared and "x 1.00" in compared


def test_a_call_too_many_is_no_figure():
    class Model:
        pid = os.getpid()
        forget = staticmethod(lambda: None)
        calls = staticmethod(lambda: 101)

    class Tables:
        ask = staticmethod(lambda sql: "now")
        number = wal_bytes = disk_bytes = commits = staticmethod(lambda *sql: 0)

    meter = trial.Meter(Tables, Model)
    meter.check_calls(101)
    with pytest.raises(machine.Problem, match="100 jobs, but modelsim saw 101 calls"):
        meter.check_calls(100)


@pytest.mark.skipif(harness.VARIANT != "release", reason="the bench measures the release build")
def test_a_part_that_is_not_whole_shows_nothing(tmp_path):
    """With a bare loop that fails; the part after it runs all the same."""
    (tmp_path / "bin").mkdir()
    for program in harness.BIN.iterdir():
        (tmp_path / "bin" / program.name).symlink_to(program)
    (tmp_path / "bin" / "bench-floor").unlink()
    (tmp_path / "bin" / "bench-floor").symlink_to("/bin/false")
    done = bench("--here", "--tiny", "--part", "instant", "--part", "submit", ok=1,
                 env={"BUILD": str(tmp_path)})
    assert "instant: bench-floor ended with 1" in done.stderr
    assert "not whole: instant" in done.stderr
    assert "instant:" not in done.stdout and "submit:" in done.stdout

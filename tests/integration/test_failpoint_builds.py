"""Failpoints are in the builds that tests use, and no trace of them is in those that users get."""
import re

import pytest

from checks import finish
from harness import BIN, ROOT, TOOLS, VARIANT, run

needs_failpoints = pytest.mark.skipif(VARIANT == "release", reason="compiled out")


def test_the_release_program_holds_no_failpoint(tmp_path):
    """No name, no symbol; and what is installed is compiled as it is."""
    program = TOOLS / "inferq-worker"
    image = program.read_bytes()
    names = re.findall(r'\{"([a-z_.]+)", "worker/', (ROOT / "worker" / "failpoints.c").read_text())
    names += [f"path.{a}>{b}" for a, b in re.findall(
        r"ARROW\((\w+), (\w+)\),", (ROOT / "worker" / "failpoints.c").read_text())]
    assert len(names) > 60 and b"path.claim" not in image
    for name in [*names, "INFERQ_FAILPOINT", "failpoint_hit", "failpoint_armed"]:
        assert name.encode() not in image, name
    symbols = run("nm", program).stdout
    assert "path_move" in symbols and "failpoint" not in symbols
    for variant, defined in (("dist", False), ("release", False), ("asan", True), ("debug", True)):
        flags = run("make", "-s", "-n", "-B", "-C", ROOT, f"BUILD={tmp_path}", f"VARIANT={variant}",
                    f"{tmp_path}/{variant}/obj/worker/path_state.o").stdout
        assert "worker/path_state.c" in flags and ("-DINFERQ_FAILPOINTS" in flags) == defined


def test_the_variable_does_nothing_in_a_release_program(lone_world):
    world = lone_world()
    for value in ("no such place=kill", "record.taken=kill;path.fetched>admit*=abort"):
        hits = world.tmp / "hits"
        worker = world.start_worker(binary=TOOLS / "inferq-worker", env={
            "INFERQ_FAILPOINT": value, "INFERQ_FAILPOINT_LOG": str(hits)})
        assert world.wait_ended(world.ask("as ever"))["succeeded"] == 1
        assert worker.stop() == 0 and not hits.exists()
    finish(world)


@needs_failpoints
def test_what_is_not_understood_ends_the_worker_before_it_starts():
    done = run(BIN / "inferq-worker", env={"INFERQ_FAILPOINT": "no such place=kill"}, ok=(2,))
    assert "no such place" in done.stderr and "path.claim>call" in done.stderr
    done = run(BIN / "inferq-worker", env={"INFERQ_FAILPOINT_LOG": "/no/such/place"}, ok=(2,))
    assert "/no/such/place" in done.stderr

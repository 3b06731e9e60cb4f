"""Starting and stopping: SIGTERM, a second one, what the HTTP port says, what keeps a worker from
starting; and the proof that the witness sees a call without a claim."""
import re
import shutil
import signal
import subprocess

import pytest

from checks import check, finish
from door import Door
from harness import BIN, QUICK_LEASE, TOOLS, VARIANT, model, run, wait_for


def in_flight(world):
    return world.sim.summary()["in_flight"]


def test_sigterm_drains_and_exits_0(lone_world):
    """Calls in flight end and are stored; what waited is left to the next worker, and nothing is
    called twice."""
    world = lone_world(models=[model("slow", max_in_flight=60)], latency="1500ms")
    first = world.start_worker()
    jobs = 300
    batch = world.ask(*[f"text {i}" for i in range(jobs)], model="slow")
    wait_for(lambda: in_flight(world) >= 50, what="50 calls in flight")
    first.signal(signal.SIGTERM)
    assert first.wait() == 0
    done = world.counts(batch)["succeeded"]
    assert 50 <= done < jobs, "those in flight, and no more than began"
    assert world.sim.summary()["outcomes"].get("client_gone", 0) == 0
    assert world.value("SELECT count(*) FROM call WHERE done_at IS NULL") == 0
    assert world.value("SELECT count(*) FROM worker WHERE stopped_at IS NULL") == 0
    world.start_worker()
    assert world.wait_ended(batch)["succeeded"] == jobs
    assert len(world.calls(batch)) == jobs
    finish(world)


def test_readiness_ends_when_the_drain_begins(lone_world):
    world = lone_world()
    door = Door(world.sim.port)
    world.write_catalogue([model("m", base_url=door.url)])
    worker = world.start_worker()
    assert worker.get("/livez")[0] == 200 and worker.get("/readyz")[0] == 200
    batch = world.ask("one")
    wait_for(lambda: worker.metric("inferq_calls_in_flight") == 1, what="the call")
    worker.signal(signal.SIGTERM)

    def unready():
        status, body = worker.get("/readyz")
        return (status, body) if status != 200 else None

    status, body = wait_for(unready, what="no longer ready")
    assert status == 503 and "drain" in body
    assert worker.get("/livez")[0] == 200 and worker.alive
    door.open()
    assert worker.wait() == 0
    assert world.counts(batch)["succeeded"] == 1


def test_a_second_sigterm_gives_up_calls_in_flight(lone_world):
    """They are stored as aborted, with their estimated cost, and run again elsewhere."""
    world = lone_world(conf=QUICK_LEASE)
    worker = world.start_worker()
    batch = world.ask(*["[[sim: latency=15s times=1]] long " + str(i) for i in range(10)])
    wait_for(lambda: in_flight(world) == 10, what="ten calls in flight")
    worker.signal(signal.SIGTERM)
    wait_for(lambda: worker.logged("draining"), what="the drain")
    assert worker.alive
    assert worker.stop() == 0  # the second one
    calls = world.calls(batch)
    assert {(c["class"], c["certainty"]) for c in calls} == {("aborted", "estimated")}
    assert all(c["cost_nusd"] == c["estimated_nusd"] > 0 for c in calls)
    world.start_worker()
    assert world.wait_ended(batch)["succeeded"] == 10
    finish(world)


def test_the_drain_is_bounded(lone_world):
    world = lone_world(conf={"drain.timeout": "1s"})
    worker = world.start_worker()
    batch = world.ask("[[sim: latency=15s times=1]] long")
    wait_for(lambda: in_flight(world) == 1, what="the call")
    assert worker.stop(8) == 0
    assert [c["class"] for c in world.calls(batch)] == ["aborted"]
    world.start_worker()
    assert world.wait_ended(batch)["succeeded"] == 1
    finish(world)


def test_metrics_agree_with_what_is_stored(lone_world):
    world = lone_world()
    worker = world.start_worker()
    batch = world.ask(*[f"text {i}" for i in range(30)], "[[sim: status=400]] bad")
    world.wait_ended(batch)
    # The worker counts what is stored once it has heard of that.
    wait_for(lambda: worker.metric("inferq_jobs") == 0, what="a worker that holds nothing")
    text = worker.get("/metrics")[1]
    if shutil.which("promtool"):
        subprocess.run(["promtool", "check", "metrics"], input=text, text=True, check=True,
                       capture_output=True)
    assert worker.metric("inferq_jobs_fetched_total", lane="normal") == 31
    assert worker.metric("inferq_jobs_ended_total", status="succeeded") == 30
    assert worker.metric("inferq_jobs_ended_total", status="dead", **{"class": "invalid"}) == 1
    assert worker.metric("inferq_calls_total", endpoint="at-m", **{"class": "ok"}) == 30
    assert worker.metric("inferq_call_seconds_count", endpoint="at-m") == 31
    cost = world.value("SELECT sum(cost_nusd) FROM call")
    assert abs(worker.metric("inferq_cost_usd_total", model_version="m@1") - float(cost) / 1e9) < 1e-9
    assert worker.metric("inferq_calls_in_flight") == 0
    assert worker.metric("inferq_postgres_up") == 1 and worker.metric("inferq_kafka_up") == 1
    assert 0 < worker.metric("inferq_lease_left_seconds") <= 15
    for job_id, custom_id in world.rows("SELECT job_id, custom_id FROM result"):
        assert str(job_id) not in text and f'"{custom_id}"' not in text
    assert not re.search(r"\b(pipe|batch-\w+)\b", text), "no label per app or batch"
    assert worker.get("/nothing")[0] == 404
    finish(world)


@pytest.mark.parametrize("change, code, what", [
    ({"env": {"PGHOST": "127.0.0.1", "PGPORT": "9"}}, 3, "127.0.0.1"),
    ({"conf": {"lease.heartbeat": "20s"}}, 2, "lease.time"),
    ({"conf": {"max_in_fligth": "3"}}, 2, "max_in_flight"),
    ({"conf": {"catalogue": "/nonexistent.yaml"}}, 2, "/nonexistent.yaml"),
    ({"conf": {"signature.check": "require"}}, 2, "signature.keys"),
])
def test_what_keeps_a_worker_from_starting(lone_world, change, code, what):
    world = lone_world(make_topics=False)
    conf = {"catalogue": world.catalogue_file, **world.conf, **change.get("conf", {})}
    command = [BIN / "inferq-worker"]
    for key, value in conf.items():
        command += [f"--{key}", value]
    done = run(*command, env={**world.env, **change.get("env", {})}, ok=(code,), timeout=40)
    assert what in done.stderr + done.stdout


def test_a_database_without_tables_is_named_with_the_remedy(lone_world):
    world = lone_world(make_topics=False)
    done = run(BIN / "inferq-worker", "--catalogue", world.catalogue_file, "--listen", "127.0.0.1:0",
               env={**world.env, "PGDATABASE": "postgres"}, ok=(2,))
    assert "inferq migrate" in done.stderr


def test_a_changed_catalogue_entry_is_refused_by_name(lone_world):
    world = lone_world(make_topics=False)
    world.start_worker(ready=False)
    wait_for(lambda: world.value("SELECT count(*) FROM endpoint") == 1, what="the catalogue's rows")
    world.write_catalogue([model("m", timeout="7s")])
    done = run(BIN / "inferq-worker", "--catalogue", world.catalogue_file, "--listen", "127.0.0.1:0",
               "--prefix", world.name, env=world.env, ok=(2,))
    assert "at-m" in done.stderr


def test_the_witness_sees_calls_without_a_claim(lone_world):
    """With claims switched off (a failpoint, in debug and asan builds only) the check that every
    other test relies on must fail."""
    binary = BIN / "inferq-worker" if VARIANT != "release" else None
    for variant in ("asan", "debug"):
        candidate = TOOLS.parent / variant / "bin" / "inferq-worker"
        binary = binary or (candidate if candidate.exists() else None)
    if binary is None:
        pytest.skip("no debug or asan build of the worker beside this one")
    world = lone_world()
    worker = world.start_worker(binary=binary, env={"INFERQ_FAILPOINT": "claim.skip*=error"})
    world.ask("claimed by nobody", "nor this one")
    wait_for(lambda: world.sim.summary()["ledger_missing"] == 2, what="two calls without a row")
    with pytest.raises(AssertionError, match="before their row was committed"):
        check(world)
    worker.kill()

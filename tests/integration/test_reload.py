"""SIGHUP: a running worker takes over settings, signature keys and credentials, all or nothing.

Happy path: the file is changed, the signal is sent, and what it says holds for the next decision;
jobs under way neither end nor run twice because of it. A file that a start would refuse changes
nothing, is logged with the place and the remedy, and counted.
"""
import signal

from checks import finish
from client import Sim
from harness import model, wait_for

KEYS = {"old": "sk-reload-old-0123456789", "new": "sk-reload-new-9876543210"}


def write(path, **settings):
    """A settings file; dots of a key are written as underscores of two."""
    path.write_text("".join(f"{k.replace('__', '.')} = {v}\n" for k, v in settings.items()))


def reload(worker, taken=True):
    """Signals, and waits until that is done."""
    name = ("inferq_config_last_reload_success_timestamp_seconds" if taken else
            "inferq_config_reload_failures_total")
    before = worker.metric(name)
    worker.signal(signal.SIGHUP)
    wait_for(lambda: worker.metric(name) > before, what="the reload's end")
    assert worker.metric("inferq_config_last_reload_successful") == taken


def buried(worker):
    return worker.metric("inferq_records_buried_total", **{"class": "bad_signature"})


def test_settings_take_effect_and_a_bad_file_changes_nothing(lone_world):
    world = lone_world(latency="700ms")
    file = world.tmp / "worker.conf"
    write(file, max_in_flight=2)
    worker = world.start_worker(config=file)
    batch = world.ask(*[f"text {i}" for i in range(30)])
    wait_for(lambda: worker.metric("inferq_calls_in_flight") == 2, what="two calls in flight")

    write(file, max_in_flight="many")
    reload(worker, taken=False)
    assert worker.logged("not reloaded") and worker.logged(f"{file}:1: max_in_flight"), worker.log()
    write(file, max_in_flight=9, lane__high__min_share=300, lease__heartbeat="7s")
    reload(worker, taken=False)
    assert worker.logged("lease.time must be at least"), "checked as a whole, like a start's"
    write(file, signature__check="require", signature__keys="file:/nowhere/keys", max_in_flight=9)
    reload(worker, taken=False)
    assert worker.logged("/nowhere/keys")
    assert world.sim.summary()["max_in_flight"] == 2, "nothing of a refused file holds"

    write(file, max_in_flight=9, lease__time="20s", kafka__client__id="me")
    reload(worker)
    wait_for(lambda: world.sim.summary()["max_in_flight"] > 2, what="more calls in flight")
    assert worker.metric("inferq_config_restart_needed") == 2
    for key in ("lease.time", "kafka.*"):
        assert f'holds after a restart only" key={key}' in worker.log(), worker.log()
    assert world.wait_ended(batch)["succeeded"] == 30

    write(file, max_in_flight=9, log__level="error")
    reload(worker)
    lines = worker.log().count("msg=reloaded")
    reload(worker)
    assert worker.log().count("msg=reloaded") == lines, "the level holds"
    finish(world)


def test_signature_keys_are_rotated(lone_world):
    """A key that the workers did not know when they started is good after a reload, and the one that
    is gone is not."""
    world = lone_world()
    file, ring = world.tmp / "worker.conf", world.tmp / "ring"
    first, second = "a:" + 64 * "1", "b:" + 64 * "2"
    ring.write_text(f"pipe {first}\n")
    write(file, signature__check="require", signature__keys=f"file:{ring}")
    worker = world.start_worker(config=file)

    def signed(key, text):
        return world.ask(text, env={"INFERQ_SIGNING_KEY": "env:RELOAD_KEY", "RELOAD_KEY": key})
    assert world.wait_ended(signed(first, "known"))["succeeded"] == 1
    ring.write_text(f"pipe {second}\n")
    reload(worker)
    signed(first, "too old")
    wait_for(lambda: buried(worker) == 1, what="a record that nobody signed any more")
    assert world.wait_ended(signed(second, "new"))["succeeded"] == 1
    write(file)
    reload(worker)
    assert world.wait_ended(signed(first, "not looked at"))["succeeded"] == 1
    assert world.stop_workers() is None


def test_a_credential_is_rotated_and_what_waited_for_it_goes_on(lone_world, tmp_path):
    """The server wants another key: the endpoint pauses for a minute, its jobs are parked. The file is
    changed, a reload sends a probe at once, and all of them end long before the pause would have."""
    key = tmp_path / "key"
    key.write_text(KEYS["old"])
    models = [model("m", credential=f"file:{key}")]
    world = lone_world()
    world.sim.stop()
    world.sim = Sim(tmp_path, "--ledger", f"dbname={world.name}", "--require-key", KEYS["new"])
    world.write_catalogue(models)
    worker = world.start_worker(lane__normal__max_jobs=100)
    batch = world.ask(*[f"text {i}" for i in range(20)])
    wait_for(lambda: world.value("SELECT count(*) FROM parked") == 20, what="parked jobs")
    assert worker.metric("inferq_endpoint_paused_seconds", endpoint="at-m") > 20
    refused = len(world.calls(batch))

    key.unlink()
    reload(worker, taken=False)
    assert worker.logged("endpoint at-m") and worker.logged(f"file:{key}")
    key.write_text(KEYS["old"])
    reload(worker)
    assert worker.metric("inferq_endpoint_paused_seconds", endpoint="at-m") > 10, "nothing is new"
    key.write_text(KEYS["new"])
    reload(worker)
    assert world.wait_ended(batch, seconds=20)["succeeded"] == 20
    assert len(world.calls(batch)) == refused + 20, "the probe went with the new key"
    assert worker.metric("inferq_endpoint_paused_seconds", endpoint="at-m") == 0
    assert not [k for k in KEYS.values() if k in worker.log() + worker.get("/metrics")[1]]
    finish(world)


def test_reloads_under_load_lose_nothing_and_call_nothing_twice(lone_world, tmp_path):
    key, file = tmp_path / "key", tmp_path / "worker.conf"
    key.write_text(KEYS["old"])
    world = lone_world(models=[model("keyed", credential=f"file:{key}", max_in_flight=50)],
                       latency="100ms")
    write(file, max_in_flight=4)
    workers = [world.start_worker(config=file) for _ in range(2)]
    batches = []
    for i in range(12):
        batches.append(world.ask(*[f"{i} {j}" for j in range(25)], model="m" if i % 3 else "keyed"))
        key.write_text(KEYS["old" if i % 2 else "new"])
        write(file, max_in_flight=4 + i % 5, short_wait=f"{1 + i % 3}s",
              lane__normal__weight=1 + i % 9, lane__normal__max_jobs=100 + i)
        for worker in workers:
            worker.signal(signal.SIGHUP)
    for batch in batches:
        assert world.wait_ended(batch)["succeeded"] == 25
        assert len(world.calls(batch)) == 25, "each job was called once"
    assert all(w.metric("inferq_config_reload_failures_total") == 0 for w in workers)
    wait_for(lambda: all("a credential has changed" in w.log() for w in workers), what="reloads")
    finish(world)

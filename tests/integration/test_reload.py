"""SIGHUP: a running worker takes over settings, signature keys, credentials and the catalogue, all or
nothing.

Happy path: the file is changed, the signal is sent, and what it says holds for the next decision;
jobs under way neither end nor run twice because of it. A file that a start would refuse changes
nothing, is logged with the place and the remedy, and counted.
"""
import collections
import contextlib
import signal
import socket

import yaml

from checks import finish
from client import Sim
from harness import PRICE, model, wait_for

KEYS = {"old": "sk-reload-old-0123456789", "new": "sk-reload-new-9876543210"}


def replace(path, text):
    """At once: a reload that the last signal asked for may be reading it just now."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(text)
    new.replace(path)


def write(path, **settings):
    """A settings file; dots of a key are written as underscores of two."""
    replace(path, "".join(f"{k.replace('__', '.')} = {v}\n" for k, v in settings.items()))


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
    batch = world.ask(*[f"text {i}" for i in range(70)])  # half a minute, two by two
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
    assert world.wait_ended(batch)["succeeded"] == 70

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
    replace(ring, f"pipe {first}\n")
    write(file, signature__check="require", signature__keys=f"file:{ring}")
    worker = world.start_worker(config=file)

    def signed(key, text):
        return world.ask(text, env={"INFERQ_SIGNING_KEY": "env:RELOAD_KEY", "RELOAD_KEY": key})
    assert world.wait_ended(signed(first, "known"))["succeeded"] == 1
    replace(ring, f"pipe {second}\n")
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
    replace(key, KEYS["old"])
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
    replace(key, KEYS["old"])
    reload(worker)
    assert worker.metric("inferq_endpoint_paused_seconds", endpoint="at-m") > 10, "nothing is new"
    replace(key, KEYS["new"])
    reload(worker)
    assert world.wait_ended(batch, seconds=20)["succeeded"] == 20
    assert len(world.calls(batch)) == refused + 20, "the probe went with the new key"
    assert worker.metric("inferq_endpoint_paused_seconds", endpoint="at-m") == 0
    assert not [k for k in KEYS.values() if k in worker.log() + worker.get("/metrics")[1]]
    finish(world)


def test_reloads_under_load_lose_nothing_and_call_nothing_twice(lone_world, tmp_path):
    key, file = tmp_path / "key", tmp_path / "worker.conf"
    replace(key, KEYS["old"])
    world = lone_world(models=[model("keyed", credential=f"file:{key}", max_in_flight=50)],
                       latency="100ms")
    write(file, max_in_flight=4)
    workers = [world.start_worker(config=file) for _ in range(2)]
    batches = []
    for i in range(12):
        batches.append(world.ask(*[f"{i} {j}" for j in range(25)], model="m" if i % 3 else "keyed"))
        replace(key, KEYS["old" if i % 2 else "new"])
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


# ---- the catalogue -------------------------------------------------------------------------------


def version(name, endpoint, upstream="m", **more):
    return {"version": name, "upstream_model": upstream, "endpoint": endpoint,
            "max_output_tokens": 1000, "prices": [PRICE], **more}


class File:
    """A catalogue of the model `m` that is changed piece by piece. Every endpoint is the stand-in."""

    def __init__(self, world):
        self.world = world
        self.endpoints = {}
        self.versions, self.current = [], "1"
        self.models, self.routes = [], []
        self.add_endpoint("first")
        self.versions.append(version("1", "first"))
        self.write()

    def add_endpoint(self, name, port=None, **more):
        self.endpoints[name] = {
            "name": name, "base_url": f"http://127.0.0.1:{port or self.world.sim.port}",
            "send_ids": True, "timeout": "20s", "connect_timeout": "20s", **more}

    def write(self, extra=""):
        replace(self.world.catalogue_file, yaml.safe_dump({
            "catalogue": self.world.name, "endpoints": list(self.endpoints.values()),
            "models": [{"name": "m", "current": self.current, "versions": self.versions},
                       *self.models],
            "defaults": [{"model": "m"}], "routes": self.routes}) + extra)


def versions_of(world, batch):
    """{label: results}"""
    return collections.Counter(row["model_version"] for row in world.results(batch).values())


def asked_for(world):
    """What the stand-in was asked for: {upstream model: calls}"""
    return collections.Counter(line["model"] for line in world.sim.lines("end"))


def test_a_new_version_serves_what_waits_and_what_comes(lone_world):
    """Two workers take over the same file at once. Calls under way end as they began; what waits behind
    them, and what comes, goes to the version that is current now, at an endpoint that is new. Then
    that one is retired, and nothing is called any more."""
    world = lone_world(latency="1500ms")
    file = File(world)
    workers = [world.start_worker(max_in_flight=3) for _ in range(2)]
    world.settle()
    file.add_endpoint("second")
    file.versions.append(version("2", "second", "m-two"))
    file.current = "2"
    file.write()
    hashes = {w.get("/metrics")[1].partition('inferq_catalogue_info{sha256="')[2][:12]
              for w in workers}
    batch = world.ask(*[f"text {i}" for i in range(36)])
    wait_for(lambda: world.sim.summary()["in_flight"] == 6, what="both workers' calls")
    for worker in workers:
        worker.signal(signal.SIGHUP)
    for worker in workers:
        wait_for(lambda: worker.logged("msg=reloaded"), what="the reload's end")  # noqa: B023
        shown = worker.get("/metrics")[1]
        assert shown.count("inferq_catalogue_info{") == 1
        assert not [old for old in hashes if f'sha256="{old}"' in shown]
    assert world.wait_ended(batch)["succeeded"] == 36
    served = versions_of(world, batch)
    assert served["m@1"] >= 6 and served["m@2"] >= 1 and len(served) == 2, served
    wait_for(lambda: asked_for(world) == {"m": served["m@1"], "m-two": served["m@2"]},
             what="as many calls seen by the model")
    later = world.ask("later", "and later")
    assert world.wait_ended(later)["succeeded"] == 2
    assert versions_of(world, later) == {"m@2": 2}
    assert [row[0] for row in world.rows(
        "SELECT action FROM audit_log WHERE audit_id > (SELECT max(audit_id) FROM audit_log"
        " WHERE action = 'default.set') ORDER BY audit_id")] == [
            "endpoint.add", "model_version.add", "price.add", "model.current"], "written once"

    file.versions[1]["state"] = "retired"
    file.write()
    for worker in workers:
        reload(worker)
    calls = len(world.sim.lines("begin"))
    dead = world.ask("nobody answers")
    assert world.wait_ended(dead)["dead"] == 1
    assert world.results(dead)["job-0"]["class"] == "model_not_live"
    assert len(world.sim.lines("begin")) == calls
    finish(world)


def test_jobs_leave_an_endpoint_that_is_down(lone_world):
    """They are parked behind its pause. Another version at another endpoint is made current, and all
    of them end there, long before the pauses would; a route changes on the way."""
    world = lone_world()
    file = File(world)
    with contextlib.closing(socket.socket()) as closed:
        closed.bind(("127.0.0.1", 0))  # nobody listens there
        file.endpoints.clear()
        file.add_endpoint("first", port=closed.getsockname()[1])
        file.write()
        worker = world.start_worker(short_wait="0s")
        batch = world.ask(*[f"text {i}" for i in range(40)])
        wait_for(lambda: world.value("SELECT count(*) FROM parked") == 40, what="parked jobs")
        file.add_endpoint("second")
        file.versions.append(version("2", "second"))
        file.current = "2"
        file.routes = [{"model": "m", "retry": {"ambiguous": "give_up"}}]
        file.write()
        reload(worker)
        assert world.wait_ended(batch)["succeeded"] == 40
    assert versions_of(world, batch) == {"m@2": 40}
    dropped = world.ask("[[sim: status=502]] nobody knows")
    assert world.wait_ended(dropped)["dead"] == 1
    assert world.results(dropped)["job-0"]["class"] == "given_up"
    assert len(world.calls(dropped)) == 1

    # What leaves the file leaves no trace but in the tables, and comes back as what it was.
    file.models = [{"name": "n", "versions": [version("1", "second")]}]
    file.routes = []
    file.write()
    reload(worker)
    assert world.wait_ended(world.ask("a", model="n"))["succeeded"] == 1
    file.models = []
    file.write()
    reload(worker)
    gone = world.ask("b", "c", model="n")
    assert world.wait_ended(gone)["dead"] == 2
    assert {row["class"] for row in world.results(gone).values()} == {"no_model"}
    file.models = [{"name": "n", "versions": [version("1", "second")]}]
    file.write()
    reload(worker)
    again = world.ask("d", model="n")
    assert world.wait_ended(again)["succeeded"] == 1
    assert versions_of(world, again) == {"n@1": 1}
    assert world.value("SELECT count(*) FROM model_version WHERE model = 'n'") == 1
    assert world.stop_workers() is None


def test_limits_follow_the_file(lone_world):
    """Written at the start, moved at a reload, gone with what leaves the file; an operator's stays.
    Whoever listens is told of each change, and of nothing else."""
    world = lone_world()
    limits = ("SELECT key, code_name('limit_dimension', dimension), of_catalogue, of_operator"
              " FROM limit_rule ORDER BY key, dimension")
    file = File(world)
    file.endpoints["first"]["limits"] = {"requests_per_minute": 500}
    file.add_endpoint("second", limits={"in_flight": 8})
    file.write(extra="apps: [{name: nightly, limits: {tokens_per_day: 2M}}]\n")
    worker = world.start_worker()
    assert world.rows(limits) == [("first@1", "requests_per_minute", 500, None),
                                  ("nightly", "tokens_per_day", 2000000, None),
                                  ("second@1", "in_flight", 8, None)]
    world.inferq("limit", "set", "endpoint:first", "requests_per_minute", "300", "--actor", "ann")
    listener = world.database.connection
    world.rows("LISTEN inferq_limit")
    listener.notifies.clear()
    file.endpoints["first"]["limits"] = {"requests_per_minute": 400}
    del file.endpoints["second"]
    file.write()
    reload(worker)
    assert world.rows(limits) == [("first@1", "requests_per_minute", 400, 300),
                                  ("nightly", "tokens_per_day", None, None),
                                  ("second@1", "in_flight", None, None)]
    assert sorted(world.rows("SELECT action, subject, detail FROM audit_log WHERE action LIKE 'limit.%'"
                             " AND detail NOT LIKE '% none -> %'")) == [
        ("limit.remove", "app:nightly tokens_per_day", f"catalogue {world.name}: 2000000 -> none"),
        ("limit.remove", "endpoint:second@1 in_flight", f"catalogue {world.name}: 8 -> none"),
        ("limit.set", "endpoint:first@1 requests_per_minute", f"catalogue {world.name}: 500 -> 400")]
    listener.poll()
    assert len(listener.notifies) == 1
    file.routes = [{"model": "m", "retry": {"max_attempts": 3}}]
    file.write()
    reload(worker)
    listener.poll()
    assert len(listener.notifies) == 1
    assert world.wait_ended(world.ask("one"))["succeeded"] == 1
    finish(world)


def test_a_bad_catalogue_changes_nothing(lone_world):
    """Not even the settings that came with it: each file is refused with the place and the remedy."""
    world = lone_world()
    conf = world.tmp / "worker.conf"
    write(conf, max_attempts=1)
    file = File(world)
    worker = world.start_worker(config=conf)
    good = world.catalogue_file.read_text()
    tables = "SELECT (SELECT count(*) FROM endpoint), (SELECT count(*) FROM audit_log)"
    before = world.rows(tables)

    def refused(*says):
        write(conf, max_attempts=9)
        reload(worker, taken=False)
        line = [row for row in worker.log().splitlines() if "not reloaded" in row][-1]
        assert all(text in line for text in says), line
        world.catalogue_file.write_text(good)
        assert world.rows(tables) == before

    file.write(extra="defaults: [\n")
    refused(f"{world.catalogue_file}:")
    file.add_endpoint("second", credential="file:/nowhere/key")
    file.write()
    refused("endpoint second", "/nowhere/key")
    file.add_endpoint("second", base_url="${INFERQ_TEST_NOT_SET}/v1")
    file.write()
    refused("INFERQ_TEST_NOT_SET", f"{world.catalogue_file}:")
    del file.endpoints["second"]
    file.versions[0]["max_output_tokens"] = 7
    file.write()
    refused("model version 'm@1' was applied before with another content", "new version")
    # One that this worker does not know, and the tables do.
    world.rows("INSERT INTO endpoint (name, version, base_url, adapter, credential, ca_file,"
               " max_in_flight, timeout_ms, connect_timeout_ms, send_ids, idempotency_key, sha256)"
               " SELECT 'third', 1, 'http://elsewhere', adapter, '', '', 1, 1000, 1000, false, false,"
               " sha256 FROM endpoint WHERE name = 'first'")
    before = world.rows(tables)
    file.versions[0]["max_output_tokens"] = 1000
    file.add_endpoint("third")
    file.write()
    refused(f"{world.catalogue_file}: endpoint 'third' version 1 was applied before with another"
            " content", "version 2")

    assert worker.metric("inferq_config_reload_failures_total") == 5
    batch = world.ask("[[sim: status=500]] never")
    assert world.wait_ended(batch)["dead"] == 1
    assert len(world.calls(batch)) == 1, "max_attempts is what it was"
    reload(worker)  # and the good file is good still
    finish(world)

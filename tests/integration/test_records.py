"""Records that are no jobs, and documents at the edges: what is refused, by whom, with what trace,
and that the neighbours do not notice."""
import hashlib
import hmac
import json
import os
import pathlib
import time
import uuid

import msgpack
import pytest

from checks import check, finish
from harness import BIN, VARIANT, Message, make_vectors, run, wait_for

FAR_MS = 10 * 60 * 1000


@pytest.fixture(scope="module")
def world(worlds):
    made = worlds()
    made.start_worker()
    return made


def run_among_neighbours(world, poison, headers=None):
    """Produces poison between good records of one partition; the good ones end, and the poison's
    letter, with its place, is returned."""
    message = Message()
    good = [message.pack(f"n-{i}", text=f"neighbour {i}") for i in range(6)]
    placed = world.produce(*good[:3], poison, *good[3:], partition=0, headers=headers)
    world.seal(message, 6)
    assert world.wait_ended(message.batch_id)["succeeded"] == 6

    def letter():
        found = [x for x in world.letters() if (x["topic"], x["partition"], x["record_offset"]) ==
                 (world.topic(), 0, placed[3]["offset"])]
        return found and found[0]

    found = wait_for(letter, what="the poison's letter")
    assert bytes(found["payload"]) == poison
    assert found["reason"]
    return found


GOOD = Message(batch="records")
POISON = {
    "empty": (b"", "malformed"),
    "no msgpack": (b"\xc1\xff\x00", "malformed"),
    "promises 67 million elements": (bytes.fromhex("dd04000000"), "malformed"),
    "cut": (GOOD.pack("cut")[:-7], "malformed"),
    "bytes behind": (GOOD.pack("behind") + b"x", "malformed"),
    "version 2": (GOOD.pack("v2", v=2), "malformed"),
    "no body": (GOOD.pack("b", body={"a": 1})[:0] + msgpack.packb(
        {k: v for k, v in GOOD.fields("b").items() if k != "body"}), "invalid_job"),
    "body with NUL": (msgpack.packb({**GOOD.fields("nul"), "body": b'{"a":"\x00"}'}), "invalid_job"),
    "unknown priority": (msgpack.packb({**GOOD.fields("p"), "priority": "urgent"}), "invalid_job"),
    "random id": (msgpack.packb({**GOOD.fields("r"), "job_id": uuid.uuid4().bytes}), "forged_id"),
    "another job's id": (msgpack.packb({**GOOD.fields("s"), "job_id": GOOD.job_id("t").bytes}),
                         "forged_id"),
    "another app's batch": (msgpack.packb({**GOOD.fields("u"), "app": "stranger"}), "forged_id"),
    "another batch's id": (msgpack.packb(
        {**GOOD.fields("w"), "batch_id": Message(batch="x").batch_id.bytes}), "forged_id"),
}


@pytest.mark.parametrize("name", POISON)
def test_poison_among_neighbours(world, name):
    poison, outcome = POISON[name]
    assert run_among_neighbours(world, poison)["class"] == outcome
    check(world)


def test_an_id_from_the_future_or_from_before_all_results(world):
    """A batch may not claim a time at which its jobs could run again, or occupy others' ids."""
    for created_ms in (int(time.time() * 1000) + FAR_MS, 1_000_000_000_000):
        stray = Message(created_ms=created_ms)
        assert run_among_neighbours(world, stray.pack("stray"))["class"] == "forged_id"
        assert world.value("SELECT count(*) FROM call WHERE job_id = %s", stray.job_id("stray")) == 0
    check(world)


def test_a_forged_record_does_not_touch_the_job_whose_id_it_took(world):
    victim = Message()
    forged = msgpack.packb({**victim.fields("v", text="forged"), "app": "thief"})
    run_among_neighbours(world, forged)
    world.produce(victim.pack("v", text="the real one"))
    world.seal(victim, 1)
    assert world.wait_ended(victim.batch_id)["succeeded"] == 1
    assert world.results(victim.batch_id)["v"]["answer"] == "Extract: the real one"
    check(world)


def test_dead_letters_are_on_the_dead_topic(world):
    """Each letter is published once or more, and says what the row says."""
    wait_for(lambda: world.value("SELECT count(*) FROM dead_letter WHERE published_at IS NULL") == 0,
             what="all letters published")
    published = {}
    for record in world.records(f"{world.name}.dead"):
        letter = msgpack.unpackb(record["value"])
        published[letter["dead_id"]] = (record, letter)
    rows = world.rows("SELECT dead_id, class, reason, topic, partition, record_offset, payload"
                      " FROM dead_letter")
    assert len(rows) >= len(POISON) and published.keys() == {row[0] for row in rows}
    for dead_id, code, reason, topic, partition, offset, payload in rows:
        record, letter = published[dead_id]
        assert record["headers"]["inferq-schema"] == b"dead/1"
        assert record["headers"]["inferq-topic"].decode() == topic
        assert int(record["headers"]["inferq-offset"]) == offset
        assert int(record["headers"]["inferq-partition"]) == partition
        assert (letter["v"], letter["class"], letter["reason"]) == (1, code, reason)
        assert (letter["topic"], letter["partition"], letter["offset"]) == (topic, partition, offset)
        assert letter["payload"] == bytes(payload)
        assert record["key"] == str(dead_id).encode()  # none of them has a job


@pytest.mark.skipif(VARIANT == "release", reason="release builds have no failpoints")
def test_a_letter_that_cannot_be_handed_over_is_tried_again(lone_world):
    world = lone_world()
    worker = world.start_worker(env={"INFERQ_FAILPOINT": "letter.send@2=error"})
    world.produce(*[b"garbage %d" % i for i in range(5)])
    wait_for(lambda: sum(letter["published"] for letter in world.letters()) == 5, what="five letters")
    assert worker.logged("a dead letter could not be sent")
    assert len(world.records(f"{world.name}.dead")) == 5
    finish(world)


def test_at_the_end_everything_is_committed(world):
    finish(world)


def test_a_letter_whose_reason_is_refused_goes_without_it(lone_world):
    """Postgres takes all of it but the reason's text: the class says enough, and the letters beside
    it are as they would be."""
    world = lone_world()
    world.rows("CREATE FUNCTION refuses() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
               " RAISE 'not this text' USING ERRCODE = '22021'; END $$")
    world.rows("CREATE TRIGGER refuses BEFORE INSERT ON dead_letter FOR EACH ROW WHEN"
               " (NEW.payload = 'the guilty one' AND NEW.reason <> 'malformed')"
               " EXECUTE FUNCTION refuses()")
    garbage = [b"garbage %d" % i for i in range(20)]
    world.produce(*garbage[:10], b"the guilty one", *garbage[10:], partition=0)
    world.start_worker()
    wait_for(lambda: len(world.letters()) == 21, what="a letter for each record")
    reasons = {bytes(letter["payload"]): letter["reason"] for letter in world.letters()}
    assert reasons.pop(b"the guilty one") == "malformed"
    assert reasons.keys() == set(garbage) and "malformed" not in reasons.values()
    finish(world)


# ---- signatures ----------------------------------------------------------------------------------


def test_signatures_when_they_are_required(lone_world, tmp_path):
    world = lone_world()
    key = bytes.fromhex(pathlib.Path(os.environ["INFERQ_SIGNING_KEY"][5:]).read_text().strip()
                        .rsplit(":", 1)[-1])
    ring = tmp_path / "ring"
    ring.write_text(f"pipe default:{key.hex()}\nother k2:{os.urandom(32).hex()}\n")
    ring.chmod(0o600)
    world.start_worker(signature__check="require", signature__keys=f"file:{ring}")
    assert world.wait_ended(world.ask("signed by submit"))["succeeded"] == 1
    message = Message()
    value = message.pack("by hand")

    def signature(signed, with_key=key):
        return "v1:default:" + hmac.new(with_key, signed, hashlib.sha256).hexdigest()

    world.produce(value, headers={"inferq-signature": make_vectors.signature("default", key, value)})
    wait_for(lambda: world.counts(message.batch_id).get("succeeded") == 1, what="the one by hand")
    bad = {"none": None, "of other bytes": signature(value + b"x"),
           "of another key": signature(value, os.urandom(32)), "no signature": "v1:default:zz"}
    for name, header in bad.items():
        stray = message.pack(f"bad {name}")
        if header and name == "of another key":
            header = signature(stray, os.urandom(32))
        world.produce(stray, headers={"inferq-signature": header} if header else None)
    foreign = Message(app="other").pack("of another app")
    world.produce(foreign, headers={"inferq-signature": signature(foreign)})
    victim = message.pack("victim", text="[[sim: status=400]] the real one dies too")
    world.produce(victim, victim, headers={"inferq-signature": signature(b"something else")})
    letters = wait_for(lambda: len(world.letters()) == 7 and world.letters(), what="seven letters")
    assert {x["class"] for x in letters} == {"bad_signature"}
    assert world.sim.summary()["requests"] == 2
    world.produce(victim, headers={"inferq-signature": signature(victim)})
    wait_for(lambda: len(world.letters(message.batch_id)) == 1, what="the real victim's own letter")
    world.seal(message, 2)
    finish(world)


# ---- documents at the edges ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def edges(worlds):
    made = worlds()
    made.start_worker()
    return made


def submit_file(world, path, *options, ok=(0,)):
    return run(BIN / "inferq-submit", "--app", "pipe", "--prompt", "Read: {document}", *options, path,
               env=world.env, ok=ok)


def test_large_documents_end_in_transactions_of_bounded_size(edges):
    """Together they are more than one transaction may hold (8 MiB), and while Postgres holds up the
    first of them, all others wait to be stored."""
    message = Message()
    values = [message.pack(f"large-{i}", text=f"[[sim: status=400]] {'word ' * 180_000}")
              for i in range(20)]
    edges.seal(message, len(values))
    worker = edges.live_workers()[0]
    with edges.database.locked("progress"):
        edges.produce(*values)
        wait_for(lambda: worker.metric("inferq_jobs", state="store") == len(values), 60,
                 "all calls ended, and none stored")
    assert edges.wait_ended(message.batch_id)["dead"] == len(values)
    assert {bytes(letter["payload"]) for letter in edges.letters(message.batch_id)} == set(values)
    check(edges)


def test_the_largest_document_and_one_byte_more(edges, tmp_path):
    """The bound is found by asking, then met exactly."""
    path = tmp_path / "large.txt"

    def accepted(size):
        path.write_bytes(b"word " * (size // 5) + b"x" * (size % 5))
        # The batch's name is part of each message: all names here have seven letters.
        done = submit_file(edges, path, "--dry-run", "--batch", "largest", ok=(0, 2))
        return done.returncode == 0

    low, high = 1, 4 << 20
    assert accepted(low) and not accepted(high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if accepted(middle) else (low, middle)
    assert low > 1_000_000, "the default allows messages of 1 MiB"
    assert accepted(low)
    batch = uuid.UUID(submit_file(edges, path, "--batch", "largest").stdout.split()[-1])
    assert edges.wait_ended(batch)["succeeded"] == 1
    assert not accepted(low + 1)
    refused = submit_file(edges, path, "--batch", "toolong", ok=(2,))
    assert "large.txt" in refused.stderr
    assert edges.value("SELECT count(*) FROM batch WHERE name = 'toolong' AND total > 0") == 0
    check(edges)


@pytest.mark.parametrize("name, content", [("empty.txt", b""), ("latin1.txt", b"caf\xe9 cr\xe8me"),
                                           ("cut.txt", "é".encode()[:1])])
def test_documents_that_are_no_text_are_refused_by_name(edges, tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    (tmp_path / "good.txt").write_text("a good one")
    refused = submit_file(edges, tmp_path, "--batch", f"stop-{name}", ok=(2,))
    assert name in refused.stderr
    skipped = submit_file(edges, tmp_path, "--batch", f"skip-{name}", "--on-error", "skip", ok=(1,))
    assert name in skipped.stderr
    batch = uuid.UUID(skipped.stdout.split()[-1])
    assert edges.wait_ended(batch) == {"accepted": 1, "succeeded": 1, "dead": 0, "cancelled": 0,
                                       "expired": 0, "pending": 0}
    assert set(edges.results(batch)) == {"good.txt"}
    check(edges)


def test_nul_in_a_document(edges, tmp_path):
    """A NUL is a character of JSON: it goes to the model and comes back."""
    (tmp_path / "nul.txt").write_bytes(b"before\0after and on")
    done = submit_file(edges, tmp_path / "nul.txt", "--batch", "nul")
    batch = uuid.UUID(done.stdout.split()[-1])
    assert edges.wait_ended(batch)["succeeded"] == 1
    assert edges.results(batch)["nul.txt"]["answer"] == "Extract: Read: before\ufffdafter and on"
    body = edges.value("SELECT body FROM result WHERE batch_id = %s", batch)
    assert "\0" in json.loads(bytes(body))["choices"][0]["message"]["content"]
    check(edges)


def test_nul_in_an_answer(edges):
    batch = edges.ask("[[sim: answer=nul]] say nothing", "and a neighbour")
    assert edges.wait_ended(batch)["succeeded"] == 2
    results = edges.results(batch)
    assert "\ufffd" in results["job-0"]["answer"] and results["job-1"]["answer"].startswith("Extract")
    check(edges)


def test_edges_are_committed_in_the_end(edges):
    finish(edges)

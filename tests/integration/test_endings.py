"""How jobs end otherwise than by an answer: cancelled, expired, dead; and how the dead run again."""
import json

import msgpack
import pytest

from checks import check, finish
from harness import Message, claimed_late, make_vectors, model, wait_for


@pytest.fixture(scope="module")
def world(worlds):
    made = worlds(models=[model("narrow", max_in_flight=4), model("narrow2", max_in_flight=4),
                          model("away"), model("down"), model("shaky"),
                          model("unpriced", version={"prices": []}),
                          model("unbounded", version={"max_output_tokens": 0})])
    made.start_worker()
    return made


def texts(count, sim):
    return [f"[[sim: {sim}]] text {i}" for i in range(count)]


def test_cancel_ends_what_has_not_started(world):
    batch = world.ask(*texts(200, "latency=700ms"), model="narrow")
    wait_for(lambda: world.counts(batch)["succeeded"] >= 4, what="a few results")
    world.inferq("batch", "cancel", str(batch))
    counts = world.wait_ended(batch)
    assert counts["succeeded"] >= 4 and counts["cancelled"] >= 100
    assert counts["succeeded"] + counts["cancelled"] == 200
    cancelled = world.value("SELECT count(*) FROM result r JOIN call USING (job_id)"
                            " WHERE r.batch_id = %s AND r.status = 3", batch)
    assert cancelled == 0, "cancelled jobs were not called"
    check(world)


def test_cancel_reaches_parked_jobs(world):
    batch = world.ask(*texts(5, "status=429 retry-after=600"), model="away")
    wait_for(lambda: world.value("SELECT count(*) FROM parked WHERE batch_id = %s", batch) == 5,
             what="five parked jobs")
    world.inferq("batch", "cancel", str(batch))
    assert world.wait_ended(batch)["cancelled"] == 5
    assert world.value("SELECT count(*) FROM parked") == 0
    check(world)


def test_records_of_a_cancelled_batch_are_not_called(world):
    message = Message()
    world.produce(message.pack("early"))
    wait_for(lambda: world.counts(message.batch_id).get("succeeded") == 1, what="the first")
    world.inferq("batch", "cancel", str(message.batch_id))
    sent = ["early"]

    def cancelled():  # the request travels to the workers by a notification
        sent.append(f"late-{len(sent)}")
        world.produce(message.pack(sent[-1]))
        return world.counts(message.batch_id)["cancelled"]

    wait_for(cancelled, what="a cancelled record", every=0.3)
    world.seal(message, len(sent))
    counts = world.wait_ended(message.batch_id)
    assert counts["cancelled"] >= 1 and counts["succeeded"] + counts["cancelled"] == len(sent)
    check(world)


def test_a_deadline_ends_what_waits_and_nothing_is_called_after_it(world):
    batch = world.ask(*texts(180, "latency=300ms"), model="narrow2", options=("--deadline", "+8s"))
    counts = world.wait_ended(batch)
    assert counts["expired"] >= 20 and counts["succeeded"] >= 4
    assert counts["expired"] + counts["succeeded"] == 180
    assert claimed_late(world, batch) <= 4, "claims that left in time: no more than calls at once"
    check(world)


def test_a_wait_past_the_deadline_is_not_waited_for(world):
    batch = world.ask("[[sim: status=503]] never", model="down", options=("--deadline", "+5s"))
    counts = world.wait_ended(batch)
    assert counts["expired"] == 1
    check(world)


def test_a_verdict_yields_to_a_call_elsewhere(lone_world):
    """Its deadline is over when it comes, but another worker has a call open for it: that one may
    still bring the result. Only when that worker is fenced the verdict stands, and the call is
    lost, at its estimated cost."""
    world = lone_world()
    world.start_worker()
    message = Message()
    other = world.value("INSERT INTO worker (host, pid, build, lease_until) VALUES"
                        " ('elsewhere', 1, 'other', now() + interval '1 hour') RETURNING worker_id")
    world.rows("INSERT INTO call (job_id, batch_id, worker_id, model_version_id, endpoint_id, number,"
               " kind, estimated_nusd, upper_nusd) SELECT %s, %s, %s, model_version_id, endpoint_id,"
               " 1, 1, 700, 900 FROM model_version WHERE model = 'm'",
               message.job_id("late"), message.batch_id, other)
    world.produce(message.pack("late", deadline=message.created_ms))
    world.seal(message, 1)
    wait_for(lambda: world.value("SELECT count(*) FROM parked WHERE batch_id = %s AND taken_by IS NULL",
                                 message.batch_id) == 1, what="it waits in Postgres")
    assert world.counts(message.batch_id)["pending"] == 1
    world.rows("UPDATE worker SET fenced = true WHERE worker_id = %s", other)
    world.rows("UPDATE parked SET next_at = now() WHERE batch_id = %s", message.batch_id)
    assert world.wait_ended(message.batch_id)["expired"] == 1
    assert world.results(message.batch_id)["late"]["cost_nusd"] == 700
    [call] = world.calls(message.batch_id)
    assert (call["class"], call["certainty"], call["cost_nusd"]) == ("lost", "estimated", 700)
    check(world, crashed=True)


def test_a_parked_row_that_is_no_job_becomes_a_letter_and_is_gone(lone_world):
    """By the time it is pulled its bytes are broken, or its app's key is revoked: the letter takes
    the row's place, or whoever comes next would pull it again, and for ever."""
    world = lone_world(models=[model("away")])
    world.start_worker()
    batch = world.ask(*texts(3, "status=429 retry-after=3600"), model="away")
    wait_for(lambda: world.value("SELECT count(*) FROM parked WHERE taken_by IS NULL") == 3,
             what="three parked jobs")
    whole, *_ = [bytes(row[0]) for row in world.rows("SELECT payload FROM parked ORDER BY job_id")]
    world.rows("UPDATE parked SET payload = CASE WHEN payload = %s THEN substr(payload, 1, 9)"
               " ELSE substr(payload, 1, length(payload) - 9) END, wait_key = 0, next_at = now()", whole)
    wait_for(lambda: world.value("SELECT count(*) FROM parked") == 0, what="nothing parked")
    letters = world.rows("SELECT class, payload FROM dead_letter WHERE job_id IS NULL")
    assert len(letters) == 3 and whole[:9] in [bytes(payload) for _, payload in letters]
    assert world.results(batch) == {}


def test_a_job_that_names_no_known_model_dies_with_the_reason(world):
    batch = world.ask("which model?", model="unheard-of")
    assert world.wait_ended(batch)["dead"] == 1
    assert world.calls(batch) == []
    [letter] = world.letters(batch)
    assert letter["class"] == "no_model"
    assert letter["reason"] == "the catalogue has no model 'unheard-of'"
    check(world)


def test_a_job_that_may_cost_too_much_is_not_called(world):
    batch = world.ask("expensive", options=("--max-cost", "0.000001"))
    assert world.wait_ended(batch)["dead"] == 1
    assert world.calls(batch) == [] and world.letters(batch)[0]["class"] == "over_cost"
    check(world)


def test_what_cannot_be_bounded_is_not_called_for_a_job_with_a_bound(world):
    """Without a price, or without a limit of the output: called, unless max_cost is said."""
    dollar = 10**9
    for name, certainty in (("unpriced", "unknown"), ("unbounded", "exact")):
        message = Message()
        body = {"model": name, "messages": [{"role": "user", "content": "any length"}]}
        world.produce(message.pack("free", body=body),
                      message.pack("bound", body=body, max_cost=dollar))
        world.seal(message, 2)
        counts = world.wait_ended(message.batch_id)
        assert (counts["succeeded"], counts["dead"]) == (1, 1)
        [call], results = world.calls(message.batch_id), world.results(message.batch_id)
        assert (call["job_id"], call["certainty"]) == (message.job_id("free"), certainty)
        assert call["cost_nusd"] == results["free"]["cost_nusd"]
        assert (call["cost_nusd"] is None) == (name == "unpriced")
        assert results["bound"]["class"] == "over_cost"
    check(world)


def test_an_unknown_cost_is_not_zero(world):
    """Nobody knows what its first call cost: with a bound there is no second one."""
    batch = world.ask("[[sim: status=500 times=1]] what was that?", model="shaky",
                      options=("--max-cost", "1"))
    assert world.wait_ended(batch)["dead"] == 1
    [call] = world.calls(batch)
    assert (call["class"], call["cost_nusd"]) == ("server_error", None)
    assert world.letters(batch)[0]["class"] == "over_cost"
    check(world)


def test_dead_jobs_are_requeued_as_a_new_generation(world):
    world.sim.control('contains="poor model" status=400 message="it is broken"')
    batch = world.ask("poor model one", "poor model two", "a good one", batch="requeue",
                      options=("--task", "sum"))
    counts = world.wait_ended(batch)
    assert (counts["dead"], counts["succeeded"]) == (2, 1)
    listed = json.loads(world.inferq("dead", "list", "--batch", str(batch), "--json").stdout)
    letters = world.letters(batch)
    assert len(listed) == 2 and all("it is broken" in x["reason"] for x in letters)
    # They come from no topic, and wait in Postgres all the same.
    world.sim.control('contains="poor model" status=429 retry-after=6 times=1')
    world.inferq("dead", "requeue", "--batch", str(batch), "--yes")
    counts = world.wait_ended(batch)
    world.sim.control("")
    assert counts["accepted"] == 5 and (counts["dead"], counts["succeeded"]) == (2, 3)
    first = next(r for r in world.results(batch).values() if r["custom_id"] == "job-0")
    assert (first["generation"], first["status"]) == (1, "succeeded")
    assert first["answer"] == "Extract: poor model one"
    created = world.value("SELECT created_ms FROM batch WHERE batch_id = %s", batch)
    assert first["job_id"].bytes == make_vectors.job_id(created, "pipe", "requeue", "job-0", 1)
    assert world.rows("SELECT status FROM (SELECT DISTINCT status FROM result_current"
                      " WHERE batch_id = %s) s", batch) == [(1,)]
    assert world.value("SELECT count(*) FROM review_event WHERE action LIKE '%%requeue%%'") == 2
    again = world.inferq("dead", "requeue", "--batch", str(batch), "--yes")
    assert world.counts(batch)["accepted"] == 5, again.stdout
    check(world)


def test_letters_of_dead_jobs_are_on_the_dead_topic(world):
    wait_for(lambda: world.value("SELECT count(*) FROM dead_letter WHERE published_at IS NULL") == 0,
             what="all letters published")
    published = {}
    for record in world.records(f"{world.name}.dead"):
        letter = msgpack.unpackb(record["value"])
        published[letter["dead_id"]] = (record, letter)
    rows = world.rows("SELECT dead_id, job_id, custom_id, class, reason, attempts, model_version,"
                      " payload FROM dead_letter WHERE job_id IS NOT NULL")
    assert len(rows) >= 4
    for dead_id, job_id, custom_id, code, reason, attempts, version, payload in rows:
        record, letter = published[dead_id]
        assert record["key"] == job_id.bytes == letter["job_id"]
        assert (letter["custom_id"], letter["class"], letter["reason"], letter["attempts"],
                letter.get("model_version")) == (custom_id, code, reason, attempts, version)
        assert msgpack.unpackb(letter["payload"])["custom_id"] == custom_id
        assert letter["payload"] == bytes(payload)


def test_at_the_end_everything_is_committed(world):
    finish(world)

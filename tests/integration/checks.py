"""The checks that every test of the whole path ends with: the guarantees, asked of Postgres, Kafka
and the witness at once.

check(world) at any moment when no batch is pending; check(world, stopped=True) after the workers
have stopped, for then their offsets are committed; crashed=True where something was killed, for then
a claim may stand without a call.

finish(world) waits until the workers hold nothing, stops them, and checks.

Every check collects what it found wrong; all are reported together.
"""
import json
import re
import uuid

import msgpack

from harness import Late, make_vectors, reference, wait_for

# A call beside the one that gave the result must say why it was made or what became of it.
EXPLAINED = {"unsent", "tls_config", "ambiguous", "credential", "no_upstream_model", "billing",
             "conflict", "throttled", "server_error", "overloaded", "bad_output", "bad_reply",
             "unknown_status", "lost", "aborted", "context_too_long"}
# Markers under which modelsim does not answer with the function of the request.
OTHER_ANSWER = re.compile(r"\[\[sim:[^\]]*\b(answer|content|refusal|body|wrong|finish|size)=")


def conservation(world):
    """Accepted = succeeded + dead + cancelled + expired + pending, and progress = results."""
    for row in world.rows("SELECT name, accepted, succeeded, dead, cancelled, expired, pending"
                          " FROM batch_progress WHERE accepted IS NOT NULL"):
        if row[6] < 0 or row[1] != sum(row[2:]):
            yield f"batch {row[0]} does not add up: {row[1:]}"
    uneven = world.rows(
        "SELECT * FROM (SELECT batch_id, status, sum(n) AS n, sum(cost_nusd) AS cost FROM progress"
        " GROUP BY 1, 2) p FULL JOIN (SELECT batch_id, status, count(*) AS n,"
        " sum(cost_nusd) AS cost FROM result GROUP BY 1, 2) r USING (batch_id, status)"
        " WHERE (p.n, p.cost) IS DISTINCT FROM (r.n, r.cost)")
    for row in uneven:
        yield f"progress is not the count of results: {row}"
    over = world.rows("SELECT b.name, b.accepted, count(*) FROM batch_progress b"
                      " JOIN result USING (batch_id) GROUP BY 1, 2 HAVING count(*) > b.accepted")
    for row in over:
        yield f"more results than accepted jobs: {row}"


def one_ending(world):
    """One terminal row per job, and none beside a parked one."""
    for row in world.rows("SELECT batch_id, custom_id, generation, count(*) FROM result"
                          " GROUP BY 1, 2, 3 HAVING count(*) > 1"):
        yield f"a job ended twice: {row}"
    for row in world.rows("SELECT job_id FROM result JOIN parked USING (job_id)"):
        yield f"ended, and still parked: {row[0]}"
    for row in world.rows("SELECT r.job_id FROM result r LEFT JOIN dead_letter d USING (job_id)"
                          " WHERE r.status = 2 AND d.job_id IS NULL"):
        yield f"dead without a letter: {row[0]}"


def overlaps(world):
    """(job, earlier call, later call) of calls that the model had at the same time."""
    begun, found = {}, []
    for line in world.sim.lines():
        if line["kind"] == "begin" and line["job"]:
            running = begun.setdefault(line["job"], [])
            found += [(line["job"], call, line["call"]) for call in running]
            running.append(line["call"])
        elif line["kind"] == "end" and line["job"]:
            begun[line["job"]].remove(line["call"])
    return found


def taken_over(world, job, earlier, later):
    """Whether the earlier call's worker had let its lease run out, and was fenced, before the later
    call was claimed: the one overlap that may be."""
    return world.value(
        "SELECT w.fenced AND w.lease_until < l.claimed_at AND l.worker_id <> e.worker_id"
        " FROM call e JOIN worker w USING (worker_id), call l"
        " WHERE (e.job_id, e.number) = (%s, %s) AND (l.job_id, l.number) = (%s, %s)",
        job, earlier, job, later)


def sent_without_lease(world):
    """Calls that reached the model after their worker's lease was over. A fenced worker's lease is
    renewed no more, so what stands in its row is how far it got."""
    until = {(str(job), number): at_us for job, number, at_us in world.rows(
        "SELECT job_id, number, (extract(epoch FROM lease_until) * 1000000)::int8"
        " FROM call JOIN worker USING (worker_id) WHERE fenced")}
    for line in world.sim.lines("begin"):
        end_us = until.get((line["job"], line["call"]))
        if end_us is not None and line["at_us"] > end_us:
            yield (f"{line['job']} {line['call']}: sent {(line['at_us'] - end_us) / 1e6:.3f} s after"
                   " its worker's lease was over")


def witnessed(world, crashed):
    """The model saw no call that the ledger does not know, none before its row was committed, and
    no two of a job at once, unless the second's owner had to fence the first's."""
    summary = world.sim.summary()
    if summary["overlaps"]:
        bad = [pair for pair in overlaps(world) if not (crashed and taken_over(world, *pair))]
        if bad:
            yield f"two calls of a job at once: {bad[:5]}"
    if summary["ledger_missing"]:
        yield f"calls before their row was committed: {summary['missing'][:5]}"
    if summary["without_job"]:
        yield f"{summary['without_job']} calls did not say whose they are"
    seen = {(line["job"], line["call"]) for line in world.sim.lines("begin")}
    known = {(str(job), number): outcome for job, number, outcome in world.rows(
        "SELECT job_id, number, code_name('class', class) FROM call")}
    for job, number in sorted(seen - known.keys())[:5]:
        yield f"the model saw a call that is in no row: {job} {number}"
    if crashed:
        return
    # A request may die on its way in a connection that the server had already reset.
    unseen = {"unsent", "ambiguous"} if world.connections_die else {"unsent"}
    silent = {key for key in known.keys() - seen if known[key] not in unseen}
    for job, number in sorted(silent)[:5]:
        yield f"a row without a call, and nothing crashed: {job} {number} {known[job, number]}"


def calls_explained(world, crashed):
    """Every call has its outcome once its job has ended; numbers have no holes; what is beside the
    one that counts says why."""
    by_job = {}
    for row in world.rows(
            "SELECT c.job_id, c.number, code_name('call_kind', c.kind),"
            " code_name('class', c.class), c.done_at IS NOT NULL, c.cost_nusd, r.call_number,"
            " CASE WHEN r.class = 19 THEN 'unstorable' ELSE code_name('status', r.status) END,"
            " r.cost_nusd, w.fenced, c.claimed_at, c.done_at, c.model_version_id"
            " FROM call c JOIN result r USING (job_id) LEFT JOIN worker w USING (worker_id)"
            " ORDER BY 1, 2"):
        by_job.setdefault(row[0], []).append(row[1:])
    for job, calls in by_job.items():
        if [c[0] for c in calls] != list(range(1, len(calls) + 1)):
            yield f"{job}: numbers of calls with holes: {[c[0] for c in calls]}"
        for number, kind, outcome, done, _, counts, status, _, fenced, *_, version in calls:
            if not done:
                yield f"{job}: ended, and call {number} is open (owner fenced: {fenced})"
            elif number == counts:
                if status != "unstorable" and (outcome == "ok") != (status == "succeeded"):
                    yield f"{job}: {status}, by call {number} of class {outcome}"
            elif outcome == "context_too_long" and any(c[-1] != version for c in calls[number:]):
                continue  # it went on to a version that takes more
            elif outcome not in EXPLAINED and not (crashed and outcome == "ok"):
                yield f"{job}: extra call {number} of class {outcome}"
            if (number == 1) != (kind == "primary"):
                yield f"{job}: call {number} is of kind {kind}"
        costs = [c[4] for c in calls]
        # What a fenced worker told of its call when the next was claimed already stands in the ledger
        # alone; the result holds what was known by then.
        late = crashed and any(c[10] and c[10] > n[9] for c, n in zip(calls, calls[1:]))
        if None not in costs and sum(costs) != calls[0][7] and not late:
            yield f"{job}: costs {calls[0][7]}, its calls {costs}"


def prices(world):
    """What the ledger knows exactly is what the model charged."""
    charged = {(line["job"], line["call"]): line for line in world.sim.lines("end")
               if line["job"] and line["outcome"] == "replied"}
    for job, number, cost in world.rows("SELECT job_id, number, cost_nusd FROM call"
                                        " WHERE certainty = 1"):
        line = charged.get((str(job), number))
        if line and abs(cost * 1000 - line["price_pusd"]) > 500:
            yield f"{job} {number}: cost {cost} nano-USD, charged {line['price_pusd']} pico-USD"


def learn_messages(world, records):
    """What was asked, by job, from the jobs topics themselves; records under another's id are no
    jobs."""
    for record in records:
        try:
            message = msgpack.unpackb(record["value"])
            own = make_vectors.job_id(message["created_at"], message["app"], message["batch"],
                                      message["custom_id"], message.get("generation", 0))
            if own == message["job_id"]:
                world.messages[uuid.UUID(bytes=own)] = (
                    message["url"], json.loads(message["body"]), message["custom_id"],
                    message["batch_id"])
        except (ValueError, KeyError, TypeError, msgpack.exceptions.UnpackException):
            continue


def answers(world):
    """Each stored answer is the function of what was asked. Those that are not looked at are not read:
    they are the large ones."""
    asked = {(uuid.UUID(bytes=b), c): (url, body) for url, body, c, b in world.messages.values()}
    looked_at = []
    for job, batch, custom_id, validation in world.rows(
            "SELECT job_id, batch_id, custom_id, validation FROM result_text"
            " WHERE status = 'succeeded'"):
        url, body = asked.get((batch, custom_id), (None, None))
        if url is None:
            yield f"a result of a job that nobody sent: {batch} {custom_id}"
        elif validation != "reasked" and not OTHER_ANSWER.search(json.dumps(body)):
            looked_at.append(job)
    for i in range(0, len(looked_at), 1000):
        for batch, custom_id, text in world.rows(
                "SELECT batch_id, custom_id, answer FROM result_text WHERE job_id = ANY(%s)",
                looked_at[i:i + 1000]):
            url, body = asked[batch, custom_id]
            if url.endswith("/embeddings"):
                if not json.loads(text):
                    yield f"{custom_id}: no vectors"
                continue
            want = reference.expect(url, body)["choices"][0][0].replace("\0", "\ufffd")
            if text != want:
                yield f"{custom_id}: stored {text!r}, the model's answer is {want!r}"


def offsets(world, records):
    """No committed offset lies beyond a job that has neither ended nor its payload in Postgres."""
    safe = {str(row[0]) for row in world.rows(
        "SELECT job_id FROM result UNION SELECT job_id FROM parked")}
    buried = set(world.rows("SELECT topic, partition, record_offset FROM dead_letter"))
    committed = {(c["topic"], c["partition"]): c for c in world.committed()}
    for record in records:
        place = (record["topic"], record["partition"])
        if record["offset"] >= committed[place]["committed"]:
            continue
        try:
            job = str(uuid.UUID(bytes=msgpack.unpackb(record["value"])["job_id"]))
        except (ValueError, KeyError, TypeError, msgpack.exceptions.UnpackException):
            job = None
        if job not in safe and (*place, record["offset"]) not in buried:
            yield f"committed {committed[place]['committed']} beyond {place} {record['offset']}"
    pending = world.value("SELECT sum(pending) FROM batch_progress")
    for place, c in committed.items():
        if not pending and max(c["committed"], c["low"]) != c["high"]:
            yield f"all done, and {place} is committed to {c['committed']} of {c['high']}"


def check(world, stopped=False, crashed=False):
    """All of it; see above."""
    records = world.records(*[world.topic(lane) for lane in world.lanes])
    learn_messages(world, records)
    problems = [*conservation(world), *one_ending(world), *witnessed(world, crashed),
                *sent_without_lease(world),
                *calls_explained(world, crashed), *prices(world), *answers(world)]
    if stopped:
        problems += offsets(world, records)
    shown = "\n  ".join(problems[:20])
    assert not problems, f"{len(problems)} problems:\n  {shown}"


def unrest(world, crashed):
    """What still goes on: a worker holds a job (a second copy waits for 2 s before it asks what became
    of the first), or a row is parked (one that crossed its job's result goes when it is looked at).
    After a crash, or where partitions may have changed hands, records that come again are still to be
    passed over; a lone worker that met neither commits the last of them when it stops."""
    for worker in world.live_workers():
        held = worker.get("/metrics")[1]
        yield from (line for line in re.findall(r"^inferq_jobs\{.*", held, re.MULTILINE)
                    if not line.endswith(" 0"))
    yield from (f"parked: {row}" for row in world.rows(
        "SELECT job_id, wait_key, priority, next_at - now(), taken_by, number, reason FROM parked LIMIT 9"))
    if crashed or len(world.live_workers()) > 1:
        yield from (f"not committed: {c}" for c in world.committed()
                    if max(c["committed"], c["low"]) != c["high"])


def finish(world, crashed=False):
    """The end of a test in which every job has ended."""
    left = ["not looked at yet"]

    def at_rest():
        left[:] = unrest(world, crashed)
        return not left
    try:
        wait_for(at_rest, 90, "a fleet at rest")
    except Late as late:
        raise Late(f"{late}: {left}") from None
    world.stop_workers()
    check(world, stopped=True, crashed=crashed)

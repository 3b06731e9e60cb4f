"""Deliberate bugs in the worker, one at a time: what the proofs must catch.

Each is a text that stands exactly once in a file, and what takes its place. `judge` says who must
catch it: `sim`, the simulation, within `bound` seeds; `agreement`, the random histories that hold
the simulation's Postgres against the real one, within `bound` histories (bugs in the SQL, which the
simulation does not run). `unit_tests_see_it` marks those that a unit test catches as well: all
others leave every unit test green, which `tests/mutants/run --units` shows.
"""

from typing import NamedTuple


class Bug(NamedTuple):
    name: str
    breaks: str
    file: str
    right: str
    wrong: str
    bound: int
    judge: str = "sim"
    unit_tests_see_it: bool = False


PATH, FLOW = "worker/path.c", "worker/path_flow.c"
CLAIM, KEEP, STORE, END = ("worker/store_claim.c", "worker/store_keep.c", "worker/store.c",
                           "worker/store_end.c")
SQL = "worker/store_sql.c"

BUGS = [
    # ---- offsets ----
    Bug("watermark-before-commit", "G3: the offset passes a job whose result is still on its way",
        PATH,
        "    path_move(p, job, JOB_STORE);\n    p->edges.store(p->edges.arg, job);\n"
        "    return false;\n}\n\n/* No job can be made",
        "    path_move(p, job, JOB_STORE);\n"
        "    int64_t next = partitions_finish(p->partitions, job);\n"
        "    if (next >= 0)\n"
        "        p->edges.store_offset(p->edges.arg, job->lane, job->partition, job->epoch, next);\n"
        "    p->edges.store(p->edges.arg, job);\n"
        "    return false;\n}\n\n/* No job can be made", 200, unit_tests_see_it=True),
    Bug("watermark-passes-what-was-let-go", "G3: a revoked job's record counts as done", FLOW,
        "        path_leave(p, job, false);\n}\n\nstatic void drop_list",
        "        path_leave(p, job, true);\n}\n\nstatic void drop_list", 200),
    Bug("watermark-before-parking", "G3: the offset passes a job before its payload is in Postgres",
        PATH,
        "    path_move(p, job, JOB_PARK);\n",
        "    path_move(p, job, JOB_PARK);\n"
        "    int64_t next = partitions_finish(p->partitions, job);\n"
        "    if (next >= 0)\n"
        "        p->edges.store_offset(p->edges.arg, job->lane, job->partition, job->epoch, next);\n",
        200, unit_tests_see_it=True),
    Bug("buried-before-its-letter", "G3: a record that is no job is passed without a letter", PATH,
        "    path_move(p, job, JOB_BURY);\n    p->edges.bury(p->edges.arg, job);\n",
        "    path_move(p, job, JOB_BURY);\n"
        "    int64_t next = partitions_finish(p->partitions, job);\n"
        "    if (next >= 0)\n"
        "        p->edges.store_offset(p->edges.arg, job->lane, job->partition, job->epoch, next);\n"
        "    p->edges.bury(p->edges.arg, job);\n", 1000, unit_tests_see_it=True),

    # ---- an operator's hand ----
    Bug("paused-endpoint-is-called", "HD: calls begin at an endpoint that an operator has paused",
        "worker/endpoint.c", "    return !e->held && e->in_flight", "    return e->in_flight", 1000,
        unit_tests_see_it=True),

    # ---- the lease and the fence ----
    Bug("granted-to-who-we-are-now", "G5: a claim that was sent before the fence, and answered after"
        " it, counts as the new incarnation's", STORE,
        "        job->claimed_by = worker_id;",
        "        (void)worker_id, job->claimed_by = s->worker_id;", 2000),
    Bug("byte-without-a-lease", "G4: the lease is not looked at before the first byte", STORE,
        "    return worker_id == s->worker_id && store_lease_left_us(s) > s->conf.lease_margin_us;",
        "    return worker_id == s->worker_id;", 1000),
    Bug("lease-from-the-answer", "G4: the lease counts from when its renewal was answered", KEEP,
        "    s->lease_until_us = s->renewal_sent_us + s->conf.lease_us;",
        "    s->lease_until_us = clock_boot_us() + s->conf.lease_us;", 10000),
    Bug("lease-sleeps", "G4: the lease stands still while the machine sleeps", STORE,
        "s->lease_until_us - clock_boot_us() : 0;", "s->lease_until_us - clock_mono_us() : 0;",
        1000),
    Bug("fenced-too-early", "G4: owners are fenced while their lease stands", CLAIM,
        "pg_add_int(s->more_params, PG_INT8, s->conf.fence_after_us / 1000000);",
        "pg_add_int(s->more_params, PG_INT8, -(s->conf.lease_us / 1000000));", 2000),

    # ---- claims ----
    Bug("all-are-granted", "G5: a claim counts as granted although its row is not in the answer",
        CLAIM,
        "        if (next < count && jobid_eq(&id, &job->msg.job_id)) {\n            next++;\n",
        "        if (true) {\n            next += jobid_eq(&id, &job->msg.job_id);\n", 1000),
    Bug("lost-answer-means-no-claim", "LV: a claim whose answer was lost is not looked for", CLAIM,
        "        b->rows[i]->claim_sent = true;\n        job_queue_push(&s->slow.waiting, "
        "b->rows[i]);",
        "        job_queue_push(&s->slow.waiting, b->rows[i]);", 500),
    Bug("attempts-in-memory", "AT: calls that the ledger knows are not counted", CLAIM,
        "        .attempts = (int)pg_get_int(r, row, 7),", "        .attempts = job->attempts,", 2000),
    Bug("spent-in-memory", "CO: what earlier calls cost is forgotten in a take-over", CLAIM,
        "        job->spent_nusd = pg_null(r, row, 8) ? -1 : pg_get_int(r, row, 8);\n", "", 1000),

    Bug("lost-call-forgotten", "ON: a dead worker's call is called again, whatever the route says",
        CLAIM, "        .unknown = pg_get_bool(r, row, 10),", "        .unknown = false,", 500),

    # ---- endings ----
    Bug("lost-answer-means-stored", "G3: an ending whose transaction was cut off counts as stored",
        END,
        "    if (answer->rc != RC_OK) {\n        store_batch_again(b, answer, \"store\");\n"
        "        return;\n    }\n    if (s->loses)",
        "    if (answer->rc != RC_OK && answer->sqlstate[0]) {\n"
        "        store_batch_again(b, answer, \"store\");\n        return;\n    }\n"
        "    if (answer->rc != RC_OK)\n        s->loses = s->ends_with_results = false;\n"
        "    if (s->loses)", 500),
    Bug("outcome-not-stored", "LV: the outcome of a call that ends its job is left out", END,
        "        if (job->outcome_open)\n            called[calls++] = job;",
        "        if (job->outcome_open && job->status == STATUS_NONE)\n"
        "            called[calls++] = job;", 200),
    Bug("lost-calls-left-open", "LV: a job ends without a call, and a dead worker's call stays open",
        END,
        "        if (job->status != STATUS_NONE && !job->verdict_call)\n"
        "            uncalled[uncalls++] = job;\n", "", 2000),

    # ---- parked ----
    Bug("pulled-is-a-record", "LV: a pulled job claims as if it had no parked row", FLOW,
        "    job->from_parked = true;\n    job->msg.job_id", "    job->msg.job_id", 200,
        unit_tests_see_it=True),
    Bug("lane-for-its-code", "LV: rows are asked for by a lane's place and not by its code", CLAIM,
        "s->conf.lane_codes[s->pulls[i].lane]", "s->pulls[i].lane", 500),
    Bug("taken-and-forgotten", "LV: rows taken by a pull whose answer was lost stay taken", CLAIM,
        "        s->pull_lost = s->pull_lost || !answer->sqlstate[0];\n", "", 2000),

    # ---- limits and what is counted in memory ----
    Bug("memory-not-asked", "G8: calls start without room in the byte budget", PATH,
        "           p->memory_used + CALL_OVERHEAD_BYTES + JOB_MSG_BYTES_MAX + p->conf."
        "reply_max_bytes <=\n               p->conf.memory_bytes;",
        "           true;", 1000),
    Bug("slot-kept", "LV: a claim that was not granted keeps its endpoint's slot", PATH,
        "        endpoint_cancel(&p->endpoints[job->endpoint], job->dispatched_us);\n",
        "        ;\n", 1000, unit_tests_see_it=True),
    Bug("stampede", "RA: an endpoint that answers a probe is given all calls at once",
        "worker/endpoint.c", "    set_bears(e, least(OPENS_WITH, e->goal));\n",
        "    set_bears(e, e->max_in_flight);\n", 1000, unit_tests_see_it=True),

    # ---- the SQL: held against the simulation's Postgres, statement by statement ----
    Bug("progress-of-all-rows", "G1: progress counts what was sent, not what was inserted", SQL,
        "sum(cost_nusd)::int8 FROM done\"",
        "sum(cost_nusd)::int8 FROM unnest($2::uuid[],"
        " $15::int2[], $13::int4[], $4::int8[]) AS d (batch_id, status, model_version_id, cost_nusd)\"",
        20, "agreement"),
    Bug("fence-dropped", "G4: a job is taken from an owner that was not fenced", SQL,
        "CLAIM_HEAD \" AND \" NO_OPEN_CALL CLAIM_TAIL", "CLAIM_HEAD CLAIM_TAIL", 20, "agreement"),
    Bug("anyone-ends-a-call", "G5: a call's outcome is written by who does not own it", SQL,
        " WHERE c.job_id = u.job_id AND c.number = u.number AND c.worker_id = u.worker_id\"",
        " WHERE c.job_id = u.job_id AND c.number = u.number\"", 20, "agreement"),
    Bug("letter-without-an-ending", "G1: a job that had ended otherwise gets a dead letter", SQL,
        " WHERE d.job_id IN (SELECT done.job_id FROM done) ON CONFLICT",
        " ON CONFLICT", 20, "agreement"),

    # ---- seen by unit tests as well ----
    Bug("reask-counts-unmade", "RE: a re-ask that was parked before it was sent counts as made", PATH,
        "    case ACTION_REASK:\n        job->after_store",
        "    case ACTION_REASK:\n        job->reasks++;\n        job->after_store", 500,
        unit_tests_see_it=True),
    Bug("unknown-cost-is-none", "LV: our own claim is another's", "worker/claim_rule.c",
        "    if (f->mine && ask->claim_sent && f->mine == ask->number)",
        "    if (f->mine && ask->claim_sent && f->mine > ask->number)", 500,
        unit_tests_see_it=True),
    Bug("held-after-a-crash-only", "ON: a reply that did not come whole is asked for again",
        "worker/outcome.c",
        "    if (ending != CLASS_NONE) {",
        "    if (ending != CLASS_NONE && o->class == CLASS_LOST) {", 500, unit_tests_see_it=True),
    Bug("finished-out-of-order", "G3: the watermark is the newest record that is done",
        "worker/partitions.c",
        "    return offsets_watermark(h->offsets);", "    return job->offset + 1;", 200,
        unit_tests_see_it=True),
]

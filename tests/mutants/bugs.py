"""Deliberate bugs in the worker, one at a time: what the proofs must catch.

Each is a text that stands exactly once in a file, and what takes its place. `judge` says who must
catch it: `sim`, the simulation, within `bound` seeds; `agreement`, the random histories that hold
the simulation's Postgres against the real one, within `bound` histories (bugs in the SQL, which the
simulation does not run); `units`, the unit tests; and the name of a scenario (tests/sim/scenario.c),
whose numbers must be out of bounds within `bound` seeds. `unit_tests_see_it` marks those that a unit test catches as well: all
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
        "    return false;\n}\n\nvoid path_end_dead",
        "    path_move(p, job, JOB_STORE);\n"
        "    int64_t next = partitions_finish(p->partitions, job);\n"
        "    if (next >= 0)\n"
        "        p->edges.store_offset(p->edges.arg, job->lane, job->partition, job->epoch, next);\n"
        "    p->edges.store(p->edges.arg, job);\n"
        "    return false;\n}\n\nvoid path_end_dead", 200, unit_tests_see_it=True),
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
        "worker/endpoint.c", "    return e->held || is_paused", "    return is_paused", 1000,
        unit_tests_see_it=True),

    # ---- the lease and the fence ----
    Bug("granted-to-who-we-are-now", "G5: a claim that was sent before the fence, and answered after"
        " it, counts as the new incarnation's", STORE,
        "        job->claimed_by = worker_id;",
        "        (void)worker_id, job->claimed_by = s->worker_id;", 2000),
    Bug("byte-without-a-lease", "G4: the lease is not looked at before the first byte", STORE,
        "worker_id == s->worker_id &&\n           store_lease_left_us(s) > s->conf.lease_margin_us;",
        "worker_id == s->worker_id;", 1000),
    Bug("begins-while-it-gives-up", "G4: a claim that is answered once calls were given up begins one"
        " that is open when the worker has stopped", PATH,
        "    if (p->gave_up) {\n", "    if (p->gave_up && !job) {\n", 10000,
        unit_tests_see_it=True),
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

    # ---- retries and larger contexts ----
    Bug("retries-unpaid", "RB: retries go whether their route's budget has something left or not",
        "worker/path_retry.c", "    if (!is_retry(job, job->attempts) || job->paid || job->claim_sent)\n",
        "    if (job->number)\n", 3000, unit_tests_see_it=True),
    Bug("paid-once-for-all", "RB: who has paid for one retry makes all its others for nothing",
        "worker/path_retry.c",
        "        retry_budget_charge(job->budget, now);\n    job->paid = false;\n",
        "        retry_budget_charge(job->budget, now);\n", 1000, unit_tests_see_it=True),
    Bug("way-not-in-the-ledger", "LC: after a crash a job begins again at the version that it was too"
        " long for", CLAIM, "        .larger = (int)pg_get_int(r, row, 11),", "        .larger = 0,",
        2000),
    Bug("way-not-parked", "LC: a parked job begins again at the version that it was too long for",
        CLAIM, "            .larger = (int)pg_get_int(r, i, 16),", "            .larger = 0,", 1000),
    Bug("way-counts-calls", "LC: a version that said twice that a job is too long counts as two", SQL,
        "count(DISTINCT c.model_version_id) FILTER (WHERE c.class = 34)",
        "count(c.model_version_id) FILTER (WHERE c.class = 34)", 100, "agreement"),

    Bug("money-is-there", "MB: calls again go whether the day's money covers them or not", CLAIM,
        "        b->rows[i]->granted = b->rows[i]->owed_nusd <= left;",
        "        b->rows[i]->granted = b->rows[i]->owed_nusd <= left || i > 0 || left >= 0;", 6000),
    Bug("lost-calls-are-free", "MB: after a crash nobody pays for the call that was lost", CLAIM,
        "(policy_pays(job->retry) && !job->settled)", "job->settled", 2000),
    Bug("a-day-is-new-each-time", "MB: what was paid today does not count", SQL,
        "excluded.amount_nusd - c.used_nusd)\"\n         \" WHERE c.used_nusd < excluded.amount_nusd",
        "excluded.amount_nusd)\"\n         \" WHERE c.used_nusd < excluded.amount_nusd", 40,
        "agreement"),

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
        "worker/endpoint.c", "    set_bears(e, least(calls, e->goal));\n",
        "    set_bears(e, calls ? e->max_in_flight : 1);\n", 1000, unit_tests_see_it=True),
    Bug("probe-is-old", "RA: a late refusal while the probe is out makes it a call that does not count",
        "worker/endpoint.c",
        "    e->old = e->in_flight - e->probe_out;\n"
        "    e->old_us = e->probe_out ? e->probe_us - 1 : now_us;\n",
        "    e->old = e->in_flight;\n    e->old_us = now_us;\n", 1, "units", True),

    # ---- one probe in the fleet ----
    Bug("everybody-probes", "PR: each worker probes for itself what the fleet has closed",
        "worker/endpoint.c", "    return e->probing && e->shared && now_us >= e->may_probe_us;",
        "    return e->probing && e->shared && now_us < e->may_probe_us;", 500,
        unit_tests_see_it=True),

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

    # ---- shared limits ----
    Bug("calls-before-limits-are-read", "LM: a worker that starts calls as if there were no limits",
        "worker/store_limits.c", "    return !l || (l->known_us && clock_boot_us() - l->known_us < s->conf.lease_us);",
        "    return !l || s != NULL;", 200),
    Bug("usage-never-settled", "LV: calls that ended stay in flight for their limits",
        "worker/path_limits.c",
        "    admission_settle(p->conf.admission, &job->call->taken, &used, boot_us(p));\n",
        "    (void)used;\n", 1000, unit_tests_see_it=True),
    Bug("waiting-counts-as-known", "G3: jobs that Postgres does not know leave as if it did", CLAIM,
        "        if (pg_get_bool(r, row, 1) || pg_get_bool(r, row, 2))\n"
        "            s->conf.known", "        s->conf.known", 1000),
    Bug("day-hoarded", "an idle worker keeps its part of the day's budget until midnight",
        "worker/admission_fleet.c", "        if (l->left <= 2 * keep)", "        if (l->left > 0)", 1,
        "units", True),
    Bug("day-given-twice", "what a worker gave back of a day's budget it uses as well",
        "worker/admission_fleet.c", "        l->left = keep;\n", "", 1, "units", True),
    Bug("running-calls-forgotten", "calls that ran before there was a limit of calls are not counted",
        "worker/path_limits.c", "            count_running(p, JOB_CALL);\n", "", 1, "units", True),
    Bug("new-limit-given-at-once", "a limit of calls is given out before all have said what runs",
        "worker/shares.c", "r->now_us - r->new_us < SHARES_NEW_US;", "r->now_us < r->new_us;", 1,
        "units", True),
    Bug("nothing-is-owed", "a lower share is held, and the rest another's, before what was sent is paid for",
        "worker/window.c", "        w->owed = (int64_t)(owed < DEBT_MAX ? owed : DEBT_MAX);\n",
        "        w->owed = (int64_t)(owed < 0 ? owed : 0);\n", 1, "units", True),
    Bug("lowered-for-next-to-nothing", "a large share falls silent each time that a small one lacks a unit",
        "worker/shares.c", "    return g->starved || r->missed >= costs ||",
        "    return g->starved || r->missed + costs > 0 ||", 1, "units", True),
    Bug("gone-queues-are-wanted", "who lost his partitions keeps the shares of their jobs",
        "worker/admission_fleet.c", "        a->kept_until_us = now_us + DEALT_US;\n",
        "        a->kept_until_us += 0;\n", 1, "units", True),
    Bug("refused-claim-keeps-units", "LV: a claim that was refused keeps what it took",
        "worker/path_limits.c",
        "    admission_give_back(p->conf.admission, &job->call->taken, boot_us(p));\n", "", 2000,
        unit_tests_see_it=True),

    Bug("want-forgotten", "LV: what waits is not told to the fleet, and gets no share of its limits",
        "worker/path_limits.c", "    admission_waits(a, job->gate, job->lane, &units, 1);\n",
        "    units = (struct admission_units){0};\n"
        "    admission_waits(a, job->gate, job->lane, &units, 0);\n", 500, unit_tests_see_it=True),
    Bug("need-forgotten", "LV: the fleet does not hear how large a call is that waits: shares stay"
        " smaller than it", "worker/admission.c",
        "        note_needs(a, g, units, now_us);\n        block(a, g, k, now_us);\n",
        "        block(a, g, k, now_us);\n", 1000, unit_tests_see_it=True),
    Bug("another-apps-gate", "LM: a job goes by the limits of another app", "worker/path_limits.c",
        "        return false;\n"
        "    job->gate = admission_gate(a, job->mv->index, job->msg.app);\n",
        "        return false;\n"
        "    job->gate = admission_gate(a, job->mv->index, SPAN_LIT(\"app1\"));\n", 500,
        unit_tests_see_it=True),
    Bug("lowered-is-free", "LM: a lowered share is handed out before its holder has heard of it",
        "worker/shares.c",
        "    int64_t held = larger(row->share, row->seen);\n    return limit->minute_us ?",
        "    int64_t held = row->share;\n    return limit->minute_us ?", 10000,
        unit_tests_see_it=True),
    Bug("dead-at-once", "LM: who says nothing for three seconds is dead, and others have its share",
        "worker/shares.c", "    if (silent_us < SHARES_DEAD_US)\n        return false;\n",
        "    if (silent_us > 3000000)\n        return true;\n", 500, unit_tests_see_it=True),
    Bug("lease-of-shares-ignored", "a worker that hears nothing goes on with the share that it had",
        "worker/admission.c", "        if (l->leased && l->lease_until_us <= now_us)\n",
        "        if (l->leased && l->lease_until_us < 0)\n", 1, "units", True),
    Bug("over-limit-at-once", "OL: a job that the present share has no room for is refused for good",
        "worker/admission.c", "        if (of > l->rule.amount && of > l->rule.configured)\n",
        "        if (of > l->rule.amount || of > l->share)\n", 500, unit_tests_see_it=True),
    Bug("over-limit-is-called", "LV, OL: a call that is larger than its limit waits and goes",
        "worker/admission.c", "        if (of > l->rule.amount && of > l->rule.configured)\n",
        "        if (of > INT64_MAX / 2)\n", 500, unit_tests_see_it=True),
    Bug("debt-forgotten", "what a call used beyond what was reckoned is not charged",
        "worker/admission.c", "            window_settle(l->window, reserved, of, call->left_us, now_us);",
        "            window_settle(l->window, reserved, of < reserved ? of : reserved, call->left_us,"
        " now_us);", 1, "units", True),
    Bug("multiplier-is-nobodys", "what one worker learned of a limit is not the fleet's",
        "worker/store_limits.c", "multiplier = pg_get_int(r, row, 5);", "multiplier = PERMILLE;", 3,
        "limit-ten-times-too-high"),
    Bug("pulled-by-one-app", "what room there is goes to one app's parked rows", "worker/pulls.c",
        "        int64_t may = level - a->here;\n", "        int64_t may = most - a->here;\n", 1,
        "units", True),
    Bug("two-probe", "PR: a probe that is lent to one worker is lent to another as well", SQL,
        "         \"     AND coalesce(l.probe_until <= now(), true)))\"\n",
        "         \"     ))\"\n", 60, "agreement"),

    Bug("old-limits-refuse", "OL: who is cut off from Postgres refuses jobs by limits of long ago",
        "worker/path_route.c",
        "    return !p->edges.may_claim(p->edges.arg) || !path_over_limit(p, job, why);",
        "    return !path_over_limit(p, job, why);", 1, "units", True),

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

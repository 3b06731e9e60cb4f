/*
 * check.c - the guarantees of DESIGN 5, asked after every step that could have broken one.
 *
 * It believes three witnesses and no worker: the rows of Postgres and what each transaction changed
 * in them, the logs and committed offsets of Kafka, and what the models saw. What a class means is
 * written here a second time, from schemas/errors.md.
 *
 *   G1  conservation: an accepted job is in Kafka at or above the committed offset, or parked, or
 *       ended; sums of `progress` are counts of results; letters are dead results
 *   G2  a result is inserted once and never changes
 *   G3  the committed offset passes no record that is neither ended nor parked, nor a letter
 *   G4  no claim and no byte while another call of the job is open; nobody is fenced early
 *   G5  a committed row, open and its owner's lease standing, before the first byte; rows end as
 *       the model says they did
 *   G6  the model sees each (job, number) once
 *   G8  memory within the budget
 *   ON  no call after one of which nobody knows what came, where the job's route says so; such a
 *       job is held, its letter open, or given up, its letter discarded
 *   LC  what is too long goes to the next larger context, and to each once
 *   RB  retries within their route's budget
 *   MB  what calls again may have cost, within what their route pays in a day
 *   RA  what refused to serve is not stormed when it serves again
 *   RE  the model was told what was wrong before a job dies of its answer, or nothing more could be
 *   LV  faults over, everything comes to rest
 */
#include <stdio.h>
#include <string.h>

#include "common/codes.h"
#include "tests/sim/sim.h"

enum { SPAN_SLACK = 40 };

#define DAY_US INT64_C(86400000000)

static const struct sim_seen *seen_of(const struct sim *s, int job, int64_t number)
{
    for (int i = s->jobs[job].seen; i; i = s->seen[i - 1].earlier)
        if (s->seen[i - 1].number == number)
            return &s->seen[i - 1];
    return NULL;
}

/* ---- what a call may end as, by what the model did -------------------------------------- */

static bool class_fits(const struct plan_job *job, enum reply_kind kind, int64_t class)
{
    static const int classes[REPLY_KINDS] = {
        [REPLY_GOOD] = CLASS_OK,
        [REPLY_BAD_OUTPUT] = CLASS_BAD_OUTPUT,
        [REPLY_REFUSED] = CLASS_REFUSED,
        [REPLY_GARBLED] = CLASS_BAD_REPLY,
        [REPLY_OTHER_MODEL] = CLASS_OK,
        [REPLY_400] = CLASS_INVALID,
        [REPLY_401] = CLASS_CREDENTIAL,
        [REPLY_403] = CLASS_CREDENTIAL,
        [REPLY_404] = CLASS_NO_UPSTREAM_MODEL,
        [REPLY_429] = CLASS_THROTTLED,
        [REPLY_500] = CLASS_SERVER_ERROR,
        [REPLY_503] = CLASS_OVERLOADED,
        [REPLY_502] = CLASS_AMBIGUOUS,
        [REPLY_CUT] = CLASS_AMBIGUOUS,
        [REPLY_TIMEOUT] = CLASS_AMBIGUOUS,
        [REPLY_OVERSIZED] = CLASS_BAD_REPLY,
        [REPLY_TOO_LONG] = CLASS_CONTEXT_TOO_LONG,
        [REPLY_409] = CLASS_CONFLICT,
    };
    if (kind == REPLY_BAD_OUTPUT && job->sort == SORT_EMBEDDING)
        return class == CLASS_BAD_REPLY; /* an empty list is no embedding */
    return class == classes[kind];
}

/* Classes where the job had no chance, or nobody knows of one. */
static bool counts(int64_t class)
{
    switch (class) {
    case CLASS_UNSENT:
    case CLASS_TLS_CONFIG:
    case CLASS_CREDENTIAL:
    case CLASS_NO_UPSTREAM_MODEL:
    case CLASS_BILLING:
    case CLASS_THROTTLED:
    case CLASS_OVERLOADED:
    case CLASS_ABORTED:
    case CLASS_CONTEXT_TOO_LONG:
        return false;
    default:
        return true; /* open calls too */
    }
}

/* Of calls of a version's model; the app's route goes before the model's. */
static struct plan_route route_of(const struct sim *s, int job, int64_t version)
{
    bool app2 = s->plan->jobs[job].batch % 2 != 0;
    int model = sim_model_of(s, version); /* -1: it ended without a call */
    model = model < 0 ? s->plan->jobs[job].endpoint : model;
    return app2 && s->plan->of_app2.is ? s->plan->of_app2 : s->plan->of_model[model];
}

static int attempts_allowed(const struct sim *s, int job, int64_t version)
{
    int own = s->plan->jobs[job].max_attempts, route = route_of(s, job, version).max_attempts;
    if (!own && !route)
        return s->plan->max_attempts;
    return !own || (route && route < own) ? route : own;
}

/* Its bytes may have left, and nobody knows what came of it. */
static bool is_unknown(const struct fake_call_row *c)
{
    return c->class == CLASS_AMBIGUOUS || c->class == CLASS_LOST || c->class == CLASS_ABORTED;
}

static int64_t exact_cost_nusd(const struct sim *s, int job)
{
    int64_t input, output;
    sim_usage(s, job, &input, &output);
    return (input * INT64_C(150000) + output * INT64_C(600000)) / 1000;
}

/* ---- call: the ledger ------------------------------------------------------------------- */

/* From a model whose context it is too long for to the next, and nowhere else; each says so once.
 */
static void check_way(struct sim *s, int job, const struct fake_call_row *row)
{
    int first = s->plan->jobs[job].endpoint, model = sim_model_of(s, row->model_version_id);
    int told = 0, needed = first;
    for (const struct fake_call_row *c = fake_pg_calls(s->db, &row->job_id); c; c = c->next) {
        int at = sim_model_of(s, c->model_version_id);
        if (c->class != CLASS_CONTEXT_TOO_LONG)
            continue;
        told++;
        needed = at >= needed && s->plan->larger[at] ? at + 1 : needed;
    }
    if (model > first + told || (row->kind == CALL_FALLBACK && model == first))
        sim_break(s, "LC", "job %d, call %d goes to model %d, and %d said that it is too long", job,
                  (int)row->number, model, told);
    if (model < needed && !s->jobs[job].corrected)
        sim_break(s, "LC", "job %d, call %d goes to model %d, which had said that it is too long",
                  job, (int)row->number, model);
}

/* It is made although nobody knows what came of the one before: what that may have cost is within
 * what its route pays in a day. It was paid for after the one before was claimed and before this
 * one was: if both are of one day, then on that day. Else on either, so that it counts against what
 * all days until now pay together. */
static void check_money(struct sim *s, int job, const struct fake_call_row *row)
{
    const struct fake_call_row *before = fake_pg_call(s->db, &row->job_id, row->number - 1);
    if (!before || !is_unknown(before))
        return;
    struct plan_route route = route_of(s, job, before->model_version_id);
    bool app2 = s->plan->jobs[job].batch % 2 != 0 && s->plan->of_app2.is;
    struct sim_paid *paid =
        &s->paid[app2 ? PLAN_ENDPOINTS : sim_model_of(s, before->model_version_id)];
    int64_t day = row->claimed_at / DAY_US, days = day - SIM_WALL_US / DAY_US + 1;
    if (paid->day != day)
        *paid = (struct sim_paid){.day = day, .nusd = paid->nusd};
    paid->nusd += before->upper_nusd;
    paid->of_day_nusd += before->claimed_at / DAY_US == day ? before->upper_nusd : 0;
    if (!route.is || route.nusd_per_day < 0)
        return;
    if (paid->of_day_nusd > route.nusd_per_day || paid->nusd > days * route.nusd_per_day)
        sim_break(s, "MB",
                  "job %d, call %d: calls again have cost %lld nUSD today, %lld in all; a day has "
                  "%lld",
                  job, (int)row->number, (long long)paid->of_day_nusd, (long long)paid->nusd,
                  (long long)route.nusd_per_day);
}

static void call_inserted(struct sim *s, const struct fake_call_row *row)
{
    int job = sim_job_of(s, &row->job_id), counted = 0;
    const struct fake_worker_row *owner = fake_pg_worker(s->db, row->worker_id);
    if (job < 0 || !sim_is_job(s, job)) {
        sim_break(s, "G5", "a call of no job is claimed");
        return;
    }
    TELL(s, NULL, "worker id %lld has claimed job %d, call %d", (long long)row->worker_id, job,
         (int)row->number);
    if (!owner || owner->fenced || owner->lease_until <= sim_wall_us(s))
        sim_break(s, "G4", "job %d, call %d was claimed by worker id %lld, whose lease was over",
                  job, (int)row->number, (long long)row->worker_id);
    if (fake_pg_result(s->db, &row->job_id))
        sim_break(s, "G2", "job %d had ended, and call %d of it was claimed", job,
                  (int)row->number);
    for (const struct fake_call_row *c = fake_pg_calls(s->db, &row->job_id); c; c = c->next) {
        counted += c->class == FAKE_NULL || counts(c->class);
        if (c != row && is_unknown(c) &&
            route_of(s, job, c->model_version_id).unknown != UNKNOWN_RETRY)
            sim_break(s, "ON",
                      "job %d: call %d was claimed; call %d is %s, and its route forbids it", job,
                      (int)row->number, (int)c->number, class_name((int)c->class));
        if (c != row && c->done_at == FAKE_NULL)
            sim_break(s, "G4",
                      "job %d: call %d (worker id %lld) was claimed while call %d "
                      "(worker id %lld) was open",
                      job, (int)row->number, (long long)row->worker_id, (int)c->number,
                      (long long)c->worker_id);
    }
    if (row->number > 1 && !fake_pg_call(s->db, &row->job_id, row->number - 1))
        sim_break(s, "G5", "job %d: call %d was claimed, and there is no call %d", job,
                  (int)row->number, (int)row->number - 1);
    int allowed = attempts_allowed(s, job, row->model_version_id);
    if (counted > allowed)
        sim_break(s, "AT", "job %d may be tried %d times, and call %d is its attempt %d", job,
                  allowed, (int)row->number, counted);
    check_way(s, job, row);
    check_money(s, job, row);
}

/* Its owner says how it ended: the model must agree. */
static void call_ended(struct sim *s, int job, const struct fake_call_row *row)
{
    const struct sim_seen *seen = seen_of(s, job, row->number);
    const struct plan_job *plan = &s->plan->jobs[job];
    bool fits = !seen         ? row->class == CLASS_UNSENT || row->class == CLASS_ABORTED
                : seen->given ? class_fits(plan, seen->kind, row->class)
                              : row->class == CLASS_ABORTED;
    if (!fits)
        sim_break(s, "G5", "job %d, call %d ended as %s in the ledger; the model %s", job,
                  (int)row->number, class_name((int)row->class),
                  !seen         ? "never saw it"
                  : seen->given ? "answered otherwise"
                                : "was not heard out");
    if (row->certainty == CERTAINTY_EXACT && row->cost_nusd != exact_cost_nusd(s, job))
        sim_break(s, "G5", "job %d, call %d: the model charged %lld nUSD, the ledger says %lld",
                  job, (int)row->number, (long long)exact_cost_nusd(s, job),
                  (long long)row->cost_nusd);
}

static void call_changed(struct sim *s, const struct fake_call_row *row,
                         const struct fake_call_row *before)
{
    int job = sim_job_of(s, &row->job_id);
    const struct fake_worker_row *owner = fake_pg_worker(s->db, row->worker_id);
    if (row->worker_id != before->worker_id || row->number != before->number) {
        sim_break(s, "G5", "job %d, call %d changed hands", job, (int)before->number);
    } else if (before->done_at != FAKE_NULL && before->class != CLASS_LOST) {
        sim_break(s, "G5", "job %d, call %d had ended as %s and became %s", job, (int)row->number,
                  class_name((int)before->class), class_name((int)row->class));
    } else if (row->class == CLASS_LOST) {
        TELL(s, NULL, "job %d, call %d of worker id %lld is lost", job, (int)row->number,
             (long long)row->worker_id);
        s->counts->extra++;
        if (!owner || !owner->fenced)
            sim_break(s, "G4", "job %d, call %d was called lost while its owner %lld lived", job,
                      (int)row->number, (long long)row->worker_id);
    } else {
        s->jobs[job].corrected =
            s->jobs[job].corrected || before->class == CLASS_LOST || !owner || owner->fenced;
        call_ended(s, job, row);
    }
}

/* ---- result ----------------------------------------------------------------------------- */

/* It died of an answer that is none of its labels: to the one re-ask, which told the model so. */
static void check_reasked(struct sim *s, int job, const struct fake_result_row *row)
{
    const struct fake_call_row *last = fake_pg_call(s->db, &row->job_id, row->call_number);
    const struct sim_seen *seen = seen_of(s, job, row->call_number);
    bool unreadable = false; /* a reply: there was nothing to complain of */
    int counted = 0;
    for (const struct fake_call_row *c = fake_pg_calls(s->db, &row->job_id); c; c = c->next) {
        counted += c->class == FAKE_NULL || counts(c->class);
        unreadable = unreadable || c->class == CLASS_BAD_REPLY;
    }
    if (!last || !seen || counted >= attempts_allowed(s, job, row->model_version_id) ||
        s->jobs[job].corrected)
        return; /* corrected: a lost call had counted, until its owner told that it does not */
    if (last->kind != CALL_REASK || !(seen->complains || unreadable))
        sim_break(s, "RE", "job %d died of a bad answer to call %d, which complained of none", job,
                  (int)row->call_number);
}

static void check_verdict(struct sim *s, int job, const struct fake_result_row *row)
{
    const struct fake_call_row *call = fake_pg_call(s->db, &row->job_id, row->call_number);
    const struct sim_seen *seen = seen_of(s, job, row->call_number);
    bool never_left = call && (call->class == CLASS_UNSENT || call->class == CLASS_ABORTED);
    if (row->status != STATUS_SUCCEEDED && never_left)
        return; /* no other came before its deadline */
    if (!call || !seen || !seen->given)
        sim_break(s, "G5", "job %d ended by call %d, which the %s does not know", job,
                  (int)row->call_number, call ? "model" : "ledger");
    else if (row->status == STATUS_SUCCEEDED && seen->kind != REPLY_GOOD &&
             seen->kind != REPLY_OTHER_MODEL)
        sim_break(s, "G5", "job %d succeeded by call %d, which the model did not answer well", job,
                  (int)row->call_number);
    if (row->class == CLASS_BAD_OUTPUT && s->plan->jobs[job].sort == SORT_LABEL)
        check_reasked(s, job, row);
    if (call && call->model_version_id != row->model_version_id)
        sim_break(s, "LC", "job %d ended by call %d at version %lld, and its result names %lld",
                  job, (int)row->call_number, (long long)call->model_version_id,
                  (long long)row->model_version_id);
    if (row->class == CLASS_CONTEXT_TOO_LONG &&
        s->plan->larger[sim_model_of(s, row->model_version_id)])
        sim_break(s, "LC", "job %d died as too long for a model that names a larger one", job);
}

static void check_cost(struct sim *s, int job, const struct fake_result_row *row)
{
    int64_t sum = 0;
    if (s->jobs[job].corrected)
        return; /* a late owner told the truth while others reckoned with the estimate */
    for (const struct fake_call_row *c = fake_pg_calls(s->db, &row->job_id); c; c = c->next) {
        if (c->done_at == FAKE_NULL)
            return; /* taken over while it ran: nobody could know */
        if (c->cost_nusd == FAKE_NULL)
            sum = FAKE_NULL;
        else if (sum != FAKE_NULL)
            sum += c->cost_nusd;
    }
    if (row->cost_nusd != sum)
        sim_break(s, "CO", "job %d cost %lld by its result and %lld by its calls", job,
                  (long long)row->cost_nusd, (long long)sum);
}

static void result_inserted(struct sim *s, const struct fake_result_row *row)
{
    int job = sim_job_of(s, &row->job_id);
    if (job < 0 || !sim_is_job(s, job) || !s->jobs[job].accepted) {
        sim_break(s, "G9", "a result of no job");
        return;
    }
    TELL(s, NULL, "job %d is %s (%s)", job, status_name((int)row->status),
         class_name((int)row->class));
    s->counts->ended[row->status]++;
    s->results++;
    s->by_status[row->status]++;
    if (row->call_number != FAKE_NULL) {
        check_verdict(s, job, row);
        return;
    }
    if (row->status == STATUS_SUCCEEDED)
        sim_break(s, "G5", "job %d succeeded without a call", job);
    if (row->status == STATUS_EXPIRED && !s->plan->jobs[job].deadline_us)
        sim_break(s, "G1", "job %d has no deadline, and expired", job);
    for (const struct fake_call_row *c = fake_pg_calls(s->db, &row->job_id); c; c = c->next) {
        const struct fake_worker_row *owner = fake_pg_worker(s->db, c->worker_id);
        if (c->done_at == FAKE_NULL && !owner->fenced)
            sim_break(s, "G4", "job %d was ended while its call %d was open", job, (int)c->number);
    }
}

static void check_progress(struct sim *s)
{
    int64_t by_status[8] = {0};
    for (int i = 0; i < fake_pg_count(s->db, FAKE_PROGRESS); i++) {
        const struct fake_progress_row *p = fake_pg_progress_at(s->db, i);
        by_status[p->status] += p->n;
    }
    if (memcmp(by_status, s->by_status, sizeof by_status) == 0)
        return;
    int64_t sum = 0;
    for (int i = 0; i < 8; i++)
        sum += by_status[i];
    sim_break(s, "G1", "progress says %lld, and there are %lld results", (long long)sum,
              (long long)s->results);
}

/* ---- worker, parked, dead_letter -------------------------------------------------------- */

/* Whoever says that it stops is fenced by that, at once and not after its lease: from here on
 * others may call for every job whose row it left open. So it must have closed its own calls before
 * it sent this. (A first byte later than this is check_first_byte's to see.) */
static void check_good_bye(struct sim *s, int64_t worker_id)
{
    int job = models_waited_for(s, worker_id);
    if (job >= 0)
        sim_break(s, "G4", "worker id %lld has stopped, and its call for job %d goes on",
                  (long long)worker_id, job);
}

static void worker_changed(struct sim *s, const struct fake_worker_row *row,
                           const struct fake_worker_row *before)
{
    int64_t grace_us = s->plan->lease_us / 3 / 1000000 * 1000000;
    bool stopped = row->stopped_at != FAKE_NULL;
    if (before->fenced && (!row->fenced || row->lease_until != before->lease_until))
        sim_break(s, "G4", "worker id %lld was fenced, and its lease lived on",
                  (long long)row->worker_id);
    if (stopped && !before->fenced)
        check_good_bye(s, row->worker_id);
    if (!row->fenced || before->fenced || stopped)
        return;
    TELL(s, NULL, "worker id %lld is fenced", (long long)row->worker_id);
    if (row->lease_until + grace_us > sim_wall_us(s))
        sim_break(s, "G4", "worker id %lld was fenced %lld ms before its time",
                  (long long)row->worker_id,
                  (long long)(row->lease_until + grace_us - sim_wall_us(s)) / 1000);
}

static void parked_changed(struct sim *s, const struct fake_parked_row *row,
                           const struct fake_parked_row *before)
{
    const struct fake_parked_row *any = row ? row : before;
    int job = sim_job_of(s, &any->job_id);
    bool ended = fake_pg_result(s->db, &any->job_id) != NULL;
    if (!row && !ended)
        sim_break(s, "G1", "job %d has not ended, and its parked row is gone", job);
    s->crossed = s->crossed || (row && !before && ended);
    s->counts->crossed += row && !before && ended;
    if (!row || !before) {
        TELL(s, NULL, "job %d %s", job, row ? "is parked" : "has left `parked`");
        return;
    }
    if (before->taken_by != FAKE_NULL && row->taken_by != FAKE_NULL &&
        row->taken_by != before->taken_by)
        sim_break(s, "G4", "job %d, parked and taken by worker id %lld, was taken by %lld", job,
                  (long long)before->taken_by, (long long)row->taken_by);
}

/* Held or given up: as its route says, and for a call's sake. */
static void check_by_route(struct sim *s, int job, const struct fake_result_row *row)
{
    struct plan_route route = route_of(s, job, row->model_version_id);
    enum plan_unknown says = route.is && route.unknown == UNKNOWN_RETRY && route.nusd_per_day >= 0
                                 ? UNKNOWN_HOLD /* where there is no money left */
                                 : route.unknown;
    bool unknown = false;
    if (row->class != CLASS_HELD && row->class != CLASS_GIVEN_UP)
        return;
    for (const struct fake_call_row *c = fake_pg_calls(s->db, &row->job_id); c; c = c->next)
        unknown = unknown || is_unknown(c);
    if (row->status != STATUS_DEAD || says == UNKNOWN_RETRY ||
        (row->class == CLASS_HELD) != (says == UNKNOWN_HOLD))
        sim_break(s, "ON", "job %d is %s (%s), and its route does not say so", job,
                  status_name((int)row->status), class_name((int)row->class));
    else if (!unknown && !s->jobs[job].corrected)
        sim_break(s, "ON", "job %d is %s, and what came of all its calls is known", job,
                  class_name((int)row->class));
}

static void letter_inserted(struct sim *s, const struct fake_letter_row *row)
{
    static const struct jobid none;
    const struct fake_result_row *result = fake_pg_result(s->db, &row->job_id);
    if (jobid_eq(&row->job_id, &none)) {
        s->buried++;
        return;
    }
    s->letters++;
    if ((row->state == DEAD_DISCARDED) != (row->class == CLASS_GIVEN_UP))
        sim_break(s, "ON", "the letter of job %d, which is %s, is %s", sim_job_of(s, &row->job_id),
                  class_name((int)row->class), dead_state_name((int)row->state));
    if (!result || result->status != STATUS_DEAD)
        sim_break(s, "G1", "a dead letter of job %d, which is not dead",
                  sim_job_of(s, &row->job_id));
}

static void changed(struct sim *s, const struct fake_change *c)
{
    switch ((int)c->table) {
    case FAKE_RESULT:
        if (!c->row || c->before)
            sim_break(s, "G2", "a result was %s", c->row ? "changed" : "deleted");
        else
            result_inserted(s, c->row);
        break;
    case FAKE_CALL:
        if (!c->row)
            sim_break(s, "G5", "a call was deleted");
        else if (c->before)
            call_changed(s, c->row, c->before);
        else
            call_inserted(s, c->row);
        break;
    case FAKE_WORKER:
        if (c->row && c->before)
            worker_changed(s, c->row, c->before);
        break;
    case FAKE_PARKED:
        parked_changed(s, c->row, c->before);
        break;
    case FAKE_LETTER:
        if (!c->before)
            letter_inserted(s, c->row);
        break;
    case FAKE_SHARE:
        limits_share(s, c->row, c->before);
        if (!c->row) {
            const struct fake_share_row *gone = c->before;
            limits_let_go(s, gone->limit_id, gone->worker_id);
        }
        break;
    default:
        break;
    }
}

void check_txn(struct sim *s, struct sim_worker *w)
{
    int n = 0;
    bool results = false;
    const struct fake_change *changes = fake_pg_changes(s->db, &n);
    (void)w;
    for (int i = 0; i < n; i++) {
        changed(s, &changes[i]);
        results = results || changes[i].table == FAKE_RESULT || changes[i].table == FAKE_PROGRESS;
    }
    if (!results)
        return;
    for (int i = 0; i < n; i++) /* by now its calls' outcomes stand as well */
        if (changes[i].table == FAKE_RESULT && changes[i].row) {
            const struct fake_result_row *row = changes[i].row;
            check_cost(s, sim_job_of(s, &row->job_id), row);
            check_by_route(s, sim_job_of(s, &row->job_id), row);
        }
    check_progress(s);
    if (s->letters != s->by_status[STATUS_DEAD])
        sim_break(s, "G1", "%lld jobs are dead and %lld have a letter",
                  (long long)s->by_status[STATUS_DEAD], (long long)s->letters);
}

/* ---- Kafka ------------------------------------------------------------------------------ */

static bool has_letter(const struct sim *s, int lane, int partition, int64_t offset)
{
    for (int i = 0; i < fake_pg_count(s->db, FAKE_LETTER); i++) {
        const struct fake_letter_row *l = fake_pg_letter_at(s->db, i);
        if (l->partition == partition && l->record_offset == offset &&
            span_is(l->topic, plan_lane_topics[lane]))
            return true;
    }
    return false;
}

void check_committed(struct sim *s, int lane, int partition, int64_t from, int64_t to)
{
    const struct sim_partition *p = &s->kafka.of[lane][partition];
    for (int i = 0; i < p->count; i++) {
        const struct sim_record *r = &p->records[i];
        if (r->offset < from || r->offset >= to)
            continue;
        const struct jobid *id = &s->jobs[r->job].id;
        bool safe = sim_is_job(s, r->job) ? fake_pg_result(s->db, id) || fake_pg_parked(s->db, id)
                                          : has_letter(s, lane, partition, r->offset);
        if (!safe)
            sim_break(s, "G3",
                      "the offset of lane %d partition %d went to %lld, past job %d at %lld, which "
                      "has neither ended nor is it parked",
                      lane, partition, (long long)to, r->job, (long long)r->offset);
    }
}

/* ---- the first byte --------------------------------------------------------------------- */

void check_first_byte(struct sim *s, struct sim_worker *w, const struct job *job, int index)
{
    const struct sim_seen *seen = &s->seen[index];
    const struct jobid *id = &s->jobs[seen->job].id;
    const struct fake_call_row *row = fake_pg_call(s->db, id, seen->number);
    const struct fake_worker_row *owner = row ? fake_pg_worker(s->db, row->worker_id) : NULL;
    (void)job;
    if (!row || row->worker_id != seen->worker_id)
        sim_break(s, "G5", "%s calls for job %d, call %d, without a row in the ledger", w->name,
                  seen->job, seen->number);
    else if (row->done_at != FAKE_NULL)
        sim_break(s, "G5", "%s calls for job %d, call %d, whose row has ended", w->name, seen->job,
                  seen->number);
    else if (owner->fenced || owner->lease_until <= sim_wall_us(s))
        sim_break(s, "G4", "%s calls for job %d, call %d, after its lease", w->name, seen->job,
                  seen->number);
    for (int i = seen->earlier; i; i = s->seen[i - 1].earlier) {
        const struct sim_seen *o = &s->seen[i - 1];
        const struct fake_call_row *other = fake_pg_call(s->db, id, o->number);
        if (o->number == seen->number)
            sim_break(s, "G6", "the model sees job %d, call %d twice", seen->job, seen->number);
        else if (!other || other->done_at == FAKE_NULL)
            sim_break(s, "G4", "%s calls for job %d, call %d, while call %d is open", w->name,
                      seen->job, seen->number, o->number);
    }
}

/* ---- recovery --------------------------------------------------------------------------- */

/* From a refusal on, or from when it was heard of another worker's, one call may go, and for each
 * that ends two: it doubles at most with each round trip. At its goal it may be a step of its slow
 * growth beyond that, once. Those that were dispatched before are no part of it. */
void check_call_begun(struct sim *s, struct sim_worker *w, int endpoint, const struct job *job)
{
    struct sim_ramp *ramp = &w->ramp[endpoint];
    if (!ramp->down || job->dispatched_us <= ramp->since_us)
        return;
    if (++ramp->begun > 1 + 2 * ramp->ended + s->plan->endpoint_in_flight / 64)
        sim_break(s, "RA", "%s has sent endpoint %d %d calls since it failed, and %d have ended",
                  w->name, endpoint, ramp->begun, ramp->ended);
}

void check_call_ended(struct sim *s, struct sim_worker *w, const struct job *job,
                      const struct http_facts *facts)
{
    struct sim_ramp *ramp = &w->ramp[job->endpoint];
    bool refuses =
        facts->fault == HTTP_FAULT_UNSENT ||
        (facts->fault == HTTP_FAULT_NONE && (facts->status == 401 || facts->status == 403 ||
                                             facts->status == 429 || facts->status == 503));
    (void)s;
    check_lives(w, job->endpoint, facts);
    if (!refuses)
        ramp->ended++;
    else if (!ramp->down ||
             job->dispatched_us > ramp->since_us) /* no late word of the same fault */
        *ramp = (struct sim_ramp){.down = true, .since_us = sim_worker_mono(w)};
}

/* ---- retry budgets ---------------------------------------------------------------------- */

int sim_model_of(const struct sim *s, int64_t model_version_id)
{
    int index = (int)model_version_id - 1, models = s->plan->endpoints;
    return index <= models ? index % models : index - models - 1; /* the retired one is the first */
}

/* By whose budget: the app's, the model's, or that of the version alone. */
static struct sim_retries *retries_of(struct sim *s, struct sim_worker *w, const struct job *job)
{
    int index = sim_job_of(s, &job->msg.job_id), model = sim_model_of(s, job->mv->db_id);
    bool app2 = s->plan->jobs[index].batch % 2 != 0 && s->plan->of_app2.is;
    int of = app2                          ? PLAN_ENDPOINTS
             : s->plan->of_model[model].is ? model
                                           : PLAN_ENDPOINTS + job->mv->db_id;
    if (!w->retries[of])
        w->retries[of] = sim_alloc(s, sizeof *w->retries[of]);
    return w->retries[of];
}

static void note_retry(struct sim_retries *r, enum sim_retry_kind kind, int64_t at_us)
{
    enum { LOG = sizeof r->log / sizeof r->log[0] };
    if (r->count == LOG) {
        r->dropped_us = r->log[LOG / 2 - 1].at_us;
        memmove(r->log, r->log + LOG / 2, sizeof r->log / 2);
        r->count = LOG / 2;
    }
    r->log[r->count++] = (struct sim_retry){at_us, kind};
}

void check_claimed(struct sim *s, struct sim_worker *w, const struct job *job)
{
    int index = sim_job_of(s, &job->msg.job_id);
    if (index < 0 || job->ask_only || job->claim_sent)
        return;
    s->jobs[index].asked_by = w->slot + 1;
    s->jobs[index].asked_for = job->kind == CALL_PRIMARY ? 1 : job->number;
}

/* A call that another worker lost is made again at once, and so is one whose claim may stand: they
 * count from when they begin, but are not refused. The others count from when they were paid for,
 * before their claim. */
void check_retry_begun(struct sim *s, struct sim_worker *w, const struct job *job)
{
    enum { FLOOR = 10, WINDOW_US = 60000000, SLOT_US = 10000000 };
    struct sim_retries *r = retries_of(s, w, job);
    int index = sim_job_of(s, &job->msg.job_id);
    struct plan_route route = route_of(s, index, job->mv->db_id);
    int64_t share = route.is ? route.budget_permille : 200, may = FLOOR * 1000, went = 0;
    int64_t now = sim_worker_mono(w), paid_us = job->dispatched_us;
    if (job->number == 1)
        note_retry(r, RETRY_FIRST, now);
    if (job->kind != CALL_RETRY || job->attempts == 0)
        return;
    bool free = job->claim_sent || s->jobs[index].asked_for != job->number ||
                s->jobs[index].asked_by != w->slot + 1 ||
                paid_us - r->dropped_us < WINDOW_US + SLOT_US; /* too much to judge */
    note_retry(r, RETRY_CALL, free ? now : paid_us);
    for (int i = 0; i < r->count && !free; i++) {
        int64_t ago_us = paid_us - r->log[i].at_us;
        if (ago_us < 0 || ago_us >= WINDOW_US + SLOT_US)
            continue;
        may += r->log[i].kind == RETRY_FIRST ? share : r->log[i].kind == RETRY_ANSWERED ? 2000 : 0;
        went += r->log[i].kind == RETRY_CALL && ago_us < WINDOW_US ? 1000 : 0;
    }
    if (went > may)
        sim_break(s, "RB", "%s has begun %d retries of a route in a minute, and may %d.%03d",
                  w->name, (int)went / 1000, (int)may / 1000, (int)may % 1000);
}

void check_retry_ended(struct sim *s, struct sim_worker *w, const struct job *job, int kind)
{
    static const bool lives[REPLY_KINDS] = {
        [REPLY_GOOD] = true,        [REPLY_BAD_OUTPUT] = true, [REPLY_REFUSED] = true,
        [REPLY_OTHER_MODEL] = true, [REPLY_400] = true,        [REPLY_TOO_LONG] = true,
    };
    if (kind >= 0 && lives[kind] && job->kind == CALL_RETRY && job->attempts > 0)
        note_retry(retries_of(s, w, job), RETRY_ANSWERED, sim_worker_mono(w));
}

/* ---- one worker ------------------------------------------------------------------------- */

void check_worker(struct sim *s, const struct sim_worker *w)
{
    int64_t used = path_memory_used(w->path);
    if (used > s->plan->memory_bytes || used < 0)
        sim_break(s, "G8", "%s holds %lld bytes of %lld", w->name, (long long)used,
                  (long long)s->plan->memory_bytes);
    for (int i = 0; i < w->consumer.held_count; i++) {
        const struct sim_held *h = &w->consumer.held[i];
        const struct sim_partition *p = &s->kafka.of[h->lane][h->partition];
        int held = 0;
        if (h->next <= s->plan->offset_span)
            continue; /* it has not fetched so many at all */
        for (int k = h->next - 1;
             k >= 0 && p->records[k].offset >= h->done && p->records[k].offset >= p->committed; k--)
            held++;
        if (held > s->plan->offset_span + SPAN_SLACK)
            sim_break(s, "G3", "%s has fetched %d records past the watermark of lane %d", w->name,
                      held, h->lane);
    }
}

/* ---- at the end ------------------------------------------------------------------------- */

static bool worker_rests(const struct sim_worker *w)
{
    if (w->phase == SIM_DOWN)
        return true;
    if (w->phase != SIM_RUNNING || path_memory_used(w->path) != 0)
        return false;
    for (int state = 0; state < JOB_STATE_COUNT; state++)
        if (path_jobs(w->path, (enum job_state)state))
            return false;
    return true;
}

/* A worker that had been fenced told the truth of an earlier call after all, and ended the job; the
 * call that its successor made meanwhile stays open if that one dies, too: nobody comes by the job
 * again. Its worker's row says that it is lost. */
static bool overtaken(const struct sim *s, const struct fake_call_row *c)
{
    const struct fake_result_row *r = fake_pg_result(s->db, &c->job_id);
    return r && r->call_number != FAKE_NULL && r->call_number < c->number &&
           fake_pg_worker(s->db, c->worker_id)->fenced;
}

/* What is not at rest yet; "": everything is. */
static void find_unrest(struct sim *s, char *why, size_t n)
{
    why[0] = '\0';
    for (int i = 0; i < s->plan->job_count; i++)
        if (s->jobs[i].accepted && !fake_pg_result(s->db, &s->jobs[i].id)) {
            const struct fake_parked_row *p = fake_pg_parked(s->db, &s->jobs[i].id);
            (void)snprintf(why, n, "job %d has not ended%s", i,
                           !p                         ? ""
                           : p->taken_by == FAKE_NULL ? " (it is parked)"
                                                      : " (it is parked, and taken)");
            return;
        }
    /* One that crossed its result goes when it is pulled, or when its worker stops. */
    if (fake_pg_count(s->db, FAKE_PARKED) && !s->crossed)
        (void)snprintf(why, n, "a parked row is left over");
    else if (!kafka_settled(s))
        (void)snprintf(why, n, "offsets are not committed to the end");
    for (int i = 0; i < fake_pg_count(s->db, FAKE_CALL) && !why[0]; i++) {
        const struct fake_call_row *c = fake_pg_call_at(s->db, i);
        if (c->done_at == FAKE_NULL && !overtaken(s, c))
            (void)snprintf(why, n, "job %d, call %d is open", sim_job_of(s, &c->job_id),
                           (int)c->number);
    }
    for (int i = 0; i < fake_pg_count(s->db, FAKE_LETTER) && !why[0]; i++)
        if (fake_pg_letter_at(s->db, i)->published_at == FAKE_NULL)
            (void)snprintf(why, n, "a dead letter is not published");
    for (int i = 0; i < s->plan->slots && !why[0]; i++)
        if (!worker_rests(&s->workers[i]))
            (void)snprintf(
                why, n, "%s still holds jobs or memory (%lld bytes)", s->workers[i].name,
                (long long)(s->workers[i].path ? path_memory_used(s->workers[i].path) : 0));
}

bool check_at_rest(struct sim *s)
{
    char why[128];
    find_unrest(s, why, sizeof why);
    return !why[0];
}

void check_end(struct sim *s)
{
    char why[128];
    find_unrest(s, why, sizeof why);
    if (why[0])
        limits_tell(s);
    if (why[0])
        sim_break(s, "LV", "%s, long after the last fault", why);
}

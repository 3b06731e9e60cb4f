/*
 * admission.h - a worker's own view of the shared limits: may a job's call go now, and what does
 * the fleet have to know? (pure)
 *
 * A gate stands for jobs that are bound by the same limits: those of one app for one model version
 * (whose endpoint is part of it). A call takes its units from all limits of its gate or from none,
 * before it is claimed; it leaves, or gives them back; when it has ended it settles what it really
 * took. What waits and what goes is summed by gate and lane, so that the fleet can be told what
 * this worker wants of each limit.
 *
 * Shares come by exchanges (shares.h): admission_exchange says what is wanted and held,
 * admission_answer hears what may be held, until SHARES_LEASE_US after the exchange was sent.
 * Without a lease nothing goes, and no call that is larger than the fleet knows: should this worker
 * die, that call has to be paid for. A limit that nobody has asked for in a minute, and under which
 * no call runs, is not exchanged.
 *
 * Where there are no limits, nothing here needs to be called but admission_on.
 *
 * now_us is CLOCK_BOOTTIME throughout: leases run on while the machine sleeps.
 */
#ifndef INFERQ_WORKER_ADMISSION_H
#define INFERQ_WORKER_ADMISSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/limits.h"
#include "common/span.h"
#include "worker/lanes.h"
#include "worker/shares.h"

/* All dimensions of an endpoint, a model version and an app. */
enum { ADMISSION_GATE_LIMITS = 3 * (LIMIT_DIMENSION_END - 1) };

struct admission;

/* What a call asks for, or has taken; as a request it counts 1. */
struct admission_units {
    int64_t input_tokens, output_tokens;
};

/* A model version: what the keys of its limits are. */
struct admission_model {
    const char *endpoint; /* "name@version" */
    const char *label;    /* "model@version" */
};

struct admission_rule {
    int32_t limit_id;
    enum limit_scope scope;
    struct span key;
    enum limit_dimension dimension;
    int64_t amount;     /* 1 .. : with what was learned, without headroom */
    int64_t configured; /* what people said: what was learned may pass again; 0: as `amount` */
};

/* returns owned; NULL: no memory. `models` by the index of the version; copied. */
struct admission *admission_new(const struct admission_model *models, int model_count);
void admission_free(struct admission *a);

/* The model versions, of which those that have gates are as they were; others may be new, or be
 * what another catalogue, that never came in force, was to have in their places. RC_NOMEM: to be
 * told again; gates are as they were. */
enum rc admission_models(struct admission *a, const struct admission_model *models, int model_count,
                         struct err *err) MUST_CHECK;

/* The limits in force, all of them, and their headroom (0 .. 500). What is known of limits that
 * stay goes on, gates stay; calls that run are in flight for new limits, too. The same rules again
 * change nothing. RC_NOMEM: what was in force stays in force. */
enum rc admission_rules(struct admission *a, const struct admission_rule *rules, size_t count,
                        int headroom_permille, int64_t now_us, struct err *err) MUST_CHECK;
/* Is there any limit? */
bool admission_on(const struct admission *a);
/* Another number whenever other rules are in force. */
uint32_t admission_generation(const struct admission *a);

/* The gate of an app's jobs for a model version: 0 .. ; good while a job waits there or a call has
 * taken, and until the next admission_gate. (Apps are many: those that rest give their places to
 * others.) -1: no memory. */
int admission_gate(struct admission *a, int model, struct span app);

/* ---- a call ---------------------------------------------------------------------------------- */

/* The limit that no call of so many units can ever be within, whatever was learned: the job is to
 * be refused. NULL: there is none. */
const struct admission_rule *admission_over(const struct admission *a, int gate,
                                            const struct admission_units *units);

/* May a call go now? If not, the gate is blocked until one may. */
bool admission_may(struct admission *a, int gate, const struct admission_units *units,
                   int64_t now_us);
/* When it is worth asking again: later than now; INT64_MAX: when an answer has come or a call has
 * ended. */
int64_t admission_when(struct admission *a, int gate, const struct admission_units *units,
                       int64_t now_us);

/* What one call has taken, from admission_take until it has ended; the caller keeps it. */
struct admission_call {
    int gate, lane;
    uint32_t generation; /* of the rules: it has taken no units of newer limits */
    struct admission_units reserved;
    int64_t taken_us, left_us;
};

/* It takes its units, whether it may or not. */
void admission_take(struct admission *a, int gate, int lane, const struct admission_units *units,
                    int64_t now_us, struct admission_call *ret_call);
/* One began when there were no limits, and runs: it counts as in flight, and takes nothing else. */
void admission_running(struct admission *a, int gate, int lane, int64_t now_us,
                       struct admission_call *ret_call);
/* Right before its first byte: do the leases still hold? Then its minute begins now. false: it may
 * not leave, and has given everything back. */
bool admission_leave(struct admission *a, struct admission_call *call, int64_t now_us);
/* It does not leave (its claim was refused). */
void admission_give_back(struct admission *a, const struct admission_call *call, int64_t now_us);
/* A call that left has ended. `used`: -1 where it is not known: then what was reserved is taken as
 * used. */
void admission_settle(struct admission *a, const struct admission_call *call,
                      const struct admission_units *used, int64_t now_us);

/* A job of so many units waits (count 1) or waits no more (-1). */
void admission_waits(struct admission *a, int gate, int lane, const struct admission_units *units,
                     int count);

/* Of which model versions can nothing go now, whatever their limits let? What waits for those is
 * not wanted: it would hold shares that others can use, an endpoint's one probe among them. */
void admission_close(struct admission *a, bool (*is_closed)(void *arg, int model), void *arg);
/* What waits here goes back to Kafka, and it or as much comes again when partitions are dealt: for
 * a few seconds it is wanted as if it stood here. (Shares that went and came back with the queues
 * would cost every worker a call or two in each rebalance.) */
void admission_expect_back(struct admission *a, int64_t now_us);
/* Partitions are dealt: what has not come again soon is another worker's now. */
void admission_dealt(struct admission *a, int64_t now_us);
/* So many rows (1 .. ) of an app and lane are due in `parked`: where one of its jobs waits here for
 * a limit it has as many behind it. Good for a few seconds. */
void admission_due(struct admission *a, int lane, struct span app, int64_t rows, int64_t now_us);

/* The kth limit that binds a gate's jobs. NULL: it has fewer. */
const struct admission_rule *admission_bound(const struct admission *a, int gate, int k);
/* For how long, in all, has this gate been blocked by its limits (us)? */
int64_t admission_blocked_us(const struct admission *a, int gate, int64_t now_us);
/* For how long by each: differences count. Each limit that may ever bind the gate has a place of
 * its own, whatever rules are in force. */
struct admission_held {
    uint32_t ms[ADMISSION_GATE_LIMITS];
};
void admission_held(const struct admission *a, int gate, int64_t now_us,
                    struct admission_held *ret);
/* Whose place that is; 0: nobody has blocked the gate from there. */
int32_t admission_held_by(const struct admission *a, int gate, int place);
/* The limit that blocks it now, or did last. NULL: none yet. */
const struct admission_rule *admission_blocker(const struct admission *a, int gate);
/* How many jobs that this limit counts should stand ready in each lane: what it has for the next
 * seconds, and a few to ask for more with. INT_MAX: there is no such limit. */
int admission_stock(struct admission *a, int32_t limit_id, int64_t now_us);
/* How many do in this lane, of one app, or (app.p NULL) of all. */
int64_t admission_stands(const struct admission *a, int32_t limit_id, int lane, struct span app);
/* The nth limit of an endpoint's ("name@version") own. 0: it has fewer. */
int32_t admission_endpoint_limit(const struct admission *a, struct span endpoint, int n);

/* The worker stops, and its calls have ended: the limits of which it has sent more of late than
 * others may go on from at once. Its rows of these must stay, as those of the dead do. Fills in up
 * to `most`; returns how many there are: if that is more, all rows must stay. */
size_t admission_unpaid(struct admission *a, int32_t *ret_limit_ids, size_t most, int64_t now_us);
/* A limit in force, as this worker sees it: what it may use now (units a minute, calls at once, or
 * what is left of its chunk of the day), what it has used (within the last minute, or in flight; of
 * a day: nothing is known here), how many jobs wait here that it counts, and how many units calls
 * took beyond what was reserved for them, in all: those are owed, and taken from what comes next.
 */
struct admission_state {
    const struct admission_rule *rule;
    int64_t share, used, waiting, excess;
};
/* The nth; false: there are fewer. */
bool admission_state(struct admission *a, size_t n, int64_t now_us, struct admission_state *ret);

/* ---- the fleet ------------------------------------------------------------------------------- */

/* What the worker says of one limit. */
struct admission_say {
    int32_t limit_id;
    int64_t need, in_use, holds;
    const struct share_want *wants; /* until the next exchange */
    size_t want_count;
    int64_t behind; /* units of these that others want as well: rows of `parked` */
};

/* When the next exchange is due: a second after the last one, or sooner when something has changed
 * that others wait for. INT64_MAX: there is nothing to say. */
int64_t admission_exchange_at(const struct admission *a, int64_t now_us);
/* What to say now; borrows until the next call. Earlier exchanges count as lost. ret_number: of
 * this exchange, rising. RC_NOMEM: nothing is to be said. */
enum rc admission_exchange(struct admission *a, int64_t now_us, const struct admission_say **ret,
                           size_t *ret_count, int64_t *ret_number, struct err *err) MUST_CHECK;
/* The answer to an exchange: the share of one limit. An answer to an earlier one is dropped: it may
 * be older than what was said since. */
void admission_answer(struct admission *a, int64_t number, int32_t limit_id, int64_t share,
                      int64_t now_us);

/* Chunks of a day's budget. */
struct admission_chunk {
    int32_t limit_id;
    int32_t day; /* that it is of; of a chunk that is wanted: 0 */
    int64_t units;
};
/* Of which budgets more is wanted, and how much; to be asked once, then answered or failed.
 * Returns how many there are, `max` at most. */
size_t admission_day_wants(struct admission *a, struct admission_chunk *ret, size_t max,
                           int64_t now_us);
/* A chunk came (units 0: nothing is left that day), good until `until_us`. */
void admission_day_comes(struct admission *a, const struct admission_chunk *chunk, int64_t until_us,
                         int64_t now_us);
/* No answer came: to be asked for again in a while. */
void admission_day_failed(struct admission *a, int32_t limit_id, int64_t now_us);
/* What is left of chunks and not soon used is to go back: all of a budget of which nothing waits or
 * went lately, much of one that goes slowly. It is this worker's no more: what becomes of a
 * statement that was sent does not matter, and day_back takes back what could not be. Returns as
 * above. */
size_t admission_day_spare(struct admission *a, struct admission_chunk *ret, size_t max,
                           int64_t now_us);
void admission_day_back(struct admission *a, const struct admission_chunk *chunk);
/* At the end: what is left goes back, and nothing goes any more. Returns as above. */
size_t admission_day_rest(struct admission *a, struct admission_chunk *ret, size_t max,
                          int64_t now_us);

#endif

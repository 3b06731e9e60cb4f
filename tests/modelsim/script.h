#ifndef MODELSIM_SCRIPT_H
#define MODELSIM_SCRIPT_H
/*
 * Purpose: the rules in force and their memory: which matched how often for whom, and what has
 * passed the limits. Takes its time and its random stream from the caller.
 */
#include "tests/modelsim/ask.h"
#include "tests/modelsim/base.h"
#include "tests/modelsim/buf.h"
#include "tests/modelsim/gauge.h"
#include "tests/modelsim/hash.h"
#include "tests/modelsim/rule.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCRIPT_LIMITS_MAX 8

struct script;

/* What a rule may look at. */
struct subject {
    const char *path;
    const char *model;
    struct span text;
    uint64_t job_hash; /* of the job id, else of the body: whose `times` are counted */
    bool reask;
    const char *key;           /* what authorizes it, without "Bearer "; "" for none */
    int64_t units[UNIT_COUNT]; /* what the request weighs against limits */
};

/* A place held under concurrency limits, to be given back when the request has ended. */
struct slots {
    uint64_t generation;
    uint32_t rules[SCRIPT_LIMITS_MAX];
    uint32_t count;
};

/* An empty script, returned owned. */
struct script *script_new(void);
void script_free(struct script *script);
/* Reads rules, one a line, # comments. On RC_REJECT nothing has changed and err names the line.
 * append: behind the present rules (whose memory stays); otherwise in their place. */
MUST_CHECK enum rc script_load(struct script *script, struct span text, bool append, int64_t now_us,
                               struct err *err);
/* Puts each of these lines, limits with a name, in the place of the one of that name, which keeps
 * what it has counted and what is in flight. On RC_REJECT nothing has changed and err says why. */
MUST_CHECK enum rc script_change(struct script *script, struct span text, struct err *err);
/* Forgets all counts, refills all buckets, starts slow starts again. */
void script_reset(struct script *script, int64_t now_us);
/* The rules' text as loaded (borrowed). */
struct span script_text(const struct script *script);
/* How many rules are in force. */
size_t script_count(const struct script *script);
/* Some rule looks at this: lets the caller skip work. */
bool script_empty(const struct script *script);
/* Lays every matching rule over *effect, in order. */
void script_apply(struct script *script, const struct subject *subject, int64_t now_us,
                  struct rng *rng, struct effect *effect);
/* Lays one request's own rule (header or marker) over *effect, if its selectors match. */
void script_apply_own(struct script *script, const struct rule *rule, const struct subject *subject,
                      struct rng *rng, struct effect *effect);
/* Asks every matching limit. Admitted: takes from the gauges, fills *slots, returns NULL.
 * Refused: takes nothing, lays the limit's effect (429 and the true delay unless the rule says
 * otherwise) over *effect, returns the limit's name (borrowed until the script changes; "limit" of
 * one without a name). */
const char *script_admit(struct script *script, const struct subject *subject, int64_t now_us,
                         struct effect *effect, struct slots *slots);
/* Gives the places back; harmless after the script was replaced. */
void script_release(struct script *script, struct slots *slots);
/* Appends what limits with a name have counted: a JSON object by name. */
void script_summary(const struct script *script, struct buf *out);
/* Those counters to zero; what limits remember stays. */
void script_reset_summary(struct script *script);

#endif

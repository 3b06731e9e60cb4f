#ifndef MODELSIM_RULE_H
#define MODELSIM_RULE_H
/*
 * Purpose: one line of the script: whom it concerns (selectors), what it does (effects) and which
 * limits it enforces. The same words serve the script file, the x-sim header and the [[sim: ...]]
 * marker in a prompt. README.md is the reference of the words.
 */
#include "tests/modelsim/base.h"
#include "tests/modelsim/dist.h"
#include "tests/modelsim/jscan.h"

#include <stdbool.h>
#include <stdint.h>

enum fault {
    FAULT_NONE,
    FAULT_RESET_BEFORE,
    FAULT_RESET_WITHIN,
    FAULT_RESET_AFTER,
    FAULT_CLOSE_BEFORE,
    FAULT_CLOSE_WITHIN,
    FAULT_CLOSE_AFTER,
    FAULT_DIE_RESET,
    FAULT_DIE_HANG,
    FAULT_DIE_CLOSE,
    FAULT_HANG,
    FAULT_HANG_WITHIN,
};
enum error_shape {
    SHAPE_OPENAI,
    SHAPE_OPENAI_STRINGS,
    SHAPE_DETAIL,
    SHAPE_DETAIL_LIST,
    SHAPE_STRING,
    SHAPE_TEXT,
    SHAPE_ANTHROPIC,
};
enum retry_form {
    RETRY_SECONDS,
    RETRY_DATE,
    RETRY_MS,
    RETRY_RESET,
    RETRY_RESET_EPOCH,
    RETRY_RESET_DATE,
    RETRY_PROVIDER,
    RETRY_NONE,
};
enum wrong { WRONG_NOT, WRONG_CUT_JSON, WRONG_HTML, WRONG_EMPTY, WRONG_OBJECT, WRONG_NO_CHOICES };
enum answer_kind {
    ANSWER_GOOD,
    ANSWER_EMPTY,
    ANSWER_NUL,
    ANSWER_BAD_LABEL,
    ANSWER_BAD_JSON,
    ANSWER_NULL
};
enum refusal { REFUSAL_NOT, REFUSAL_FILTER, REFUSAL_MESSAGE };
enum tell { TELL_NOT, TELL_OPENAI, TELL_ANTHROPIC };
/* What limits count. Tokens are input and output together. */
enum unit { UNIT_REQUESTS, UNIT_TOKENS, UNIT_INPUT, UNIT_OUTPUT, UNIT_COUNT };
enum usage_told { USAGE_FULL, USAGE_ABSENT, USAGE_ZERO, USAGE_PARTIAL, USAGE_NULL };

#define RULE_TEXT_MAX 160
#define LIMIT_NAME_MAX 48

/* How one unit of a limit stands. */
struct told {
    int64_t limit;    /* 0: not limited */
    int64_t left;     /* never negative */
    int64_t reset_us; /* until it is whole again */
};

/* What happens to a request. All zero: an honest answer at once. */
struct effect {
    uint64_t set; /* bit per word that was given, so that rules can be laid over each other */
    struct dist latency;
    int64_t status; /* 0: the honest one */
    enum error_shape error;
    char message[RULE_TEXT_MAX];
    char code[RULE_TEXT_MAX];
    int64_t retry_after_us;
    enum retry_form retry_form;
    enum fault fault;
    int64_t drip_bytes; /* 0: at once */
    int64_t drip_us;
    int64_t truncate_bytes; /* promised and not sent */
    int64_t size_bytes;     /* the body is padded to this */
    bool chunked;
    bool close;
    enum wrong wrong;
    char body[RULE_TEXT_MAX];
    char content[RULE_TEXT_MAX];
    enum answer_kind answer;
    enum refusal refusal;
    char finish[RULE_TEXT_MAX];
    char model_name[RULE_TEXT_MAX];
    enum usage_told usage;
    bool echo_key;
    char header[RULE_TEXT_MAX];
    enum tell tell; /* a limit's answers say how it stands */
    struct told told[UNIT_COUNT];
};

/* Whom it concerns; zero or "" matches everyone. */
struct selector {
    char model[RULE_TEXT_MAX];
    char path[RULE_TEXT_MAX];
    char contains[RULE_TEXT_MAX];
    char key[RULE_TEXT_MAX]; /* of the Authorization header, behind "Bearer " */
    double probability;      /* 0: always */
    int64_t first; /* ordinals among the requests that the rule's other selectors let pass */
    int64_t last;
    int64_t every;
    int64_t times; /* per job, or per equal body without one */
    int64_t after; /* the first so many of the same job pass untouched */
    int64_t slow_start_us;
    bool until_reask;
};

/* What is enforced; zero: not limited. Buckets start full and refill evenly. */
struct limit {
    char name[LIMIT_NAME_MAX]; /* under which it is counted and changed; "" for none */
    int64_t amount[UNIT_COUNT];
    int64_t concurrency;
    int64_t window_us; /* the time in which units are counted; a minute unless given */
    int64_t burst;     /* bucket size; the amount unless given */
    bool exact;        /* no bucket: never more than the amount in any window */
    bool watch;        /* refuses nothing, and counts what it would have refused */
};

struct rule {
    uint64_t id; /* hash of its text: the key of the per-job counts */
    struct selector who;
    struct effect what;
    struct limit limit;
    bool script_only; /* uses a word that only a script may use */
};

/* Reads one rule. RC_REJECT names the word at fault. */
MUST_CHECK enum rc rule_parse(struct span text, struct rule *ret_rule, struct err *err);
/* It limits something; otherwise it lays its effect over what it concerns. */
bool rule_is_limit(const struct rule *rule);
/* Lays the words given in `over` over `base`. */
void effect_merge(struct effect *base, const struct effect *over);
/* The effect sets this word (for instance "status"). */
bool effect_sets(const struct effect *effect, const char *word);
/* The name of a fault as the script writes it; "" for none. */
const char *fault_name(enum fault fault);

#endif

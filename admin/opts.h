/*
 * opts.h - a command's options, from one table, and its arguments (pure but for memory).
 *
 * `--name value`, `--name=value`, options and arguments in any order, `--` ends the options. Every
 * configuration key is an option too (`--prefix staging`); those are kept aside, in order, for the
 * configuration.
 */
#ifndef INFERQ_ADMIN_OPTS_H
#define INFERQ_ADMIN_OPTS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/config.h"
#include "common/err.h"

enum { OPTS_MAX = 24, OPTS_SETTINGS_MAX = 64, OPTS_LIST_MAX = 64 };

enum opt_type { OPT_FLAG, OPT_TEXT, OPT_INT, OPT_LIST /* a text; may stand many times */ };

struct opt {
    const char *name; /* without dashes */
    enum opt_type type;
    const char *arg;  /* what the help calls its value */
    int64_t min, max; /* OPT_INT, inclusive */
    const char *help;
};

struct opt_setting {
    char *key; /* owned */
    const char *value;
};

struct opts {
    const struct opt *table; /* ends with a NULL name */
    struct {
        bool set;
        const char *text;
        int64_t num;
    } values[OPTS_MAX];
    struct {
        const struct opt *opt;
        const char *text;
    } list[OPTS_LIST_MAX]; /* values of OPT_LIST, in the order of the command line */
    int list_count;
    struct opt_setting settings[OPTS_SETTINGS_MAX];
    int setting_count;
    const char **args; /* owned array of borrowed texts */
    int arg_count;
};

/* `argv[0]` is the first word after the command. RC_REJECT names the option, and the nearest known
 * one. All texts are borrowed. */
enum rc opts_parse(const struct opt *table, const struct config_key *keys, int argc,
                   const char *const *argv, struct opts *ret, struct err *err) MUST_CHECK;
void opts_done(struct opts *o);

/* By name; asserts that the table has it. */
bool opts_set(const struct opts *o, const char *name);
const char *opts_text(const struct opts *o, const char *name, const char *deflt);
int64_t opts_int(const struct opts *o, const char *name, int64_t deflt);
/* An argument that is a number of 1 or more, such as an id. RC_REJECT: it is none. */
enum rc opts_number(const char *text, int64_t *ret) MUST_CHECK;
/* The i-th value of an OPT_LIST, from 0; NULL past the last. */
const char *opts_each(const struct opts *o, const char *name, int i);

#endif

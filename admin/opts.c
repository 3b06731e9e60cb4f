/*
 * opts.c - reads a command line against a table.
 */
#include "admin/opts.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "admin/suggest.h"
#include "common/span.h"

/* Where the parser stands. */
struct line {
    int argc, at;
    const char *const *argv;
};

/* An option's value: what follows '=', or the next word. */
static enum rc take_value(struct line *line, const char *name, size_t name_n, const char **ret,
                          struct err *err)
{
    if (name[name_n] == '=') {
        *ret = name + name_n + 1;
        return RC_OK;
    }
    if (line->at + 1 >= line->argc)
        return err_set(err, RC_REJECT, "--%s needs a value after it", name);
    *ret = line->argv[++line->at];
    return RC_OK;
}

static enum rc parse_int(const struct opt *opt, const char *text, int64_t *ret, struct err *err)
{
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (end == text || *end || errno || v < opt->min || v > opt->max)
        return err_set(err, RC_REJECT,
                       "--%s: '%s' is not a whole number from %" PRId64 " to %" PRId64, opt->name,
                       text, opt->min, opt->max);
    *ret = v;
    return RC_OK;
}

static bool is_key(const struct config_key *keys, struct span name)
{
    if (name.n > 6 && memcmp(name.p, "kafka.", 6) == 0)
        return true;
    for (; keys->name; keys++)
        if (span_is(name, keys->name))
            return true;
    return false;
}

static enum rc unknown(const struct opts *o, const struct config_key *keys, const char *name,
                       struct err *err)
{
    struct suggest near = {0};
    if (strcmp(name, "config") == 0) /* main takes it out where it has a value */
        return err_set(err, RC_REJECT, "--config needs a value after it");
    for (const struct opt *opt = o->table; opt->name; opt++)
        suggest_offer(&near, name, opt->name);
    for (; keys->name; keys++)
        suggest_offer(&near, name, keys->name);
    if (near.best)
        return err_set(err, RC_REJECT, "no option --%s here; did you mean --%s?", name, near.best);
    return err_set(err, RC_REJECT, "no option --%s here; --help lists them", name);
}

static enum rc add_setting(struct opts *o, struct span name, const char *value, struct err *err)
{
    if (o->setting_count == OPTS_SETTINGS_MAX)
        return err_set(err, RC_REJECT, "more than %d settings on the command line: use --config",
                       OPTS_SETTINGS_MAX);
    char *key = strndup(name.p, name.n);
    if (!key)
        return err_set(err, RC_NOMEM, "no memory for the command line");
    o->settings[o->setting_count].key = key; /* owned: opts_done */
    o->settings[o->setting_count++].value = value;
    return RC_OK;
}

static enum rc add_to_list(struct opts *o, const struct opt *opt, const char *text, struct err *err)
{
    if (o->list_count == OPTS_LIST_MAX)
        return err_set(err, RC_REJECT, "--%s stands there more than %d times", opt->name,
                       OPTS_LIST_MAX);
    o->list[o->list_count].opt = opt;
    o->list[o->list_count++].text = text;
    return RC_OK;
}

static enum rc known(struct opts *o, struct line *line, int i, const char *name, size_t name_n,
                     struct err *err)
{
    const struct opt *opt = &o->table[i];
    enum rc rc = RC_OK;
    if (opt->type == OPT_FLAG && name[name_n] == '=')
        return err_set(err, RC_REJECT, "--%s takes no value", opt->name);
    if (opt->type != OPT_FLAG)
        rc = take_value(line, name, name_n, &o->values[i].text, err);
    if (rc == RC_OK && opt->type == OPT_INT)
        rc = parse_int(opt, o->values[i].text, &o->values[i].num, err);
    if (rc == RC_OK && opt->type == OPT_LIST)
        rc = add_to_list(o, opt, o->values[i].text, err);
    o->values[i].set = rc == RC_OK;
    return rc;
}

static enum rc one_option(struct opts *o, const struct config_key *keys, struct line *line,
                          struct err *err)
{
    const char *name = line->argv[line->at] + 2;
    struct span word = {name, strcspn(name, "=")};
    for (int i = 0; o->table[i].name; i++)
        if (span_is(word, o->table[i].name))
            return known(o, line, i, name, word.n, err);
    if (!is_key(keys, word))
        return unknown(o, keys, name, err);

    const char *value = NULL;
    enum rc rc = take_value(line, name, word.n, &value, err);
    return rc == RC_OK ? add_setting(o, word, value, err) : rc;
}

enum rc opts_parse(const struct opt *table, const struct config_key *keys, int argc,
                   const char *const *argv, struct opts *ret, struct err *err)
{
    *ret = (struct opts){.table = table};
    ret->args = calloc((size_t)argc + 1, sizeof *ret->args);
    if (!ret->args)
        return err_set(err, RC_NOMEM, "no memory for the command line");
    bool options = true;
    enum rc rc = RC_OK;
    for (struct line line = {argc, 0, argv}; rc == RC_OK && line.at < argc; line.at++) {
        const char *word = argv[line.at];
        if (options && strcmp(word, "--") == 0)
            options = false;
        else if (options && strncmp(word, "--", 2) == 0)
            rc = one_option(ret, keys, &line, err);
        else if (options && word[0] == '-' && word[1])
            rc = err_set(err, RC_REJECT, "no option %s here; --help lists them", word);
        else
            ret->args[ret->arg_count++] = word;
    }
    return rc;
}

void opts_done(struct opts *o)
{
    for (int i = 0; i < o->setting_count; i++)
        free(o->settings[i].key);
    free(o->args);
    *o = (struct opts){0};
}

static int find(const struct opts *o, const char *name)
{
    for (int i = 0; o->table[i].name; i++)
        if (strcmp(o->table[i].name, name) == 0)
            return i;
    assert(!"an option that the command's table has");
    return 0;
}

bool opts_set(const struct opts *o, const char *name)
{
    return o->values[find(o, name)].set;
}

const char *opts_text(const struct opts *o, const char *name, const char *deflt)
{
    int i = find(o, name);
    return o->values[i].set ? o->values[i].text : deflt;
}

int64_t opts_int(const struct opts *o, const char *name, int64_t deflt)
{
    int i = find(o, name);
    return o->values[i].set ? o->values[i].num : deflt;
}

const char *opts_each(const struct opts *o, const char *name, int i)
{
    const struct opt *opt = &o->table[find(o, name)];
    for (int at = 0; at < o->list_count; at++)
        if (o->list[at].opt == opt && i-- == 0)
            return o->list[at].text;
    return NULL;
}

enum rc opts_number(const char *text, int64_t *ret)
{
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (end == text || *end || errno || v < 1)
        return RC_REJECT;
    *ret = v;
    return RC_OK;
}

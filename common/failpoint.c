/*
 * failpoint.c - see failpoint.h. Empty in release builds.
 *
 * Happy path: the setup turns the text into rules; a place that is passed looks up its name,
 * counts, and asks each rule for that name whether it acts. Failure: text that is not understood is
 * refused before anything runs; a name that the table does not hold is our own bug and asserted.
 */
#include "common/failpoint.h"

#ifdef INFERQ_FAILPOINTS

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/log.h"

enum { RULES_MAX = 32, PLACES_MAX = 200, LINE_BYTES = 56 };

static const char *const action_names[] = {"kill", "stop", "abort", "error"};
enum action { ACT_KILL, ACT_STOP, ACT_ABORT, ACT_ERROR, ACTIONS };

struct rule {
    int place;
    struct span custom_id; /* absent: any */
    long load, nth;
    bool again;
    enum action action;
    long hits; /* that count */
};

/* One per process, as the signals that it sends are. */
static struct {
    const struct failpoint_place *places;
    int place_count, rule_count;
    char *spec; /* owned; the rules point into it */
    struct rule rules[RULES_MAX];
    long hits[PLACES_MAX];
    char *lines; /* the mapped file; NULL: none */
    const int *calls_in_flight;
} state;

bool failpoint_armed;

/* ---- reading --------------------------------------------------------------------------------- */

static int find_place(struct span name)
{
    for (int i = 0; i < state.place_count; i++)
        if (span_is(name, state.places[i].name))
            return i;
    return -1;
}

/* Takes what stands before the first of `ends` (or the end of the text) off `*rest`. */
static struct span take_until(struct span *rest, const char *ends)
{
    size_t n = 0;
    while (n < rest->n && !strchr(ends, rest->p[n]))
        n++;
    struct span taken = {rest->p, n};
    *rest = (struct span){rest->p + n, rest->n - n};
    return taken;
}

static bool take_char(struct span *rest, char c)
{
    if (rest->n == 0 || rest->p[0] != c)
        return false;
    *rest = (struct span){rest->p + 1, rest->n - 1};
    return true;
}

/* A number from 1 on behind `mark`; `otherwise` without the mark, -1 where it is none. */
static long take_number(struct span *rest, char mark, long otherwise)
{
    if (!take_char(rest, mark))
        return otherwise;
    struct span digits = take_until(rest, "+@*=");
    long value = 0;
    if (digits.n == 0 || digits.n > 9)
        return -1;
    for (size_t i = 0; i < digits.n; i++) {
        if (!isdigit((unsigned char)digits.p[i]))
            return -1;
        value = value * 10 + (digits.p[i] - '0');
    }
    return value > 0 ? value : -1;
}

static int find_action(struct span name)
{
    for (int i = 0; i < ACTIONS; i++)
        if (span_is(name, action_names[i]))
            return i;
    return -1;
}

static enum rc parse_rule(struct span text, struct rule *ret_rule, struct err *err)
{
    struct span rest = text, name = take_until(&rest, "?+@*=");
    struct rule rule = {.place = find_place(name)};
    if (take_char(&rest, '?'))
        rule.custom_id = take_until(&rest, "+@*=");
    rule.load = take_number(&rest, '+', 0);
    rule.nth = take_number(&rest, '@', 1);
    rule.again = take_char(&rest, '*');
    if (rule.load < 0 || rule.nth < 0 || !take_char(&rest, '='))
        return err_set(err, RC_REJECT, "\"%.*s\" is not NAME[?CUSTOM_ID][+LOAD][@NTH][*]=ACTION",
                       (int)text.n, text.p);
    if (rule.place < 0)
        return err_set(err, RC_REJECT, "there is no failpoint \"%.*s\"", (int)name.n, name.p);
    int action = find_action(rest);
    if (action < 0)
        return err_set(err, RC_REJECT, "there is no action \"%.*s\": kill, stop, abort, error",
                       (int)rest.n, rest.p);
    rule.action = (enum action)action;
    if (rule.action == ACT_ERROR && !state.places[rule.place].can_fail)
        return err_set(err, RC_REJECT, "nothing can fail at \"%.*s\"", (int)name.n, name.p);
    *ret_rule = rule;
    return RC_OK;
}

static enum rc parse(struct err *err)
{
    struct span rest = span_of(state.spec);
    while (rest.n > 0) {
        struct span text = take_until(&rest, ";");
        (void)take_char(&rest, ';');
        if (state.rule_count == RULES_MAX)
            return err_set(err, RC_REJECT, "more than %d failpoints", RULES_MAX);
        enum rc rc = parse_rule(text, &state.rules[state.rule_count], err);
        if (rc != RC_OK)
            return rc;
        state.rule_count++;
    }
    return RC_OK;
}

static void list_places(FILE *out)
{
    for (int i = 0; i < state.place_count; i++)
        fprintf(out, "  %-*s %s%s\n", FAILPOINT_NAME_BYTES, state.places[i].name,
                state.places[i].file, state.places[i].can_fail ? " error" : "");
}

/* ---- the file of hits ------------------------------------------------------------------------ */

static void write_line(int place)
{
    char line[LINE_BYTES + 1];
    (void)snprintf(line, sizeof line, "%-*s %*ld\n", FAILPOINT_NAME_BYTES, state.places[place].name,
                   LINE_BYTES - FAILPOINT_NAME_BYTES - 2, state.hits[place]);
    memcpy(state.lines + (size_t)place * LINE_BYTES, line, LINE_BYTES);
}

static size_t file_bytes(void)
{
    return (size_t)state.place_count * LINE_BYTES;
}

static enum rc open_log(const char *path, struct err *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    void *lines = MAP_FAILED;
    if (fd >= 0 && ftruncate(fd, (off_t)file_bytes()) == 0)
        lines = mmap(NULL, file_bytes(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    int problem = errno;
    if (fd >= 0)
        close(fd);
    if (lines == MAP_FAILED)
        return err_set(err, RC_FATAL, "%s: %s", path, strerror(problem));
    state.lines = lines;
    for (int i = 0; i < state.place_count; i++)
        write_line(i);
    return RC_OK;
}

/* ---- setup ----------------------------------------------------------------------------------- */

void failpoint_reset(void)
{
    failpoint_armed = false;
    if (state.lines)
        munmap(state.lines, file_bytes());
    free(state.spec);
    memset(&state, 0, sizeof state);
}

enum rc failpoint_setup(const struct failpoint_place *places, const char *spec,
                        const char *log_path, FILE *list, struct err *err)
{
    failpoint_reset();
    bool counts = log_path && log_path[0];
    state.places = places;
    while (places[state.place_count].name)
        state.place_count++;
    assert(state.place_count <= PLACES_MAX);
    state.spec = strdup(spec ? spec : "");
    if (!state.spec)
        return err_set(err, RC_NOMEM, "no memory for failpoints");
    enum rc rc = parse(err);
    if (rc == RC_REJECT)
        list_places(list);
    if (rc == RC_OK && counts)
        rc = open_log(log_path, err);
    if (rc != RC_OK)
        failpoint_reset();
    else
        failpoint_armed = counts || state.rule_count > 0;
    return rc;
}

void failpoint_load(const int *calls_in_flight)
{
    state.calls_in_flight = calls_in_flight;
}

/* ---- passing a place ------------------------------------------------------------------------- */

/* Thread-directed signals: they have come when raise returns. True: the place must fail. */
static bool act(const struct rule *rule, int load)
{
    static const int signals[] = {
        [ACT_KILL] = SIGKILL, [ACT_STOP] = SIGSTOP, [ACT_ABORT] = SIGABRT};
    log_event(LOG_WARN, "failpoint", LF_STR("name", state.places[rule->place].name),
              LF_STR("action", action_names[rule->action]), LF_INT("hit", rule->hits),
              LF_INT("load", load));
    if (rule->action == ACT_ERROR)
        return true;
    (void)raise(signals[rule->action]);
    return false;
}

static bool matches(const struct rule *rule, int place, struct span custom_id, int load)
{
    return rule->place == place && load >= rule->load &&
           (!rule->custom_id.p || span_eq(rule->custom_id, custom_id));
}

bool failpoint_hit(const char *name, struct span custom_id)
{
    int place = find_place(span_of(name));
    int load = state.calls_in_flight ? *state.calls_in_flight : 0;
    bool fails = false;
    assert(place >= 0);
    state.hits[place]++;
    if (state.lines)
        write_line(place);
    for (int i = 0; i < state.rule_count; i++) {
        struct rule *rule = &state.rules[i];
        if (!matches(rule, place, custom_id, load))
            continue;
        rule->hits++;
        if (rule->hits == rule->nth || (rule->again && rule->hits > rule->nth))
            fails = act(rule, load) || fails;
    }
    return fails;
}

void failpoint_arrow(const char *group, const char *from, const char *to, struct span custom_id)
{
    char name[FAILPOINT_NAME_BYTES];
    (void)snprintf(name, sizeof name, "%s.%s>%s", group, from, to);
    (void)failpoint_hit(name, custom_id);
}

long failpoint_hits(const char *name)
{
    int place = find_place(span_of(name));
    return place < 0 ? -1 : state.hits[place];
}

#endif

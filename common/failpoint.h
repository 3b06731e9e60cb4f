/*
 * failpoint.h - named places at which a test makes this program die, stop or fail.
 *
 * Compiled in where INFERQ_FAILPOINTS is defined (debug and asan builds); elsewhere every macro
 * here expands to nothing, and neither a name nor a symbol is left in the program.
 *
 * A test sets in the environment
 *
 *     INFERQ_FAILPOINT="NAME[?CUSTOM_ID][+LOAD][@NTH][*]=ACTION;..."
 *
 *   NAME        a place of the program's table
 *   ?CUSTOM_ID  only hits for the job of this custom_id count (places that know their job)
 *   +LOAD       only hits while at least LOAD calls are in flight count
 *   @NTH        acts at the NTH hit that counts; 1 unless given
 *   *           and at every one after it
 *   ACTION      kill   SIGKILL to itself
 *               stop   SIGSTOP to itself; the place goes on after SIGCONT
 *               abort  SIGABRT to itself
 *               error  what the place names goes wrong (places marked so in the table)
 *
 * for example INFERQ_FAILPOINT="path.claim>call+50@7=kill". Whatever is not understood is refused
 * at start with a list of all places; INFERQ_FAILPOINT=list asks for that list. Each action is
 * logged before it happens.
 *
 * INFERQ_FAILPOINT_LOG=FILE counts the hits: one line "NAME COUNT" per place, of fixed width, kept
 * up to date in a shared mapping, so that they outlive a SIGKILL.
 *
 * Cost while neither is set: one branch. Only the loop's thread may pass a place.
 */
#ifndef INFERQ_COMMON_FAILPOINT_H
#define INFERQ_COMMON_FAILPOINT_H

#include <stdbool.h>
#include <stdio.h>

#include "common/err.h"
#include "common/span.h"

#ifdef INFERQ_FAILPOINTS

enum { FAILPOINT_NAME_BYTES = 40 };

struct failpoint_place {
    const char *name; /* "claim.sent", "path.claim>call"; shorter than FAILPOINT_NAME_BYTES */
    const char *file; /* the source file that holds it */
    bool can_fail;    /* `error` has a meaning here */
};

/* A place. Of a job: with its custom_id, a span. */
#define FAILPOINT(name) FAILPOINT_OF(name, FAILPOINT_NO_JOB)
#define FAILPOINT_NO_JOB ((struct span){NULL, 0})
#define FAILPOINT_OF(name, custom_id)             \
    do {                                          \
        if (failpoint_armed)                      \
            (void)failpoint_hit(name, custom_id); \
    } while (0)
/* A place on the way between two states: its name is "GROUP.FROM>TO". */
#define FAILPOINT_ARROW(group, from, to, custom_id)      \
    do {                                                 \
        if (failpoint_armed)                             \
            failpoint_arrow(group, from, to, custom_id); \
    } while (0)
/* A place that can fail: true when it must. */
#define FAILPOINT_FAILS(name, custom_id) (failpoint_armed && failpoint_hit(name, custom_id))
/* Where the number of calls in flight stands, for +LOAD; borrowed until another, or NULL, is named.
 */
#define FAILPOINT_LOAD(calls_in_flight) failpoint_load(calls_in_flight)

/* Arms what `spec` says and counts hits in the file `log_path`; NULL or "": nothing. `places` (ends
 * with a NULL name) is borrowed for good. RC_REJECT: not understood, `list` then gets all places.
 * RC_FATAL: no such file. */
enum rc failpoint_setup(const struct failpoint_place *places, const char *spec,
                        const char *log_path, FILE *list, struct err *err) MUST_CHECK;
/* As before the setup. */
void failpoint_reset(void);
/* Hits of a place since the setup, whether or not they acted; -1: no such place. */
long failpoint_hits(const char *name);

/* What the macros call. */
extern bool failpoint_armed;
bool failpoint_hit(const char *name, struct span custom_id);
void failpoint_arrow(const char *group, const char *from, const char *to, struct span custom_id);
void failpoint_load(const int *calls_in_flight);

#else

#define FAILPOINT(name) ((void)0)
#define FAILPOINT_OF(name, custom_id) ((void)0)
#define FAILPOINT_ARROW(group, from, to, custom_id) ((void)0)
#define FAILPOINT_FAILS(name, custom_id) false
#define FAILPOINT_LOAD(calls_in_flight) ((void)0)

#endif

#endif

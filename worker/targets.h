/*
 * targets.h - what calls are sent with: for each endpoint its credential and its HTTP target, which
 * a reload may replace while calls are under way.
 *
 * A call keeps what it was begun with: what was replaced lives until its last call has ended, so
 * that the credential that a server may repeat is the one that is taken out of its answer. All on
 * the loop's thread.
 */
#ifndef INFERQ_WORKER_TARGETS_H
#define INFERQ_WORKER_TARGETS_H

#include "common/catalogue.h"
#include "worker/http.h"

struct targets;

/* Resolves every credential. RC_REJECT names the endpoint. `http` is borrowed.
 * returns owned */
enum rc targets_new(struct http *http, const struct catalogue *catalogue,
                    struct targets **ret_targets, struct err *err) MUST_CHECK;
void targets_free(struct targets *t); /* all calls must be done */

/* Sets call->target for a call to this endpoint, which holds it until targets_done. */
void targets_take(struct targets *t, int endpoint, struct http_call *call);
/* The call has ended, or could not be started. */
void targets_done(struct targets *t, int endpoint, const struct http_call *call);
/* Takes the credential that the call was sent with out of its answer, and other keys out of an
 * error's body. */
void targets_hide(const struct targets *t, int endpoint, struct http_call *call);
/* Scrubs the endpoint's credentials, those of calls under way included, out of a text to be kept.
 */
void targets_scrub(const struct targets *t, int endpoint, char *text, size_t n);

/* Credentials are read again, those of endpoints that left the catalogue excepted: what differs,
 * and what `catalogue` has more (see catalogue_merge), is made ready beside what is there. All or
 * nothing; RC_REJECT, RC_NOMEM: nothing has changed. */
enum rc targets_reread(struct targets *t, const struct catalogue *catalogue,
                       struct err *err) MUST_CHECK;
/* Puts what targets_reread made for this endpoint in force. True: it was there, and has another
 * credential now. */
bool targets_renew(struct targets *t, int endpoint);
/* Throws away what it made and is not in force. */
void targets_forget(struct targets *t);
/* Frees what was replaced and is in no call any more; not from within a call's `done`. */
void targets_sweep(struct targets *t);

#endif

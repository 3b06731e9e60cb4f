/*
 * targets.c - see targets.h.
 *
 * Happy path: one target per endpoint, in force; a call takes it, and gives it back when it is
 * done. A reload reads the credentials again, makes a target for each that differs, and puts all of
 * them in force at once; a target that was replaced is kept in its endpoint's list until no call
 * has it. Failure: a credential that cannot be read, or is no header, leaves everything as it was.
 */
#include "worker/targets.h"

#include <assert.h>
#include <stdlib.h>

struct target {
    struct target *older; /* replaced, and still in some call */
    struct http_target *http;
    struct secret *credential; /* NULL: none */
    int calls;
};

struct slot {
    struct target *now, *next; /* next: made by targets_reread */
};

struct targets {
    struct http *http;
    const struct catalogue *catalogue;
    struct slot *slots; /* per endpoint */
    bool replaced;      /* some slot may have older ones */
};

static void target_free(struct target *target)
{
    if (!target)
        return;
    http_target_free(target->http);
    secret_free(target->credential);
    free(target);
}

static enum rc target_new(struct targets *t, const struct cat_endpoint *e, struct target **ret,
                          struct err *err)
{
    struct target *target = calloc(1, sizeof *target);
    if (!target)
        return err_set(err, RC_NOMEM, "no memory for endpoint %s", e->name);
    enum rc rc = e->credential[0] ? secret_load(e->credential, &target->credential, err) : RC_OK;
    struct http_target_conf conf = {
        .base_url = e->base_url,
        .credential = target->credential,
        .ca_file = e->ca_file,
        .timeout_us = e->timeout_us,
        .connect_timeout_us = e->connect_timeout_us,
        .send_ids = e->send_ids,
        .idempotency_key = e->idempotency_key,
    };
    if (rc == RC_OK)
        rc = http_target_new(t->http, &conf, &target->http, err);
    if (rc != RC_OK) {
        target_free(target);
        return err_prefix(err, rc, "endpoint %s", e->name);
    }
    *ret = target;
    return RC_OK;
}

enum rc targets_new(struct http *http, const struct catalogue *catalogue,
                    struct targets **ret_targets, struct err *err)
{
    enum rc rc = RC_OK;
    struct targets *t = calloc(1, sizeof *t);
    struct slot *slots = calloc((size_t)catalogue->endpoint_count + 1, sizeof *slots);
    if (!t || !slots) {
        free(t);
        free(slots);
        return err_set(err, RC_NOMEM, "no memory for the endpoints");
    }
    *t = (struct targets){.http = http, .catalogue = catalogue, .slots = slots};
    for (int i = 0; i < catalogue->endpoint_count && rc == RC_OK; i++)
        rc = target_new(t, &catalogue->endpoints[i], &t->slots[i].now, err);
    if (rc == RC_OK)
        *ret_targets = t;
    else
        targets_free(t);
    return rc;
}

void targets_free(struct targets *t)
{
    if (!t)
        return;
    targets_forget(t);
    for (int i = 0; i < t->catalogue->endpoint_count; i++) {
        for (struct target *target = t->slots[i].now, *older; target; target = older) {
            older = target->older;
            target_free(target);
        }
    }
    free(t->slots);
    free(t);
}

/* ---- calls ------------------------------------------------------------------------------------
 */

static struct target *find(const struct targets *t, int endpoint, const struct http_call *call)
{
    struct target *target = t->slots[endpoint].now;
    while (target && target->http != call->target)
        target = target->older;
    assert(target); /* what is in a call is kept */
    return target;
}

void targets_take(struct targets *t, int endpoint, struct http_call *call)
{
    struct target *target = t->slots[endpoint].now;
    call->target = target->http;
    target->calls++;
}

void targets_done(struct targets *t, int endpoint, const struct http_call *call)
{
    struct target *target = find(t, endpoint, call);
    assert(target->calls > 0);
    target->calls--;
}

const struct secret *targets_credential(const struct targets *t, int endpoint,
                                        const struct http_call *call)
{
    return find(t, endpoint, call)->credential;
}

void targets_scrub(const struct targets *t, int endpoint, char *text, size_t n)
{
    for (struct target *target = t->slots[endpoint].now; target; target = target->older)
        secret_scrub(target->credential, text, n);
}

/* ---- reload -----------------------------------------------------------------------------------
 */

static bool same(const struct target *a, const struct target *b)
{
    if (!a->credential || !b->credential)
        return a->credential == b->credential;
    return span_eq(secret_value(a->credential), secret_value(b->credential));
}

enum rc targets_reread(struct targets *t, struct err *err)
{
    enum rc rc = RC_OK;
    targets_forget(t);
    for (int i = 0; i < t->catalogue->endpoint_count && rc == RC_OK; i++) {
        struct slot *slot = &t->slots[i];
        rc = target_new(t, &t->catalogue->endpoints[i], &slot->next, err);
        if (rc == RC_OK && same(slot->now, slot->next)) { /* its connections stay of use */
            target_free(slot->next);
            slot->next = NULL;
        }
    }
    if (rc != RC_OK)
        targets_forget(t);
    return rc;
}

bool targets_renew(struct targets *t, int endpoint)
{
    struct slot *slot = &t->slots[endpoint];
    if (!slot->next)
        return false;
    slot->next->older = slot->now;
    slot->now = slot->next;
    slot->next = NULL;
    return t->replaced = true;
}

void targets_forget(struct targets *t)
{
    for (int i = 0; i < t->catalogue->endpoint_count; i++) {
        target_free(t->slots[i].next);
        t->slots[i].next = NULL;
    }
}

void targets_sweep(struct targets *t)
{
    bool left = false;
    if (!t->replaced)
        return;
    for (int i = 0; i < t->catalogue->endpoint_count; i++) {
        for (struct target **at = &t->slots[i].now->older; *at;) {
            struct target *target = *at;
            if (target->calls > 0) {
                left = true;
                at = &target->older;
                continue;
            }
            *at = target->older;
            target_free(target);
        }
    }
    t->replaced = left;
}

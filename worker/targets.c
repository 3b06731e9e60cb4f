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
#include <string.h>

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
    struct slot *slots; /* per endpoint */
    int slot_count;     /* also those whose endpoint is not in force yet: without `now` */
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
    struct targets *t = calloc(1, sizeof *t);
    if (!t)
        return err_set(err, RC_NOMEM, "no memory for the endpoints");
    t->http = http;
    enum rc rc = targets_reread(t, catalogue, err);
    if (rc != RC_OK) {
        targets_free(t);
        return rc;
    }
    for (int i = 0; i < catalogue->endpoint_count; i++)
        (void)targets_renew(t, i);
    *ret_targets = t;
    return RC_OK;
}

void targets_free(struct targets *t)
{
    if (!t)
        return;
    targets_forget(t);
    for (int i = 0; i < t->slot_count; i++) {
        for (struct target *target = t->slots[i].now, *older; target; target = older) {
            older = target->older;
            target_free(target);
        }
    }
    free(t->slots);
    free(t);
}

/* ---- calls ----------------------------------------------------------------------------------- */

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

/* A server may repeat the credential that it was sent. It is no part of any honest answer, so
 * nothing behind this line sees it; of an error's body other keys go too. */
void targets_hide(const struct targets *t, int endpoint, struct http_call *call)
{
    const struct secret *credential = find(t, endpoint, call)->credential;
    struct http_facts *facts = &call->facts;
    if (facts->status >= 200 && facts->status <= 299)
        secret_blank(credential, call->reply.p, call->reply.n);
    else
        secret_scrub(credential, call->reply.p, call->reply.n);
    secret_scrub(credential, facts->request_id, strlen(facts->request_id));
}

void targets_scrub(const struct targets *t, int endpoint, char *text, size_t n)
{
    for (struct target *target = t->slots[endpoint].now; target; target = target->older)
        secret_scrub(target->credential, text, n);
}

/* ---- reload ---------------------------------------------------------------------------------- */

static bool same(const struct target *a, const struct target *b)
{
    if (!a->credential || !b->credential)
        return a->credential == b->credential;
    return span_eq(secret_value(a->credential), secret_value(b->credential));
}

static enum rc make_slots(struct targets *t, int count, struct err *err)
{
    if (t->slots && count <= t->slot_count)
        return RC_OK;
    struct slot *slots = realloc(t->slots, ((size_t)count + 1) * sizeof *slots);
    if (!slots)
        return err_set(err, RC_NOMEM, "no memory for the endpoints");
    for (int i = t->slot_count; i < count; i++)
        slots[i] = (struct slot){0};
    t->slots = slots;
    t->slot_count = count;
    return RC_OK;
}

enum rc targets_reread(struct targets *t, const struct catalogue *catalogue, struct err *err)
{
    targets_forget(t);
    enum rc rc = make_slots(t, catalogue->endpoint_count, err);
    for (int i = 0; i < catalogue->endpoint_count && rc == RC_OK; i++) {
        struct slot *slot = &t->slots[i];
        if (catalogue->endpoints[i].left)
            continue;
        rc = target_new(t, &catalogue->endpoints[i], &slot->next, err);
        if (rc == RC_OK && slot->now && same(slot->now, slot->next)) { /* its connections stay */
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
    bool differs = slot->now != NULL;
    slot->next->older = slot->now;
    slot->now = slot->next;
    slot->next = NULL;
    t->replaced |= differs;
    return differs;
}

void targets_forget(struct targets *t)
{
    for (int i = 0; i < t->slot_count; i++) {
        target_free(t->slots[i].next);
        t->slots[i].next = NULL;
    }
}

void targets_sweep(struct targets *t)
{
    bool left = false;
    if (!t->replaced)
        return;
    for (int i = 0; i < t->slot_count; i++) {
        if (!t->slots[i].now)
            continue;
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

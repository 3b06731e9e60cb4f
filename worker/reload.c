/*
 * reload.c - see reload.h.
 *
 * Happy path: `make_ready` reads settings, keys, catalogue and credentials, and makes room; a
 * catalogue that differs goes to Postgres (apply.h); `put_in_force` does the rest.
 *
 * Failure modes: whatever is wrong is logged with the place and the remedy, counted, and leaves
 * everything as it was. So does a Postgres that is away, but only where the catalogue has changed.
 */
#include "worker/reload.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/secret.h"
#include "worker/apply.h"
#include "worker/process.h"
#include "worker/settings.h"

/* What one reload has read. */
struct fresh {
    struct config *config;
    struct sign_ring *ring;
    struct catalogue *catalogue; /* merged with the one in force; NULL: the file is the same */
    struct path_conf path;
};

struct reload {
    struct reload_conf conf;
    struct fresh fresh;
    struct apply *apply; /* while the catalogue is being written */
    bool again;
};

enum rc reload_ring(const struct config *config, struct sign_ring **ret_ring, struct err *err)
{
    *ret_ring = NULL;
    if (config_int(config, "signature.check") != SIGNATURE_REQUIRE)
        return RC_OK;
    struct secret *keys = NULL;
    enum rc rc = secret_load(config_text(config, "signature.keys"), &keys, err);
    if (rc == RC_OK)
        rc = sign_ring_parse(secret_value(keys), ret_ring, err);
    secret_free(keys);
    return rc == RC_OK ? rc : err_prefix(err, rc, "signature.keys");
}

/* What differs and what becomes of it, by name; values may be secrets. */
static int tell_changes(const struct config *held, const struct config *next)
{
    int restart = 0;
    for (const struct config_key *key = settings_keys; key->name; key++) {
        if (config_same(held, next, key->name))
            continue;
        restart += !key->reloadable;
        if (key->reloadable)
            log_event(LOG_INFO, "a setting has changed", LF_STR("key", key->name));
        else
            log_event(LOG_WARN, "a setting has changed that holds after a restart only",
                      LF_STR("key", key->name));
    }
    if (!config_same_kafka(held, next)) {
        restart++;
        log_event(LOG_WARN, "a setting has changed that holds after a restart only",
                  LF_STR("key", "kafka.*"));
    }
    return restart;
}

/* ---- reading and checking -------------------------------------------------------------------- */

/* The file, merged with what is in force. The environment cannot have changed, so the same bytes
 * are the same catalogue. */
static enum rc read_catalogue(struct reload *r, struct err *err)
{
    const struct catalogue *held = *r->conf.catalogue;
    struct catalogue *next = NULL;
    const char *path = config_text(r->fresh.config, "catalogue");
    enum rc rc = catalogue_load(path, &next, err);
    if (rc != RC_OK)
        return rc;
    if (memcmp(next->sha256, held->sha256, sizeof held->sha256) == 0) {
        catalogue_free(next);
        return RC_OK;
    }
    rc = catalogue_merge(held, next, err);
    if (rc != RC_OK) {
        catalogue_free(next);
        return err_prefix(err, rc, "%s", path);
    }
    r->fresh.catalogue = next;
    return RC_OK;
}

/* Everything that may fail but Postgres. What it makes is invisible until it is put in force. */
static enum rc make_ready(struct reload *r, struct err *err)
{
    struct fresh *f = &r->fresh;
    enum rc rc = r->conf.reread(r->conf.arg, &f->config, err);
    if (rc == RC_OK)
        rc = served_check(r->conf.served, f->config, err);
    if (rc == RC_OK)
        rc = process_descriptors(config_int(f->config, "max_in_flight"), err);
    if (rc == RC_OK)
        rc = reload_ring(f->config, &f->ring, err);
    if (rc == RC_OK)
        rc = read_catalogue(r, err);
    if (rc != RC_OK)
        return rc;
    const struct catalogue *catalogue = f->catalogue ? f->catalogue : *r->conf.catalogue;
    settings_path(f->config, r->conf.served->names, r->conf.served->count, &f->path);
    f->path.ring = f->ring;
    rc = path_may_configure(r->conf.path, &f->path, err);
    if (rc == RC_OK)
        rc = targets_reread(r->conf.targets, catalogue, err);
    if (rc == RC_OK && f->catalogue)
        rc = path_prepare(r->conf.path, catalogue, err);
    if (rc == RC_OK && f->catalogue)
        rc = watch_prepare(r->conf.watch, catalogue, err);
    return rc;
}

static void drop_fresh(struct reload *r)
{
    targets_forget(r->conf.targets);
    sign_ring_free(r->fresh.ring);
    catalogue_free(r->fresh.catalogue);
    config_free(r->fresh.config);
    r->fresh = (struct fresh){0};
}

/* ---- putting in force ------------------------------------------------------------------------ */

static void renew_credentials(struct reload *r)
{
    const struct catalogue *cat = *r->conf.catalogue;
    for (int i = 0; i < cat->endpoint_count; i++) {
        if (!targets_renew(r->conf.targets, i))
            continue;
        log_event(LOG_INFO, "a credential has changed", LF_STR("endpoint", cat->endpoints[i].name));
        path_renewed(r->conf.path, i);
        store_wake(r->conf.store, cat->endpoints[i].db_id);
    }
}

/* What waits in `parked` for an endpoint that new jobs have moved off finds another place now. */
static void wake_moved(struct reload *r, const struct catalogue *held, const struct catalogue *next)
{
    for (int i = 0; i < held->endpoint_count; i++)
        if (catalogue_moved_off(held, next, i))
            store_wake(r->conf.store, held->endpoints[i].db_id);
}

static void take_catalogue(struct reload *r, int changes)
{
    struct catalogue *next = r->fresh.catalogue;
    r->fresh.catalogue = NULL;
    wake_moved(r, *r->conf.catalogue, next);
    *r->conf.catalogue = next;
    watch_take(r->conf.watch, next);
    path_take(r->conf.path, next); /* the last to know the one before */
    store_tell_held(r->conf.store);
    log_event(LOG_INFO, "catalogue applied", LF_STR("name", next->name), LF_INT("new", changes));
}

/* Nothing here can fail. */
static void put_in_force(struct reload *r, int changes)
{
    struct fresh *f = &r->fresh;
    int restart = tell_changes(r->conf.config, f->config);
    enum rc rc = path_configure(r->conf.path, &f->path, NULL);
    assert(rc == RC_OK); /* it was asked before */
    (void)rc;
    sign_ring_free(*r->conf.ring); /* the path has the new one */
    *r->conf.ring = f->ring;
    f->ring = NULL;
    log_set_level((enum log_level)config_int(f->config, "log.level"));
    if (f->catalogue)
        take_catalogue(r, changes);
    renew_credentials(r);
    config_take_reloadable(r->conf.config, f->config);
    watch_reload(r->conf.watch, true, restart);
    log_event(LOG_INFO, "reloaded", LF_INT("restart_needed_for", restart));
}

/* ---- the whole ------------------------------------------------------------------------------- */

static void end(struct reload *r, enum rc rc, int changes, const struct err *err)
{
    if (rc == RC_OK) {
        put_in_force(r, changes);
    } else {
        watch_reload(r->conf.watch, false, 0);
        log_event(LOG_ERROR, "not reloaded; everything stays as it was", LF_STR("why", err->text));
    }
    drop_fresh(r);
}

static void applied(void *arg, enum rc rc, int changes, const struct err *err)
{
    struct reload *r = arg;
    struct err why = *err;
    r->apply = NULL;
    if (rc != RC_OK)
        err_prefix(&why, rc, "%s", config_text(r->fresh.config, "catalogue"));
    end(r, rc, changes, &why);
    if (r->again)
        reload_now(r);
}

struct reload *reload_new(const struct reload_conf *conf)
{
    struct reload *r = calloc(1, sizeof *r);
    if (r)
        r->conf = *conf;
    return r;
}

void reload_free(struct reload *r)
{
    if (!r)
        return;
    apply_free(r->apply);
    drop_fresh(r);
    free(r);
}

void reload_now(struct reload *r)
{
    struct err err = {0};
    r->again = r->apply != NULL;
    if (r->again)
        return;
    enum rc rc = make_ready(r, &err);
    if (rc == RC_OK && r->fresh.catalogue)
        rc = apply_new(r->conf.loop, config_text(r->conf.config, "postgres"), r->fresh.catalogue,
                       "inferq-worker", applied, r, &r->apply, &err);
    if (!r->apply)
        end(r, rc, 0, &err);
}

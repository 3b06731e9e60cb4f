/*
 * reload.c - see reload.h.
 */
#include "worker/reload.h"

#include "common/log.h"
#include "common/secret.h"
#include "worker/process.h"
#include "worker/settings.h"

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

/* From here on nothing can fail. */
static void put_in_force(const struct reload *r, struct config *next, struct sign_ring *ring)
{
    sign_ring_free(*r->ring); /* the path has the new one */
    *r->ring = ring;
    log_set_level((enum log_level)config_int(next, "log.level"));
    for (int i = 0; i < r->catalogue->endpoint_count; i++) {
        if (!targets_renew(r->targets, i))
            continue;
        log_event(LOG_INFO, "a credential has changed",
                  LF_STR("endpoint", r->catalogue->endpoints[i].name));
        path_renewed(r->path, i);
        store_wake(r->store, r->catalogue->endpoints[i].db_id);
    }
    config_take_reloadable(r->config, next);
}

enum rc reload_take(const struct reload *r, struct config *next, int *ret_restart, struct err *err)
{
    struct path_conf conf = {0};
    struct sign_ring *ring = NULL;
    enum rc rc = process_descriptors(config_int(next, "max_in_flight"), err);
    if (rc == RC_OK)
        rc = reload_ring(next, &ring, err);
    if (rc == RC_OK)
        rc = targets_reread(r->targets, err);
    settings_path(next, r->lane_names, r->lane_count, &conf);
    conf.ring = ring;
    if (rc == RC_OK)
        rc = path_configure(r->path, &conf, err);
    if (rc != RC_OK) {
        targets_forget(r->targets);
        sign_ring_free(ring);
        return rc;
    }
    *ret_restart = tell_changes(r->config, next);
    put_in_force(r, next, ring);
    return RC_OK;
}

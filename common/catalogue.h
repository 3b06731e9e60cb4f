/*
 * catalogue.h - the catalogue file: endpoints, models, versions, prices, defaults, routes (YAML).
 *
 * schemas/catalogue.md describes the format. Everything it names is immutable once applied: an
 * entry with the same name and version but another content is refused; states, defaults, routes and
 * limits may move. Loading is pure parsing and
 * validation; catalogue_apply writes the rows, and fills in the ids that Postgres gave.
 */
#ifndef INFERQ_COMMON_CATALOGUE_H
#define INFERQ_COMMON_CATALOGUE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/limits.h"
#include "common/price.h"
#include "common/span.h"

enum { CATALOGUE_BYTES_MAX = 4 << 20, CATALOGUE_ENTRIES_MAX = 4096, CATALOGUE_NAME_MAX = 128 };

enum adapter { ADAPTER_OPENAI = 0 }; /* the protocol spoken at an endpoint; more come later */
enum version_state {
    VERSION_TEST = 1,
    VERSION_APPROVED = 2,
    VERSION_DEPRECATED = 3,
    VERSION_RETIRED = 4, /* no new calls */
    VERSION_BLOCKED = 5, /* no calls at all */
};

/* What the whole fleet may use of an endpoint, of a model's version, or what an app may. */
struct cat_limits {
    int64_t amount[LIMIT_DIMENSION_END]; /* by enum limit_dimension; 0: no limit */
};

struct cat_endpoint {
    int index;      /* position in the catalogue: dense, from 0 */
    int32_t db_id;  /* endpoint.endpoint_id; 0 until applied */
    char *name;     /* "openai-eu" */
    int version;    /* >= 1 */
    char *base_url; /* "https://host[:port][/prefix]", no trailing slash, no userinfo */
    enum adapter adapter;
    char *credential;   /* "env:NAME", "file:PATH" or "" */
    char *ca_file;      /* "" : the system's */
    int max_in_flight;  /* 1 .. 100000: calls in flight from one worker */
    int64_t timeout_us; /* whole transfer, 1 s .. 1 h */
    int64_t connect_timeout_us;
    bool send_ids;        /* x-inferq-job and x-inferq-call headers */
    bool idempotency_key; /* the server understands Idempotency-Key */
    struct cat_limits limits;
    bool left; /* the file has it no more: for jobs under way only (catalogue_merge) */
};

struct cat_price {
    int64_t from_ms; /* valid from, Unix ms; ascending in the list */
    int32_t db_id;   /* price.price_id */
    struct price price;
};

struct cat_model_version {
    int index;
    int32_t db_id; /* model_version.model_version_id */
    char *model;   /* catalogue name: what body.model says */
    char *version;
    char *label;          /* "model@version" */
    char *upstream_model; /* what the endpoint calls it */
    int endpoint;         /* index of its endpoint */
    enum version_state state;
    char *provider, *owner;                    /* "" when not said */
    int64_t context_tokens, max_output_tokens; /* 0: not said */
    int larger; /* 1 + index of the version that takes what is too long for this one; 0: none */
    struct cat_price *prices;
    int price_count;
    struct cat_limits limits;
    bool left; /* as of an endpoint */
};

struct cat_model {
    char *name;
    int current; /* index of the version that serves new jobs */
};

struct cat_default {
    char *app, *task; /* "*" matches any */
    int model;        /* index into models */
};

/* What becomes of a job whose call was sent, and nobody knows what came of it. */
enum ambiguous { AMBIGUOUS_RETRY = 0, AMBIGUOUS_HOLD = 1, AMBIGUOUS_GIVE_UP = 2 };

/* How the jobs of a route are called again. */
struct cat_retry {
    int max_attempts; /* 1 .. 100 counted calls; 0: the job's own number, or the worker's */
    enum ambiguous ambiguous;
    int64_t backoff_base_us, backoff_cap_us; /* of calls that count; the cap of all */
    int budget_permille;                     /* retries that 1,000 first calls allow, 0 .. 1000 */
    int64_t ambiguous_nusd_per_day; /* for calls again after AMBIGUOUS_RETRY; -1: not bounded */
    char *route;                    /* where it is bounded: "app=A task=T model=M"; else NULL */
};

/* Where no route says otherwise. */
#define CATALOGUE_RETRY_DEFAULT                                                                   \
    {                                                                                             \
        .max_attempts = 0, .ambiguous = AMBIGUOUS_RETRY, .backoff_base_us = INT64_C(500000),      \
        .backoff_cap_us = INT64_C(60000000), .budget_permille = 200, .ambiguous_nusd_per_day = -1 \
    }

struct cat_route {
    char *app, *task; /* "*" matches any */
    int model;        /* index into models; -1 matches any */
    struct cat_retry retry;
};

struct cat_app {
    char *name;
    struct cat_limits limits;
};

struct catalogue {
    struct cat_endpoint *endpoints;
    int endpoint_count;
    struct cat_model_version *versions;
    int version_count;
    struct cat_model *models;
    int model_count;
    struct cat_default *defaults;
    int default_count;
    struct cat_route *routes;
    int route_count;
    struct cat_app *apps; /* those with limits */
    int app_count;
    char *name;               /* the catalogue's own name, for the audit log */
    unsigned char sha256[32]; /* of the file */
};

/* RC_REJECT: "FILE:LINE: what, and how to mend it". returns owned */
enum rc catalogue_load(const char *path, struct catalogue **ret_cat, struct err *err) MUST_CHECK;
enum rc catalogue_parse(struct span yaml, const char *file_name, struct catalogue **ret_cat,
                        struct err *err) MUST_CHECK;
void catalogue_free(struct catalogue *cat);

/* What of `path` follows `base_url`: all of it, but for a "/v1" that both have, which counts once.
 * The result ends where `path` does. Pure. */
struct span catalogue_path_below(struct span base_url, struct span path);

/* The version that serves (model named in the body, or absent; app; task): exact model name,
 * "model@version" pins one; else the most specific default: (app, task), (app, *), (*, task),
 * (*, *). NULL: none. Pure. */
const struct cat_model_version *catalogue_route(const struct catalogue *cat, struct span model,
                                                struct span app, struct span task);
/* How jobs of (app, task) that are served by `mv` are called again: by the most specific route,
 * where the app weighs more than the task, and the task more than the model; without one, as ever.
 * Lives as long as the catalogue. Never NULL. Pure. */
const struct cat_retry *catalogue_retry(const struct catalogue *cat,
                                        const struct cat_model_version *mv, struct span app,
                                        struct span task);
/* The route that says so, by its place in the catalogue; -1: none does. Pure. */
int catalogue_route_of(const struct catalogue *cat, const struct cat_retry *retry);
/* The price in force at `at_ms`; NULL: none. */
const struct cat_price *catalogue_price(const struct cat_model_version *mv, int64_t at_ms);

/* The limits of a catalogue, one after the other: of endpoints, then of versions, then of apps; of
 * what left the file none. Starts with {0}; false: no more. Pure. */
struct cat_limit_walk {
    enum limit_scope scope;
    int index;     /* into endpoints, versions or apps */
    int dimension; /* enum limit_dimension */
    int64_t amount;
};
bool catalogue_next_limit(const struct catalogue *cat, struct cat_limit_walk *w);
/* What stands in limit_rule.key: the endpoint as name@version, the version's label, the app. */
enum { CATALOGUE_LIMIT_KEY_BYTES = 2 * CATALOGUE_NAME_MAX + 16 };
const char *catalogue_limit_key(const struct catalogue *cat, const struct cat_limit_walk *w,
                                char out[CATALOGUE_LIMIT_KEY_BYTES]);
/* All of them as parameters: arrays of scopes (int2), keys, dimensions (int2) and amounts (int8).
 */
struct pg_params;
void catalogue_add_limits(const struct catalogue *cat, struct pg_params *params);

/*
 * Another reading of the file, while jobs refer to entries of `held` by their indexes: makes `next`
 * what is in force from then on. An endpoint (name and version) or model version that `held` has
 * keeps its index, further ones are appended; those that left the file are copied over, marked
 * `left`, without which no job that refers to them could end. Nothing routes to them, as after a
 * restart. Models, defaults, routes and prices are those of the file. `held` is not changed. Pure.
 * RC_REJECT: an entry was changed that is immutable, or so many have left that a restart is needed;
 * RC_NOMEM. `next` is then as it was.
 */
enum rc catalogue_merge(const struct catalogue *held, struct catalogue *next,
                        struct err *err) MUST_CHECK;
/* Some version at this endpoint of both served new jobs by its model's name before, and serves none
 * now: jobs that wait for the endpoint may find another. Pure. */
bool catalogue_moved_off(const struct catalogue *before, const struct catalogue *now, int endpoint);

/* Writes what is new into the catalogue tables in one transaction (with an audit_log row when
 * anything was new), refuses changed immutable entries (RC_REJECT), and sets every db_id. Safe when
 * several start at once. Blocks: see catalogue_write.h for the same in steps. */
struct pgc;
enum rc catalogue_apply(struct catalogue *cat, struct pgc *conn, const char *actor, int *ret_new,
                        struct err *err) MUST_CHECK;

#endif

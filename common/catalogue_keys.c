/*
 * catalogue_keys.c - the keys of the catalogue file: types, defaults, ranges, and what they mean.
 * In the order of the enums of catalogue_keys.h.
 */
#include "common/catalogue_keys.h"

#include "common/catalogue_impl.h"

#define TEXT_KEY(n, d, bytes_min, bytes_max, h)                                                 \
    {                                                                                           \
        .name = (n), .type = CONFIG_TEXT, .deflt = (d), .min = (bytes_min), .max = (bytes_max), \
        .unit = "", .help = (h)                                                                 \
    }
#define LIST_KEY(n, d, h)                                                           \
    {                                                                               \
        .name = (n), .type = CONFIG_TEXT, .deflt = (d), .unit = "list", .help = (h) \
    }
#define INT_KEY(n, d, low, high, u, h)                                                           \
    {                                                                                            \
        .name = (n), .type = CONFIG_INT, .deflt = (d), .min = (low), .max = (high), .unit = (u), \
        .help = (h)                                                                              \
    }
#define TIME_KEY(n, d, low_us, high_us, h)                                                     \
    {                                                                                          \
        .name = (n), .type = CONFIG_DURATION, .deflt = (d), .min = (low_us), .max = (high_us), \
        .unit = "", .help = (h)                                                                \
    }
#define BOOL_KEY(n, d, h)                                                       \
    {                                                                           \
        .name = (n), .type = CONFIG_BOOL, .deflt = (d), .unit = "", .help = (h) \
    }
#define CHOICE_KEY(n, d, c, h)                                                                    \
    {                                                                                             \
        .name = (n), .type = CONFIG_CHOICE, .deflt = (d), .choices = (c), .unit = "", .help = (h) \
    }
#define USD_KEY(n, d, h)                                                                    \
    {                                                                                       \
        .name = (n), .type = CONFIG_TEXT, .deflt = (d), .min = 0, .max = 64, .unit = "USD", \
        .help = (h)                                                                         \
    }

#define MAP_KEY(n, h)                                                             \
    {                                                                             \
        .name = (n), .type = CONFIG_TEXT, .deflt = "", .unit = "map", .help = (h) \
    }

enum { SECOND_US = 1000000, TOKENS_MAX = 1000000000 };

static const struct config_key root_keys[] = {
    TEXT_KEY("catalogue", NULL, 1, CATALOGUE_NAME_MAX,
             "The catalogue's own name, for the audit log."),
    LIST_KEY("endpoints", NULL, "Where models are called."),
    LIST_KEY("models", NULL, "What may be called, by the names that request bodies use."),
    LIST_KEY("defaults", "", "The models for bodies that name none."),
    LIST_KEY("routes", "", "How jobs are called again, by app, task and model."),
    LIST_KEY("apps", "", "What apps may use, of all endpoints together."),
    {.name = NULL},
};

static const struct config_key endpoint_keys[] = {
    TEXT_KEY("name", NULL, 1, CATALOGUE_NAME_MAX, "Its name."),
    INT_KEY("version", "1", 1, 1000000, "", "Raise it to change anything else here."),
    TEXT_KEY("base_url", NULL, 1, 2048,
             "Where paths such as /v1/chat/completions are appended, with or without a /v1 at its "
             "end; ${NAME} stands for a variable of the environment."),
    CHOICE_KEY("adapter", "openai", "openai", "The protocol spoken there."),
    TEXT_KEY("credential", "", 0, 1024, "Where the key is: env:NAME or file:PATH."),
    TEXT_KEY("ca_file", "", 0, 4096,
             "PEM file of the authorities to trust instead of the system's."),
    INT_KEY("max_in_flight", "64", 1, 100000, "calls", "Calls in flight from one worker."),
    TIME_KEY("timeout", "5m", SECOND_US, INT64_C(3600) * SECOND_US, "For a whole call."),
    TIME_KEY("connect_timeout", "10s", SECOND_US / 10, INT64_C(300) * SECOND_US,
             "To resolve, connect and shake hands."),
    BOOL_KEY("send_ids", "false", "Send the headers x-inferq-job and x-inferq-call."),
    BOOL_KEY("idempotency_key", "false", "The server understands Idempotency-Key."),
    MAP_KEY("limits", "What all workers together may use of it."),
    {.name = NULL},
};

static const struct config_key model_keys[] = {
    TEXT_KEY("name", NULL, 1, CATALOGUE_NAME_MAX, "What a body's `model` says."),
    TEXT_KEY("current", "", 0, CATALOGUE_NAME_MAX,
             "The version that serves; needed when there are several."),
    TEXT_KEY("provider", "", 0, 256, "Who runs it, for reports."),
    TEXT_KEY("owner", "", 0, 256, "Who answers for it, for reports."),
    LIST_KEY("versions", NULL, "Its versions."),
    {.name = NULL},
};

static const struct config_key version_keys[] = {
    TEXT_KEY("version", NULL, 1, CATALOGUE_NAME_MAX, "Its name; model@version pins it."),
    TEXT_KEY("upstream_model", NULL, 1, 512, "What the endpoint calls it."),
    TEXT_KEY("endpoint", NULL, 1, CATALOGUE_NAME_MAX + 16,
             "The endpoint that serves it; name@version when there are several of the name."),
    CHOICE_KEY("state", "approved", "test|approved|deprecated|retired|blocked",
               "retired: no new calls; blocked: none at all."),
    INT_KEY("context_tokens", "0", 0, TOKENS_MAX, "tokens", "What fits in; 0: not said."),
    INT_KEY("max_output_tokens", "0", 0, TOKENS_MAX, "tokens", "What may come out; 0: not said."),
    LIST_KEY("prices", "", "What it costs, from when."),
    MAP_KEY("limits", "What all workers together may use of it, within its endpoint's."),
    TEXT_KEY("larger_context", "", 0, 2 * CATALOGUE_NAME_MAX + 1,
             "Another version, as model@version, that is called where a job is too long for it."),
    {.name = NULL},
};

static const struct config_key price_keys[] = {
    TEXT_KEY("from", NULL, 1, 64, "The date (UTC) or RFC 3339 time from which it holds."),
    USD_KEY("input_per_million_usd", "", "A million input tokens; absent: not known."),
    USD_KEY("cached_input_per_million_usd", "", "Those read from a cache; absent: as input."),
    USD_KEY("output_per_million_usd", "", "A million output tokens; absent: not known."),
    USD_KEY("reasoning_per_million_usd", "", "Those spent on reasoning; absent: as output."),
    USD_KEY("per_request_usd", "0", "Each request, whatever it holds."),
    {.name = NULL},
};

static const struct config_key default_keys[] = {
    TEXT_KEY("app", "*", 1, CATALOGUE_NAME_MAX, "The app; * is any."),
    TEXT_KEY("task", "*", 1, CATALOGUE_NAME_MAX, "The task; * is any."),
    TEXT_KEY("model", NULL, 1, CATALOGUE_NAME_MAX, "The model, whose current version serves."),
    {.name = NULL},
};

static const struct config_key route_keys[] = {
    TEXT_KEY("app", "*", 1, CATALOGUE_NAME_MAX, "The app; * is any."),
    TEXT_KEY("task", "*", 1, CATALOGUE_NAME_MAX, "The task; * is any."),
    TEXT_KEY("model", "*", 1, CATALOGUE_NAME_MAX,
             "The model that serves, in any version; * is any."),
    BOOL_KEY("default", "false",
             "Bodies that name no model get this one, as from an entry of `defaults`."),
    MAP_KEY("retry", "How its jobs are called again."),
    {.name = NULL},
};

static const struct config_key retry_keys[] = {
    INT_KEY("max_attempts", "0", 0, 100, "calls",
            "Counted calls at most, within what the job itself says; 0: not said."),
    CHOICE_KEY("ambiguous", "retry", "retry|hold|give_up",
               "What becomes of a job when nobody knows what came of its call."),
    TIME_KEY("backoff_base", "500ms", 1000, INT64_C(600) * SECOND_US,
             "The first delay at most, after a call that counts; it doubles with each."),
    TIME_KEY("backoff_cap", "60s", 1000, INT64_C(3600) * SECOND_US, "No delay is longer."),
    {.name = "budget",
     .type = CONFIG_TEXT,
     .deflt = "0.2",
     .max = 16,
     .unit = "share",
     .help = "Retries at most, as a share of first calls."},
    USD_KEY("ambiguous_usd_per_day", "",
            "What calls that are made again after `ambiguous` may have cost in a day; absent: not "
            "bounded."),
    {.name = NULL},
};

static const struct config_key app_keys[] = {
    TEXT_KEY("name", NULL, 1, CATALOGUE_NAME_MAX, "The app, as its jobs say it."),
    MAP_KEY("limits", "What its jobs may use, at all endpoints, in all workers."),
    {.name = NULL},
};

const struct catalogue_section catalogue_sections[CATALOGUE_SECTION_COUNT] = {
    [CATALOGUE_ROOT] = {"catalogue", root_keys},
    [CATALOGUE_ENDPOINT] = {"endpoint", endpoint_keys},
    [CATALOGUE_MODEL] = {"model", model_keys},
    [CATALOGUE_VERSION] = {"version", version_keys},
    [CATALOGUE_PRICE] = {"price", price_keys},
    [CATALOGUE_DEFAULT] = {"default", default_keys},
    [CATALOGUE_ROUTE] = {"route", route_keys},
    [CATALOGUE_RETRY] = {"retry", retry_keys},
    [CATALOGUE_APP] = {"app", app_keys},
    [CATALOGUE_LIMITS] = {"limits", catalogue_limit_keys},
};

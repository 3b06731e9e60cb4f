/*
 * test_catalogue.c - catalogue files: a good one read whole, every kind of mistake with its line,
 * routing, prices in force, and the documentation held against the table of keys.
 */
#define _GNU_SOURCE /* strcasestr */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/catalogue.h"
#include "common/catalogue_impl.h"
#include "common/clock.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static const char good[] =
    "catalogue: main\n"
    "endpoints:\n"
    "  - {name: eu, base_url: 'https://eu.example.com:8443/api/', credential: env:EU_KEY,\n"
    "     ca_file: /etc/ca.pem, max_in_flight: 7, timeout: 90s, connect_timeout: 1500ms,\n"
    "     send_ids: yes, idempotency_key: true}\n"
    "  - {name: eu, version: 2, base_url: 'http://[::1]'}\n"
    "  - {name: sim, base_url: '${TEST_SIM_URL}', credential: 'file:/run/key'}\n"
    "models:\n"
    "  - name: org/large-3.1\n"
    "    current: b\n"
    "    provider: org\n"
    "    owner: team\n"
    "    versions:\n"
    "      - version: a\n"
    "        upstream_model: large 2024\n"
    "        endpoint: eu@1\n"
    "        state: retired\n"
    "      - version: b\n"
    "        upstream_model: large\n"
    "        endpoint: eu@2\n"
    "        context_tokens: 1000\n"
    "        max_output_tokens: 100\n"
    "        prices:\n"
    "          - {from: 2025-01-01, input_per_million_usd: 0.15, output_per_million_usd: 0.6}\n"
    "          - {from: '2025-06-01T12:00:00+02:00', cached_input_per_million_usd: 1.35e-03,\n"
    "             reasoning_per_million_usd: 3, per_request_usd: 0.001}\n"
    "  - {name: small, versions: [{version: '1', upstream_model: s, endpoint: sim}]}\n"
    "  - {name: tiny, versions: [{version: '1', upstream_model: t, endpoint: sim, state: test}]}\n"
    "defaults:\n"
    "  - {app: billing, task: classify, model: tiny}\n"
    "  - {app: billing, model: org/large-3.1}\n"
    "  - {task: classify, model: small}\n";

static struct catalogue *load_good(void)
{
    struct catalogue *cat = NULL;
    struct err err = {""};
    setenv("TEST_SIM_URL", "http://127.0.0.1:8080/", 1);
    if (catalogue_parse(span_of(good), "good.yaml", &cat, &err) != RC_OK)
        fail_msg("%s", err.text);
    return cat;
}

static void test_endpoints(void **state)
{
    (void)state;
    struct catalogue *cat = load_good();
    assert_string_equal(cat->name, "main");
    assert_int_equal(cat->endpoint_count, 3);
    const struct cat_endpoint *e = &cat->endpoints[0];
    assert_string_equal(e->name, "eu");
    assert_int_equal(e->version, 1);
    assert_string_equal(e->base_url, "https://eu.example.com:8443/api");
    assert_string_equal(e->credential, "env:EU_KEY");
    assert_string_equal(e->ca_file, "/etc/ca.pem");
    assert_int_equal(e->max_in_flight, 7);
    assert_int_equal(e->timeout_us, 90000000);
    assert_int_equal(e->connect_timeout_us, 1500000);
    assert_true(e->send_ids && e->idempotency_key);
    assert_int_equal(e->db_id, 0);
    e = &cat->endpoints[2];
    assert_int_equal(e->index, 2);
    assert_string_equal(e->base_url, "http://127.0.0.1:8080");
    assert_string_equal(e->ca_file, "");
    assert_int_equal(e->max_in_flight, 64);
    assert_int_equal(e->timeout_us, 300000000);
    assert_int_equal(e->connect_timeout_us, 10000000);
    assert_false(e->send_ids || e->idempotency_key);
    catalogue_free(cat);
}

static void test_models(void **state)
{
    (void)state;
    struct catalogue *cat = load_good();
    assert_int_equal(cat->model_count, 3);
    assert_int_equal(cat->version_count, 4);
    assert_string_equal(cat->models[0].name, "org/large-3.1");
    assert_int_equal(cat->models[0].current, 1);
    assert_int_equal(cat->models[1].current, 2);
    const struct cat_model_version *mv = &cat->versions[1];
    assert_int_equal(mv->index, 1);
    assert_string_equal(mv->model, "org/large-3.1");
    assert_string_equal(mv->version, "b");
    assert_string_equal(mv->label, "org/large-3.1@b");
    assert_string_equal(mv->upstream_model, "large");
    assert_int_equal(mv->endpoint, 1);
    assert_int_equal(mv->state, VERSION_APPROVED);
    assert_string_equal(mv->provider, "org");
    assert_string_equal(mv->owner, "team");
    assert_int_equal(mv->context_tokens, 1000);
    assert_int_equal(mv->max_output_tokens, 100);
    assert_int_equal(cat->versions[0].state, VERSION_RETIRED);
    assert_int_equal(cat->versions[0].endpoint, 0);
    assert_int_equal(cat->versions[3].state, VERSION_TEST);
    assert_int_equal(cat->versions[3].endpoint, 2);
    catalogue_free(cat);
}

static void test_prices(void **state)
{
    (void)state;
    struct catalogue *cat = load_good();
    const struct cat_model_version *mv = &cat->versions[1];
    assert_int_equal(mv->price_count, 2);
    const struct price *p = &mv->prices[0].price;
    assert_int_equal(p->input_pusd, 150000);
    assert_int_equal(p->cached_pusd, -1);
    assert_int_equal(p->output_pusd, 600000);
    assert_int_equal(p->reasoning_pusd, -1);
    assert_int_equal(p->request_pusd, 0);
    const int64_t first = clock_parse("2025-01-01T00:00:00Z", 0);
    const int64_t second = clock_parse("2025-06-01T10:00:00Z", 0);
    assert_null(catalogue_price(mv, first - 1));
    assert_ptr_equal(catalogue_price(mv, first), &mv->prices[0]);
    assert_ptr_equal(catalogue_price(mv, second - 1), &mv->prices[0]);
    assert_ptr_equal(catalogue_price(mv, second), &mv->prices[1]);
    assert_ptr_equal(catalogue_price(mv, INT64_MAX), &mv->prices[1]);
    assert_null(catalogue_price(&cat->versions[0], second));
    p = &mv->prices[1].price;
    assert_int_equal(p->input_pusd, -1);
    assert_int_equal(p->cached_pusd, 1350);
    assert_int_equal(p->reasoning_pusd, 3000000);
    assert_int_equal(p->request_pusd, 1000000000);
    catalogue_free(cat);
}

static void test_routes(void **state)
{
    (void)state;
    static const struct {
        const char *model, *app, *task, *label; /* NULL: absent, none */
    } cases[] = {
        {"small", "any", "any", "small@1"},
        {"org/large-3.1", "billing", "classify", "org/large-3.1@b"},
        {"org/large-3.1@a", "x", NULL, "org/large-3.1@a"},
        {"org/large-3.1@b", "x", NULL, "org/large-3.1@b"},
        {"org/large-3.1@c", "x", NULL, NULL},
        {"Small", "x", NULL, NULL},
        {"smal", "x", NULL, NULL},
        {"large 2024", "x", NULL, NULL},
        {"", "billing", "classify", NULL},
        {"none", "billing", "classify", NULL},
        {NULL, "billing", "classify", "tiny@1"},
        {NULL, "billing", "other", "org/large-3.1@b"},
        {NULL, "billing", NULL, "org/large-3.1@b"},
        {NULL, "other", "classify", "small@1"},
        {NULL, "other", "other", NULL},
        {NULL, "other", NULL, NULL},
        {NULL, "*", "*", NULL},
    };
    struct catalogue *cat = load_good();
    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct cat_model_version *mv = catalogue_route(
            cat, span_of(cases[i].model), span_of(cases[i].app), span_of(cases[i].task));
        if (!span_eq(span_of(mv ? mv->label : NULL), span_of(cases[i].label)))
            fail_msg("case %zu: %s", i, mv ? mv->label : "none");
    }
    catalogue_free(cat);
}

static void test_default_of_all(void **state)
{
    (void)state;
    static const char yaml[] =
        "{catalogue: c, endpoints: [{name: e, base_url: 'http://h'}], models: [{name: m, "
        "versions: [{version: v, upstream_model: u, endpoint: e}]}], defaults: [{model: m}]}";
    struct catalogue *cat = NULL;
    assert_int_equal(catalogue_parse(span_of(yaml), "f", &cat, NULL), RC_OK);
    struct span none = {NULL, 0};
    assert_string_equal(catalogue_route(cat, none, SPAN_LIT("a"), none)->label, "m@v");
    /* The digest is of the bytes, whatever the file is called. */
    struct catalogue *again = NULL;
    assert_int_equal(catalogue_parse(span_of(yaml), "other", &again, NULL), RC_OK);
    assert_memory_equal(cat->sha256, again->sha256, 32);
    catalogue_free(again);
    catalogue_free(cat);
}

/* ---- routes ---------------------------------------------------------------------------------- */

static const char routed[] =
    "catalogue: c\n"
    "endpoints: [{name: e, base_url: 'http://h'}]\n"
    "models:\n"
    "  - {name: m, current: v, versions: [{version: v, upstream_model: u, endpoint: e},\n"
    "                                     {version: w, upstream_model: u, endpoint: e}]}\n"
    "  - {name: n, versions: [{version: v, upstream_model: u, endpoint: e}]}\n"
    "routes:\n"
    "  - {model: n, retry: {ambiguous: hold}}\n"
    "  - {task: t, default: true, model: m,\n"
    "     retry: {max_attempts: 7, backoff_base: 2s, backoff_cap: 5m}}\n"
    "  - {task: t, retry: {ambiguous: give_up, max_attempts: 2}}\n"
    "  - {app: a}\n"
    "  - {app: a, task: t, model: m, retry: {ambiguous: hold, max_attempts: 3}}\n";

static void test_retry(void **state)
{
    static const struct {
        const char *model, *app, *task;
        int max_attempts;
        enum ambiguous says;
    } cases[] = {
        {"m", "x", "x", 0, AMBIGUOUS_RETRY},   /* no route */
        {"n", "x", "x", 0, AMBIGUOUS_HOLD},    /* its model's */
        {"n", "x", NULL, 0, AMBIGUOUS_HOLD},   /* and of no task */
        {"m", "x", "t", 7, AMBIGUOUS_RETRY},   /* its task's, with the model */
        {"m@w", "x", "t", 7, AMBIGUOUS_RETRY}, /* in any version */
        {"n", "x", "t", 2, AMBIGUOUS_GIVE_UP}, /* the task weighs more than the model */
        {"n", "a", "x", 0, AMBIGUOUS_RETRY},   /* the app weighs more than the model */
        {"n", "a", "t", 0, AMBIGUOUS_RETRY},   /* and than the task */
        {"m", "a", "t", 3, AMBIGUOUS_HOLD},    /* all three */
        {NULL, "x", "t", 7, AMBIGUOUS_RETRY},  /* the default's model */
    };
    struct catalogue *cat = NULL;
    struct err err = {""};
    (void)state;
    if (catalogue_parse(span_of(routed), "f", &cat, &err) != RC_OK)
        fail_msg("%s", err.text);
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct span app = span_of(cases[i].app), task = span_of(cases[i].task);
        const struct cat_model_version *mv =
            catalogue_route(cat, span_of(cases[i].model), app, task);
        assert_non_null(mv);
        const struct cat_retry *retry = catalogue_retry(cat, mv, app, task);
        if (retry->max_attempts != cases[i].max_attempts || retry->ambiguous != cases[i].says)
            fail_msg("case %zu: %d, %d", i, retry->max_attempts, (int)retry->ambiguous);
    }
    assert_int_equal(cat->routes[1].retry.backoff_base_us, 2000000);
    assert_int_equal(cat->routes[1].retry.backoff_cap_us, 300000000);
    assert_int_equal(cat->routes[3].retry.backoff_base_us, 500000); /* no `retry`: as ever */
    assert_int_equal(cat->routes[3].retry.backoff_cap_us, 60000000);
    assert_null(catalogue_route(cat, (struct span){0}, SPAN_LIT("x"), SPAN_LIT("x")));
    catalogue_free(cat);
}

#define HEAD "catalogue: c\nendpoints:\n  - name: e\n    base_url: http://h\n" /* lines 1-4 */
#define MODEL "models:\n  - name: m\n    versions:\n      - version: v\n        endpoint: e\n"
#define FULL HEAD MODEL "        upstream_model: u\n" /* lines 5-10 */

static void test_shares(void **state)
{
    static const struct {
        const char *text;
        int permille; /* -1: none */
    } rows[] = {
        {"0", 0},     {"1", 1000},  {"0.2", 200},  {"0.25", 250},  {"0.125", 125}, {"1.000", 1000},
        {"0.001", 1}, {"0.0", 0},   {"1.001", -1}, {"0.1234", -1}, {"2", -1},      {"-0.1", -1},
        {"0,2", -1},  {".2", -1},   {"0.", -1},    {"00.2", -1},   {"0.2x", -1},   {"", -1},
        {"20%", -1},  {"0.2 ", -1}, {"1e-1", -1},  {"1.5", -1},    {"0x", -1},     {"01", -1},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct err err = {""};
        int permille = -1;
        enum rc rc = catalogue_share_parse(rows[i].text, &permille, &err);
        if (permille != rows[i].permille || (rc == RC_OK) != (permille >= 0))
            fail_msg("'%s': %d", rows[i].text, permille);
    }
}

/* Budgets of routes, and versions that take what is too long, also such as come later in the file.
 */
static void test_budgets_and_larger(void **state)
{
    static const char text[] =
        FULL "        context_tokens: 8000\n        larger_context: n@2\n"
             "  - name: n\n    current: '1'\n    versions:\n"
             "      - {version: '1', upstream_model: u, endpoint: e, larger_context: n@2}\n"
             "      - {version: '2', upstream_model: u, endpoint: e, context_tokens: 9000}\n"
             "routes:\n"
             "  - {app: a, retry: {budget: 0.05, ambiguous_usd_per_day: 2.50}}\n"
             "  - {app: b, retry: {ambiguous_usd_per_day: 0}}\n"
             "  - {app: c}\n";
    struct catalogue *cat = NULL;
    struct err err = {""};
    (void)state;
    if (catalogue_parse(span_of(text), "f", &cat, &err) != RC_OK)
        fail_msg("%s", err.text);
    assert_int_equal(cat->versions[0].larger, 3);
    assert_int_equal(cat->versions[1].larger, 3);
    assert_int_equal(cat->versions[2].larger, 0);
    assert_int_equal(cat->routes[0].retry.budget_permille, 50);
    assert_int_equal(cat->routes[0].retry.ambiguous_nusd_per_day, 2500000000);
    assert_int_equal(cat->routes[1].retry.budget_permille, 200);
    assert_int_equal(cat->routes[1].retry.ambiguous_nusd_per_day, 0);
    assert_int_equal(cat->routes[2].retry.budget_permille, 200);
    assert_int_equal(cat->routes[2].retry.ambiguous_nusd_per_day, -1);
    const struct cat_retry *none =
        catalogue_retry(cat, &cat->versions[0], SPAN_LIT("x"), SPAN_LIT("x"));
    assert_int_equal(none->budget_permille, 200);
    assert_int_equal(none->ambiguous_nusd_per_day, -1);
    assert_int_equal(catalogue_route_of(cat, none), -1);
    assert_int_equal(catalogue_route_of(cat, &cat->routes[1].retry), 1);
    catalogue_free(cat);
}

/* ---- mistakes ------------------------------------------------------------------------------- */

static const struct {
    const char *yaml, *error;
} mistakes[] = {
    /* YAML itself */
    {"", "f:1: the file is empty"},
    {"a: [1\nb: 2\n", "f:2: not YAML: "},
    {"a: 1\n\tb: 2\n", "f:2: not YAML: "},
    {"\xff\xfe", "f: byte 0: "},
    {FULL "---\nx: 1\n", "f:12: a second document"},
    {"catalogue: \"a\\0b\"\n", "f:1: a text holds U+0000"},
    {"catalogue:\nmodels: []\n", "f:1: a value is missing"},
    {"catalogue: ~\n", "f:1: a value is missing"},
    {"? [a]\n: 1\n", "f:1: a key must be a plain text"},
    {"catalogue: &a [*a]\n", "f:1: nested too deeply"},
    /* shapes and keys */
    {"- a\n", "f:1: catalogue must be a map of keys, and is a list"},
    {"catalogue: [c]\n", "f:1: key 'catalogue' must be a single value, and is a list"},
    {"catalogue: c\nendpoints: e\n", "f:2: key 'endpoints' must be a list, and is a single value"},
    {"catalogue: c\nendpoints: [e]\nmodels: []\n", "f:2: endpoint must be a map of keys, and is"},
    {"catalogue: ''\n", "f:1: key 'catalogue' must not be empty"},
    {"catalogue: c\nmodels: []\n", "f:1: the key 'endpoints' of this catalogue is missing"},
    {"endpoint: c\n",
     "f:1: this catalogue has an unknown key 'endpoint': did you mean 'endpoints'?"},
    {FULL "zzzzzzzz: 1\n", "f:11: this catalogue has an unknown key 'zzzzzzzz'"},
    {"catalogue: c\nmodels: []\ncatalogue: d\n",
     "f:3: key 'catalogue' stands twice; first in line 1"},
    /* endpoints */
    {HEAD "    time_out: 3s\n" MODEL, "f:5: this endpoint has an unknown key 'time_out': did you "
                                      "mean 'timeout'?"},
    {"catalogue: c\nmodels: []\nendpoints:\n  - version: 1\n",
     "f:4: the key 'name' of this endpoint"},
    {HEAD "    version: 0\n" MODEL, "f:5: key 'version': 0 is out of range"},
    {HEAD "    version: one\n" MODEL, "f:5: key 'version': 'one' is not a whole number"},
    {HEAD "    adapter: soap\n" MODEL, "f:5: key 'adapter': 'soap' is none of openai"},
    {HEAD "    max_in_flight: 100001\n" MODEL, "f:5: key 'max_in_flight': 100001 is out of range"},
    {HEAD "    timeout: 30\n" MODEL, "f:5: key 'timeout': '30' is not a duration"},
    {HEAD "    timeout: 2h\n" MODEL, "f:5: key 'timeout': 2h is out of range"},
    {HEAD "    timeout: 1000001us\n" MODEL, "f:3: timeouts are whole milliseconds"},
    {HEAD "    timeout: 2s\n    connect_timeout: 3s\n" MODEL,
     "f:6: key 'connect_timeout' is longer"},
    {HEAD "    send_ids: maybe\n" MODEL, "f:5: key 'send_ids': 'maybe' is neither true nor false"},
    {HEAD "  - name: e\n    base_url: http://i\n" MODEL,
     "f:5: endpoint 'e' version 1 stands twice"},
    {HEAD "  - name: e e\n    base_url: http://i\n" MODEL, "f:5: key 'name': only letters, digits"},
    {HEAD "  - name: e@2\n    base_url: http://i\n" MODEL, "f:5: key 'name': only letters, digits"},
    /* models and versions */
    {HEAD "models:\n  - name: m\n    versions: []\n", "f:7: model 'm' has no version"},
    {HEAD "models:\n  - name: m\n", "f:6: the key 'versions' of this model is missing"},
    {HEAD "models:\n  - nmae: m\n",
     "f:6: this model has an unknown key 'nmae': did you mean 'name'?"},
    {HEAD "models:\n  - {name: m@1, versions: []}\n", "f:6: key 'name': only letters"},
    {HEAD MODEL, "f:8: the key 'upstream_model' of this version is missing"},
    {FULL "        state: live\n", "f:11: key 'state': 'live' is none of test|approved"},
    {FULL "        context_tokens: -1\n", "f:11: key 'context_tokens': -1 is out of range"},
    {FULL "    current: w\n", "f:11: key 'current': model 'm' has no version 'w'"},
    {FULL "      - {version: v, upstream_model: u, endpoint: e}\n",
     "f:11: version 'v' of this model "
     "stands twice"},
    {FULL "      - {version: w, upstream_model: u, endpoint: e}\n", "f:6: model 'm' has several "
                                                                    "versions"},
    {FULL "      - {version: w, upstream_model: u, endpoint: x}\n",
     "f:11: there is no endpoint 'x'"},
    {FULL "      - {version: w, upstream_model: u, endpoint: e@2}\n", "f:11: there is no endpoint "
                                                                      "'e@2'"},
    {HEAD "  - {name: e, version: 2, base_url: 'http://i'}\n" MODEL "        upstream_model: u\n",
     "f:10: there are several versions of endpoint 'e': write 'e@2'"},
    {FULL "  - {name: m, versions: [{version: v, upstream_model: u, endpoint: e}]}\n",
     "f:11: model 'm' stands twice"},
    /* prices */
    {FULL "        prices: [{input_per_million_usd: 1}]\n", "f:11: the key 'from' of this price"},
    {FULL "        prices:\n          - from: 2025-02-30\n",
     "f:12: key 'from': '2025-02-30' is neither"},
    {FULL "        prices:\n          - from: +3d\n", "f:12: key 'from': '+3d' is neither a date"},
    {FULL "        prices: [{from: 2025-01-01,\n          per_request_usd: -1}]\n",
     "f:12: key 'per_request_usd': "},
    {FULL "        prices: [{from: 2025-01-01,\n          input_per_million_usd: 0.0000001}]\n",
     "f:12: key 'input_per_million_usd': "},
    {FULL "        prices: [{from: 2025-01-01,\n          output_per_million_usd: 1$}]\n",
     "f:12: key 'output_per_million_usd': "},
    {FULL "        prices:\n          - from: 2025-01-01\n          - from: 2025-01-01\n",
     "f:13: prices must be in order of 'from'"},
    {FULL "        prices:\n          - from: 2025-01-02\n          - from: 2025-01-01\n",
     "f:13: prices must be in order of 'from'"},
    {FULL "        prices: [{from: 2025-01-01, input_usd: 1}]\n",
     "f:11: this price has an unknown key"},
    /* defaults */
    {FULL "defaults:\n  - app: a\n", "f:12: the key 'model' of this default is missing"},
    {FULL "defaults:\n  - model: n\n", "f:12: there is no model 'n' in this file"},
    {FULL "defaults:\n  - model: m@v\n", "f:12: there is no model 'm@v' in this file"},
    {FULL "defaults:\n  - {app: '', model: m}\n", "f:12: key 'app' must not be empty"},
    {FULL "defaults:\n  - model: m\n  - {app: '*', task: '*', model: m}\n",
     "f:13: the default of app '*' and task '*' stands twice"},
    /* routes */
    {FULL "routes:\n  - model: n\n", "f:12: there is no model 'n' in this file"},
    {FULL "routes:\n  - {app: a}\n  - {app: a, task: '*', model: '*'}\n",
     "f:13: the route of app 'a', task '*' and model '*' stands twice"},
    {FULL "routes:\n  - {model: m}\n  - {model: m}\n",
     "f:13: the route of app '*', task '*' and model 'm' stands twice"},
    {FULL "routes:\n  - default: true\n",
     "f:12: a route for any model cannot be a default: say in 'model' which one serves"},
    {FULL "defaults:\n  - model: m\nroutes:\n  - {model: m, default: true}\n",
     "f:14: the default of app '*' and task '*' stands twice"},
    {FULL "routes:\n  - retry: hold\n",
     "f:12: key 'retry' must be a map of keys, and is a single value"},
    {FULL "routes:\n  - retry: {ambigous: hold}\n",
     "f:12: this retry has an unknown key 'ambigous': did you mean 'ambiguous'?"},
    {FULL "routes:\n  - retry: {ambiguous: never}\n", "f:12: key 'ambiguous': "},
    {FULL "routes:\n  - retry: {max_attempts: 101}\n", "f:12: key 'max_attempts': "},
    {FULL "routes:\n  - retry: {backoff_base: 2m}\n",
     "f:12: key 'backoff_base' is longer than 'backoff_cap'"},
    {FULL "routes:\n  - retry: {ambiguous_usd_per_day: -1}\n",
     "f:12: key 'ambiguous_usd_per_day': '-1' is negative"},
    {FULL "routes:\n  - retry:\n      ambiguous: hold\n      ambiguous_usd_per_day: 1\n",
     "f:14: key 'ambiguous_usd_per_day' bounds what `ambiguous: retry` costs, and this says "
     "'hold'"},
    /* larger contexts */
    {FULL "        larger_context: m\n",
     "f:11: key 'larger_context': there is no version 'm' in this file: write model@version"},
    {FULL "        larger_context: m@w\n", "f:11: key 'larger_context': there is no version 'm@w'"},
    {FULL "        larger_context: m@v\n",
     "f:11: key 'larger_context': 'm@v' is this version itself"},
    {FULL "        larger_context: n@1\n"
          "  - {name: n, versions: [{version: '1', upstream_model: u, endpoint: e,\n"
          "     state: blocked}]}\n",
     "f:11: key 'larger_context': 'n@1' is blocked: nothing is called there"},
    {FULL "        context_tokens: 8192\n        larger_context: n@1\n"
          "  - {name: n, versions: [{version: '1', upstream_model: u, endpoint: e,\n"
          "     context_tokens: 8192}]}\n",
     "f:12: key 'larger_context': 'n@1' takes 8192 tokens, and this one 8192"},
    {FULL "        larger_context: n@1\n"
          "  - {name: n, versions: [{version: '1', upstream_model: u, endpoint: e,\n"
          "     larger_context: m@v}]}\n",
     "f:11: key 'larger_context': the way from 'm@v' leads in a circle"},
    /* limits */
    {HEAD "    limits: 500\n" MODEL,
     "f:5: key 'limits' must be a map of keys, and is a single value"},
    {HEAD "    limits:\n      request_per_minute: 5\n" MODEL,
     "f:6: there is no limit 'request_per_minute': did you mean 'requests_per_minute'?"},
    {HEAD "    limits: {speed: 5}\n" MODEL, "f:5: there is no limit 'speed'"},
    {HEAD "    limits: {in_flight: 0}\n" MODEL,
     "f:5: key 'in_flight': a limit of 0 would let nothing through"},
    {HEAD "    limits: {in_flight: -1}\n" MODEL, "f:5: key 'in_flight': \"-1\" is no amount"},
    {HEAD "    limits: {in_flight: 2M}\n" MODEL, "f:5: key 'in_flight': 2M is more than a limit"},
    {HEAD "    limits: {in_flight: 1.5}\n" MODEL, "f:5: key 'in_flight': \"1.5\" is no amount"},
    {HEAD "    limits: {in_flight: [5]}\n" MODEL,
     "f:5: key 'in_flight' must be a single value, and is a list"},
    {FULL "        limits: {tokens_per_hour: 5}\n", "f:11: there is no limit 'tokens_per_hour'"},
    {FULL "apps:\n  - limits: {in_flight: 5}\n", "f:12: the key 'name' of this app is missing"},
    {FULL "apps:\n  - {name: a}\n  - {name: a}\n", "f:13: app 'a' stands twice"},
    {FULL "apps:\n  - {name: '*', limits: {in_flight: 5}}\n",
     "f:12: limits are those of one app: '*' is none"},
    {FULL "apps:\n  - {name: a, limits:\n    {in_flight: x}}\n",
     "f:13: key 'in_flight': \"x\" is no amount"},
};

static void test_mistakes(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(mistakes); i++) {
        struct catalogue *cat = NULL;
        struct err err = {""};
        enum rc rc = catalogue_parse(span_of(mistakes[i].yaml), "f", &cat, &err);
        if (rc != RC_REJECT || strncmp(err.text, mistakes[i].error, strlen(mistakes[i].error)) != 0)
            fail_msg("mistake %zu: wanted '%s', got '%s'", i, mistakes[i].error, err.text);
        assert_null(cat);
    }
}

static enum rc parse_with(const char *key, const char *value, struct err *err)
{
    char yaml[1024];
    bool url = strcmp(key, "base_url") == 0;
    snprintf(yaml, sizeof yaml,
             "catalogue: c\nendpoints:\n  - name: e\n    %s: '%s'\n    %s\n" MODEL
             "        upstream_model: u\n",
             key, value, url ? "adapter: openai" : "base_url: http://h");
    struct catalogue *cat = NULL;
    enum rc rc = catalogue_parse(span_of(yaml), "f", &cat, err);
    catalogue_free(cat);
    return rc;
}

static void test_urls(void **state)
{
    (void)state;
    static const char *const ok[] = {
        "http://h",
        "https://h",
        "https://a.b-c.example:1/x/y_z",
        "http://127.0.0.1:65535/",
        "http://[2001:db8::1]:80/v",
        "http://h/a%20b//",
        "http://model_server:80",
    };
    static const char *const wrong[] = {
        "h",
        "ftp://h",
        "HTTP://h",
        "http://",
        "http:///x",
        "http://:80",
        "http://h:0",
        "http://h:",
        "http://h:65536",
        "http://h:8a",
        "http://sesame@h",
        "http://u:sesame@h",
        "http://h/?sesame=1",
        "http://h#sesame",
        "http://h sesame",
        "http://h/sesame\\\\x",
        "http://.h",
        "http://-h",
        "http://[::1",
        "http://[]",
        "http://[::1]x",
        "http://h\xc3\xa9",
        "http://h,i",
        "${TEST_UNSET_VARIABLE}",
        "http://${TEST_EMPTY}",
        "http://${}",
        "http://${H",
        "http://${1}",
        "http://h:${TEST_WORD}",
    };
    setenv("TEST_EMPTY", "", 1);
    setenv("TEST_WORD", "sesame", 1);
    unsetenv("TEST_UNSET_VARIABLE");
    struct err err = {""};
    for (size_t i = 0; i < COUNT(ok); i++)
        if (parse_with("base_url", ok[i], &err) != RC_OK)
            fail_msg("%s: %s", ok[i], err.text);
    for (size_t i = 0; i < COUNT(wrong); i++) {
        if (parse_with("base_url", wrong[i], &err) != RC_REJECT)
            fail_msg("accepted: %s", wrong[i]);
        if (strncmp(err.text, "f:4: key 'base_url': ", 21) != 0 || strstr(err.text, "sesame"))
            fail_msg("%s: %s", wrong[i], err.text);
    }
    setenv("TEST_LONG", "https://eu", 1);
    assert_int_equal(parse_with("base_url", "${TEST_LONG}.example.com/${TEST_WORD}", &err), RC_OK);
}

/* Many clients' base URLs end in /v1, and so do people's habits. */
static void test_paths(void **state)
{
    static const struct {
        const char *base, *path, *below;
    } cases[] = {
        {"https://m", "/v1/chat/completions", "/v1/chat/completions"},
        {"https://m/v1", "/v1/chat/completions", "/chat/completions"},
        {"https://m/eu/v1", "/v1/embeddings", "/embeddings"},
        {"https://m/v1", "/chat/completions", "/chat/completions"},
        {"https://m/v1", "/v10/x", "/v10/x"},
        {"https://m/v1", "/v1", "/v1"},
        {"https://m/v2", "/v1/x", "/v1/x"},
        {"https://m/v1/x", "/v1/x", "/v1/x"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct span below = catalogue_path_below(span_of(cases[i].base), span_of(cases[i].path));
        assert_true(span_is(below, cases[i].below));
    }
}

static void test_credentials(void **state)
{
    (void)state;
    static const char *const ok[] = {"", "env:KEY", "env:_k9", "file:/run/secrets/key", "file:k"};
    static const char *const wrong[] = {
        "sk-sesame", "sesame",     "env:",         "env:sesame-1", "env:1sesame",
        "file:",     "Env:SESAME", "${TEST_WORD}", "env:SESAME ",
    };
    struct err err = {""};
    for (size_t i = 0; i < COUNT(ok); i++)
        if (parse_with("credential", ok[i], &err) != RC_OK)
            fail_msg("%s: %s", ok[i], err.text);
    for (size_t i = 0; i < COUNT(wrong); i++) {
        if (parse_with("credential", wrong[i], &err) != RC_REJECT)
            fail_msg("accepted: %s", wrong[i]);
        if (strncmp(err.text, "f:4: key 'credential': ", 23) != 0 || strcasestr(err.text, "sesame"))
            fail_msg("%s: %s", wrong[i], err.text);
    }
}

/* ---- limits --------------------------------------------------------------------------------- */

static const char limited[] =
    "catalogue: c\n"
    "endpoints:\n"
    "  - {name: e, base_url: 'http://h', limits: {requests_per_minute: 500, in_flight: 8}}\n"
    "  - {name: f, base_url: 'http://h'}\n"
    "  - {name: e, version: 2, base_url: 'http://h', limits: {tokens_per_minute: 200k}}\n"
    "models:\n"
    "  - {name: m, versions: [{version: v, upstream_model: u, endpoint: e@1, limits: {}}]}\n"
    "  - name: n\n"
    "    versions: [{version: v, upstream_model: u, endpoint: f,\n"
    "                limits: {input_tokens_per_minute: '1_000', output_tokens_per_minute: 1}}]\n"
    "apps:\n"
    "  - {name: other}\n"
    "  - {name: nightly, limits: {tokens_per_day: 14400000M}}\n";

static void test_limits(void **state)
{
    static const struct {
        const char *key;
        int64_t amount;
        int scope, dimension;
    } want[] = {
        {"e@1", 500, LIMIT_ENDPOINT, LIMIT_REQUESTS_PER_MINUTE},
        {"e@1", 8, LIMIT_ENDPOINT, LIMIT_IN_FLIGHT},
        {"e@2", 200000, LIMIT_ENDPOINT, LIMIT_TOKENS_PER_MINUTE},
        {"n@v", 1000, LIMIT_MODEL, LIMIT_INPUT_TOKENS_PER_MINUTE},
        {"n@v", 1, LIMIT_MODEL, LIMIT_OUTPUT_TOKENS_PER_MINUTE},
        {"nightly", LIMIT_PER_DAY_MAX, LIMIT_APP, LIMIT_TOKENS_PER_DAY},
    };
    struct catalogue *cat = NULL;
    struct cat_limit_walk w = {0};
    struct err err = {""};
    char key[CATALOGUE_LIMIT_KEY_BYTES];
    (void)state;
    if (catalogue_parse(span_of(limited), "f", &cat, &err) != RC_OK)
        fail_msg("%s", err.text);
    for (size_t i = 0; i < COUNT(want); i++) {
        assert_true(catalogue_next_limit(cat, &w));
        assert_string_equal(catalogue_limit_key(cat, &w, key), want[i].key);
        assert_int_equal(w.scope, want[i].scope);
        assert_int_equal(w.dimension, want[i].dimension);
        assert_int_equal(w.amount, want[i].amount);
    }
    assert_false(catalogue_next_limit(cat, &w));
    assert_int_equal(cat->app_count, 2);
    assert_int_equal(cat->endpoints[0].limits.amount[LIMIT_TOKENS_PER_MINUTE], 0);
    catalogue_free(cat);
}

/* The keys of a map of limits are the dimensions, in their order. */
static void test_limit_keys(void **state)
{
    (void)state;
    for (int i = 1; i < LIMIT_DIMENSION_END; i++)
        assert_string_equal(catalogue_limit_keys[i - 1].name, limit_dimension_name(i));
    assert_null(catalogue_limit_keys[LIMIT_DIMENSION_END - 1].name);
}

/* ---- files --------------------------------------------------------------------------------- */

static void test_files(void **state)
{
    (void)state;
    struct catalogue *cat = NULL;
    struct err err = {""};
    assert_int_equal(catalogue_load("/nonexistent/c.yaml", &cat, &err), RC_REJECT);
    assert_string_equal(err.text,
                        "/nonexistent/c.yaml: cannot be opened: No such file or directory");
    assert_int_equal(catalogue_load("/", &cat, &err), RC_REJECT);
    setenv("MODEL_URL", "http://127.0.0.1:9", 1);
    if (catalogue_load("deploy/local/catalogue.example.yaml", &cat, &err) != RC_OK)
        fail_msg("%s", err.text);
    struct span none = {NULL, 0};
    assert_string_equal(catalogue_route(cat, none, SPAN_LIT("app"), none)->label, "small@1");
    assert_string_equal(catalogue_route(cat, SPAN_LIT("large"), none, none)->label,
                        "large@2025-11");
    catalogue_free(cat);
}

static void test_too_large(void **state)
{
    (void)state;
    size_t n = CATALOGUE_BYTES_MAX + 1;
    char *text = malloc(n);
    memset(text, '\n', n);
    struct catalogue *cat = NULL;
    struct err err = {""};
    assert_int_equal(catalogue_parse((struct span){text, n}, "f", &cat, &err), RC_REJECT);
    assert_string_equal(err.text, "f: larger than 4194304 bytes");
    char path[] = "/tmp/inferq-catalogue-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, n), (ssize_t)n);
    close(fd);
    assert_int_equal(catalogue_load(path, &cat, &err), RC_REJECT);
    assert_non_null(strstr(err.text, "larger than 4194304 bytes"));
    unlink(path);
    free(text);
}

/* Aliases of aliases: 9^8 entries from a few hundred bytes. */
static void test_bomb(void **state)
{
    (void)state;
    char yaml[1024] = "catalogue: c\nx0: &x0 [a]\n";
    size_t n = strlen(yaml);
    for (int i = 1; i < 9; i++)
        n += (size_t)snprintf(yaml + n, sizeof yaml - n,
                              "x%d: &x%d [*x%d,*x%d,*x%d,*x%d,*x%d,*x%d,*x%d,*x%d,*x%d]\n", i, i,
                              i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
    struct catalogue *cat = NULL;
    struct err err = {""};
    assert_int_equal(catalogue_parse((struct span){yaml, n}, "f", &cat, &err), RC_REJECT);
    assert_non_null(strstr(err.text, "too many entries"));
}

/* ---- documentation --------------------------------------------------------------------------- */

static char *read_text(const char *path)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    char *text = calloc(1, 1 << 16);
    assert_true(fread(text, 1, (1 << 16) - 1, file) > 0);
    fclose(file);
    return text;
}

/* The sections follow one another in the order of the tables, so each row is searched for behind
 * the one before. */
static void test_documentation(void **state)
{
    (void)state;
    char *doc = read_text("schemas/catalogue.md");
    const char *at = doc;
    for (size_t i = 0; i < CATALOGUE_SECTION_COUNT; i++) {
        for (const struct config_key *key = catalogue_sections[i].keys; key->name; key++) {
            char start[128], end[512];
            bool dflt = key->deflt && *key->deflt;
            snprintf(start, sizeof start, "\n| `%s` | ", key->name);
            snprintf(end, sizeof end, " | %s%s%s | %s |\n", dflt ? "`" : "",
                     !key->deflt ? "required"
                     : dflt      ? key->deflt
                                 : "none",
                     dflt ? "`" : "", key->help);
            at = strstr(at, start);
            if (!at) {
                fail_msg("no row for key '%s' of %s", key->name, catalogue_sections[i].title);
                return;
            }
            const char *line_end = at + 1 + strcspn(at + 1, "\n");
            const char *found = strstr(at, end);
            if (!found || found > line_end)
                fail_msg("key '%s' of %s: the row should end in:%s", key->name,
                         catalogue_sections[i].title, end);
        }
    }
    free(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_endpoints),      cmocka_unit_test(test_models),
        cmocka_unit_test(test_prices),         cmocka_unit_test(test_routes),
        cmocka_unit_test(test_default_of_all), cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_urls),           cmocka_unit_test(test_paths),
        cmocka_unit_test(test_credentials),    cmocka_unit_test(test_files),
        cmocka_unit_test(test_too_large),      cmocka_unit_test(test_retry),
        cmocka_unit_test(test_bomb),           cmocka_unit_test(test_limits),
        cmocka_unit_test(test_limit_keys),     cmocka_unit_test(test_documentation),
        cmocka_unit_test(test_shares),         cmocka_unit_test(test_budgets_and_larger),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * test_catalogue_merge.c - a catalogue file read again over the one in force: what becomes of each
 * kind of change, which entries keep their places, what is refused; each allocation failing in
 * turn.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/catalogue.h"
#include "tests/unit/no_memory.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* The parts of a file that the tests vary; NULL: as it was. */
struct file {
    const char *endpoints, *current, *state, *extra_version, *prices, *extra_model, *rest;
};

#define ENDPOINT(name) "  - {name: " name ", base_url: 'http://" name "'}\n"
static const char both_endpoints[] = ENDPOINT("a") ENDPOINT("b");
static const char price[] = "{from: 2025-01-01, input_per_million_usd: 1}";
static const char model_b[] =
    "  - {name: b, versions: [{version: '1', upstream_model: ub, endpoint: b}]}\n";
static const char rest[] = "defaults: [{model: a}]\n"
                           "routes: [{app: x, retry: {max_attempts: 3}}]\n";

static const char * or (const char *text, const char *otherwise)
{
    return text ? text : otherwise;
}

static struct catalogue *parse(const struct file *f)
{
    char yaml[2048];
    struct catalogue *cat = NULL;
    struct err err = {""};
    (void)snprintf(yaml, sizeof yaml,
                   "catalogue: c\n"
                   "endpoints:\n%s"
                   "models:\n"
                   "  - name: a\n"
                   "    owner: team\n"
                   "    current: '%s'\n"
                   "    versions:\n"
                   "      - version: '1'\n"
                   "        upstream_model: ua\n"
                   "        endpoint: a@1\n"
                   "        state: %s\n"
                   "        prices: [%s]\n%s%s%s",
                   or (f->endpoints, both_endpoints), or (f->current, "1"),
                   or (f->state, "approved"), or (f->prices, price), or (f->extra_version, ""),
                   or (f->extra_model, model_b), or (f->rest, rest));
    if (catalogue_parse(span_of(yaml), "f", &cat, &err) != RC_OK)
        fail_msg("%s\n%s", err.text, yaml);
    return cat;
}

/* In force, with the ids that the tables gave. */
static struct catalogue *first(void)
{
    struct catalogue *cat = parse(&(struct file){0});
    for (int i = 0; i < cat->endpoint_count; i++)
        cat->endpoints[i].db_id = 10 + i;
    for (int i = 0; i < cat->version_count; i++)
        cat->versions[i].db_id = 20 + i;
    return cat;
}

/* Every index names its own place; every entry that `held` has is where it was. */
static void check_places(const struct catalogue *held, const struct catalogue *next)
{
    for (int i = 0; i < next->endpoint_count; i++)
        assert_int_equal(next->endpoints[i].index, i);
    for (int i = 0; i < next->version_count; i++)
        assert_int_equal(next->versions[i].index, i);
    for (int i = 0; i < held->endpoint_count; i++) {
        assert_string_equal(next->endpoints[i].name, held->endpoints[i].name);
        assert_int_equal(next->endpoints[i].version, held->endpoints[i].version);
        assert_int_equal(next->endpoints[i].db_id, held->endpoints[i].db_id);
    }
    for (int i = 0; i < held->version_count; i++) {
        assert_string_equal(next->versions[i].label, held->versions[i].label);
        assert_int_equal(next->versions[i].endpoint, held->versions[i].endpoint);
        assert_int_equal(next->versions[i].db_id, held->versions[i].db_id);
    }
}

static const char *label_for(const struct catalogue *cat, const char *model, const char *app)
{
    struct span name = model ? span_of(model) : (struct span){NULL, 0};
    const struct cat_model_version *mv = catalogue_route(cat, name, span_of(app), SPAN_LIT("t"));
    return mv ? mv->label : "none";
}

/* ---- what becomes of each change ------------------------------------------------------------- */

struct change {
    const char *what;
    struct file file;
    int endpoints, versions; /* afterwards, with those that left */
    int endpoints_left, versions_left;
    const char *a, *b, *pinned, *unnamed; /* who serves a, b, a@1, and a body without a model */
    int attempts;                         /* by the route of app x */
    int moved_off;                        /* endpoints, one bit each */
};

#define A2_AT(endpoint) "      - {version: '2', upstream_model: ua2, endpoint: " endpoint "}\n"

static const struct change changes[] = {
    {"the same", {0}, 2, 2, 0, 0, "a@1", "b@1", "a@1", "a@1", 3, 0},
    {"the order",
     {.endpoints = ENDPOINT("b") ENDPOINT("a")},
     2,
     2,
     0,
     0,
     "a@1",
     "b@1",
     "a@1",
     "a@1",
     3,
     0},
    {"an endpoint before the others",
     {.endpoints = ENDPOINT("0") ENDPOINT("a") ENDPOINT("b")},
     3,
     2,
     0,
     0,
     "a@1",
     "b@1",
     "a@1",
     "a@1",
     3,
     0},
    {"a version", {.extra_version = A2_AT("b")}, 2, 3, 0, 0, "a@1", "b@1", "a@1", "a@1", 3, 0},
    {"another is current",
     {.extra_version = A2_AT("b"), .current = "2"},
     2,
     3,
     0,
     0,
     "a@2",
     "b@1",
     "a@1",
     "a@2",
     3,
     1},
    {"one at a new endpoint",
     {.endpoints = ENDPOINT("0") ENDPOINT("a") ENDPOINT("b"),
      .extra_version = A2_AT("0"),
      .current = "2"},
     3,
     3,
     0,
     0,
     "a@2",
     "b@1",
     "a@1",
     "a@2",
     3,
     1},
    {"a state", {.state = "retired"}, 2, 2, 0, 0, "a@1", "b@1", "a@1", "a@1", 3, 1},
    {"a state that serves as well",
     {.state = "deprecated"},
     2,
     2,
     0,
     0,
     "a@1",
     "b@1",
     "a@1",
     "a@1",
     3,
     0},
    {"a price",
     {.prices = "{from: 2025-01-01, input_per_million_usd: 1}, {from: 2026-01-01}"},
     2,
     2,
     0,
     0,
     "a@1",
     "b@1",
     "a@1",
     "a@1",
     3,
     0},
    {"no price any more", {.prices = ""}, 2, 2, 0, 0, "a@1", "b@1", "a@1", "a@1", 3, 0},
    {"a default",
     {.rest = "defaults: [{model: b}]\n"},
     2,
     2,
     0,
     0,
     "a@1",
     "b@1",
     "a@1",
     "b@1",
     0,
     0},
    {"a route more",
     {.rest = "routes: [{app: x, model: a, retry: {max_attempts: 7}}, "
              "{app: x, retry: {max_attempts: 3}}]\n"},
     2,
     2,
     0,
     0,
     "a@1",
     "b@1",
     "a@1",
     "none",
     7,
     0},
    {"no routes", {.rest = ""}, 2, 2, 0, 0, "a@1", "b@1", "a@1", "none", 0, 0},
    {"a model leaves", {.extra_model = ""}, 2, 2, 0, 1, "a@1", "none", "a@1", "a@1", 3, 2},
    {"its endpoint, too",
     {.endpoints = ENDPOINT("a"), .extra_model = ""},
     2,
     2,
     1,
     1,
     "a@1",
     "none",
     "a@1",
     "a@1",
     3,
     2},
};

static int bits_moved_off(const struct catalogue *held, const struct catalogue *next)
{
    int bits = 0;
    for (int i = 0; i < held->endpoint_count; i++)
        bits |= catalogue_moved_off(held, next, i) << i;
    return bits;
}

static void check_change(const struct change *c)
{
    struct catalogue *held = first(), *next = parse(&c->file);
    struct err err = {""};
    int left = 0, versions_left = 0;
    print_message("%s\n", c->what);
    if (catalogue_merge(held, next, &err) != RC_OK)
        fail_msg("%s", err.text);
    check_places(held, next);
    assert_int_equal(next->endpoint_count, c->endpoints);
    assert_int_equal(next->version_count, c->versions);
    for (int i = 0; i < next->endpoint_count; i++)
        left += next->endpoints[i].left;
    for (int i = 0; i < next->version_count; i++)
        versions_left += next->versions[i].left;
    assert_int_equal(left, c->endpoints_left);
    assert_int_equal(versions_left, c->versions_left);
    assert_string_equal(label_for(next, "a", "x"), c->a);
    assert_string_equal(label_for(next, "b", "x"), c->b);
    assert_string_equal(label_for(next, "a@1", "x"), c->pinned);
    assert_string_equal(label_for(next, NULL, "x"), c->unnamed);
    assert_int_equal(
        catalogue_retry(next, &next->versions[0], SPAN_LIT("x"), SPAN_LIT("t"))->max_attempts,
        c->attempts);
    assert_int_equal(bits_moved_off(held, next), c->moved_off);
    catalogue_free(held);
    catalogue_free(next);
}

static void test_changes(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(changes); i++)
        check_change(&changes[i]);
}

static void test_state_and_prices(void **state)
{
    (void)state;
    struct catalogue *held = first();
    struct catalogue *next =
        parse(&(struct file){.state = "blocked",
                             .prices = "{from: 2025-01-01, input_per_million_usd: 1}, "
                                       "{from: 2026-01-01, input_per_million_usd: 2}"});
    assert_int_equal(catalogue_merge(held, next, NULL), RC_OK);
    assert_int_equal(next->versions[0].state, VERSION_BLOCKED);
    assert_int_equal(next->versions[0].price_count, 2);
    assert_int_equal(next->versions[0].prices[1].price.input_pusd, 2000000);
    assert_int_equal(held->versions[0].state, VERSION_APPROVED); /* jobs may still look at it */
    assert_int_equal(held->versions[0].price_count, 1);
    catalogue_free(held);
    catalogue_free(next);
}

/* What left is kept for whoever uses it, pinned jobs included, of which there come no more; and is
 * what it was when the file has it again. */
static void test_left_and_back(void **state)
{
    (void)state;
    struct catalogue *held = first();
    struct catalogue *without =
        parse(&(struct file){.endpoints = ENDPOINT("a"), .extra_model = ""});
    assert_int_equal(catalogue_merge(held, without, NULL), RC_OK);
    assert_string_equal(without->endpoints[1].base_url, "http://b");
    assert_string_equal(without->versions[1].upstream_model, "ub");
    assert_string_equal(label_for(without, "b@1", "x"), "none");
    struct catalogue *again = parse(&(struct file){.extra_version = A2_AT("b")});
    assert_int_equal(catalogue_merge(without, again, NULL), RC_OK);
    check_places(without, again);
    check_places(held, again);
    assert_false(again->endpoints[1].left || again->versions[1].left);
    assert_string_equal(label_for(again, "b", "x"), "b@1");
    assert_int_equal(again->version_count, 3);
    struct catalogue *other =
        parse(&(struct file){.endpoints = ENDPOINT("a") "  - {name: b, base_url: 'http://x'}\n"});
    assert_int_equal(catalogue_merge(without, other, NULL), RC_REJECT); /* also of what left */
    catalogue_free(held);
    catalogue_free(without);
    catalogue_free(again);
    catalogue_free(other);
}

/* ---- what is refused ------------------------------------------------------------------------- */

static void test_immutable(void **state)
{
    (void)state;
    static const struct {
        struct file file;
        const char *says;
    } refused[] = {
        {{.endpoints = ENDPOINT("a") "  - {name: b, base_url: 'http://other'}\n"},
         "endpoint 'b' version 1 was applied before with another content"},
        {{.endpoints = ENDPOINT("a") "  - {name: b, base_url: 'http://b', send_ids: true}\n"},
         "give the changed one version 2"},
        {{.extra_model = "  - {name: b, versions: [{version: '1', upstream_model: other, "
                         "endpoint: b}]}\n"},
         "model version 'b@1' was applied before with another content"},
        {{.extra_model = "  - {name: b, versions: [{version: '1', upstream_model: ub, "
                         "endpoint: a}]}\n"},
         "model version 'b@1' was applied before with another content"},
        {{.extra_model = "  - {name: b, versions: [{version: '1', upstream_model: ub, "
                         "endpoint: b, max_output_tokens: 9}]}\n"},
         "model version 'b@1' was applied before with another content"},
        {{.extra_model = "  - {name: b, provider: p, versions: [{version: '1', "
                         "upstream_model: ub, endpoint: b}]}\n"},
         "model 'b' was applied before with another provider or owner"},
        {{.prices = "{from: 2025-01-01, input_per_million_usd: 2}"},
         "price 1 of 'a@1' was applied before with other amounts"},
    };
    for (size_t i = 0; i < COUNT(refused); i++) {
        struct catalogue *held = first(), *next = parse(&refused[i].file);
        struct err err = {""};
        assert_int_equal(catalogue_merge(held, next, &err), RC_REJECT);
        if (!strstr(err.text, refused[i].says))
            fail_msg("'%s' is not in '%s'", refused[i].says, err.text);
        assert_int_equal(next->endpoint_count, 2); /* as it was */
        catalogue_free(held);
        catalogue_free(next);
    }
}

/* A file that is new through and through each time: in the end only a restart forgets the old. */
static void test_too_many_left(void **state)
{
    (void)state;
    struct catalogue *held = first();
    struct err err = {""};
    enum rc rc = RC_OK;
    int rounds = 0;
    for (; rc == RC_OK; rounds++) {
        char *yaml = NULL;
        size_t n = 0;
        FILE *out = open_memstream(&yaml, &n);
        assert_non_null(out);
        (void)fprintf(out, "catalogue: c\nendpoints:\n");
        for (int i = 0; i < 1000; i++)
            (void)fprintf(out, "  - {name: e%d-%d, base_url: 'http://e'}\n", rounds, i);
        (void)fprintf(out, "models: []\n");
        (void)fclose(out);
        struct catalogue *next = NULL;
        assert_int_equal(catalogue_parse((struct span){yaml, n}, "f", &next, &err), RC_OK);
        rc = catalogue_merge(held, next, &err);
        catalogue_free(rc == RC_OK ? held : next);
        held = rc == RC_OK ? next : held;
        free(yaml);
    }
    assert_int_equal(rc, RC_REJECT);
    assert_non_null(strstr(err.text, "restart"));
    assert_int_equal(rounds, 5);
    catalogue_free(held);
}

/* "key dimension amount" each: what the file says now, and nothing of what left it. */
static void expect_limits(const struct catalogue *cat, const char *want)
{
    struct cat_limit_walk w = {0};
    char got[256] = "", key[CATALOGUE_LIMIT_KEY_BYTES];
    size_t n = 0;
    while (catalogue_next_limit(cat, &w))
        n += (size_t)snprintf(got + n, sizeof got - n, "%s%s %d %d", n ? ", " : "",
                              catalogue_limit_key(cat, &w, key), w.dimension, (int)w.amount);
    assert_string_equal(got, want);
}

#define LIMITED(name, n) \
    "  - {name: " name ", base_url: 'http://" name "', limits: {in_flight: " n "}}\n"

static void test_limits_are_the_files(void **state)
{
    (void)state;
    struct catalogue *held = parse(&(struct file){
        .endpoints = LIMITED("a", "5") LIMITED("b", "6"),
        .rest = "apps: [{name: x, limits: {in_flight: 7}}]\n",
    });
    struct catalogue *next = parse(&(struct file){
        .endpoints = LIMITED("c", "1") LIMITED("a", "8"),
        .extra_model = "",
        .rest = "apps: [{name: y, limits: {in_flight: 9}}]\n",
    });
    expect_limits(held, "a@1 6 5, b@1 6 6, x 6 7");
    assert_int_equal(catalogue_merge(held, next, NULL), RC_OK);
    assert_int_equal(next->endpoint_count, 3);
    expect_limits(next, "a@1 6 8, c@1 6 1, y 6 9");
    catalogue_free(next);
    catalogue_free(held);
}

/* Which version takes what is too long is the file's to say, wherever both stand now. */
static void test_larger_is_the_files(void **state)
{
    (void)state;
    struct catalogue *held = first();
    struct catalogue *next = parse(&(struct file){
        .prices = "",
        .extra_model = "        larger_context: c@1\n"
                       "  - {name: c, versions: [{version: '1', upstream_model: u, endpoint: a}]}\n"
                       "  - {name: b, versions: [{version: '1', upstream_model: ub, endpoint: b,\n"
                       "     larger_context: a@1}]}\n"});
    struct err err = {""};
    if (catalogue_merge(held, next, &err) != RC_OK)
        fail_msg("%s", err.text);
    check_places(held, next);
    assert_string_equal(next->versions[next->versions[0].larger - 1].label, "c@1");
    assert_string_equal(next->versions[next->versions[1].larger - 1].label, "a@1");
    struct catalogue *again = parse(&(struct file){0});
    assert_int_equal(catalogue_merge(next, again, &err), RC_OK);
    assert_int_equal(again->versions[0].larger, 0);
    assert_int_equal(again->versions[1].larger, 0);
    catalogue_free(again);
    catalogue_free(next);
    catalogue_free(held);
}

static void test_memory_runs_out(void **state)
{
    (void)state;
    struct catalogue *held = first();
    bool failed = true;
    int n = 0;
    for (; failed; n++) {
        struct catalogue *next =
            parse(&(struct file){.endpoints = ENDPOINT("c") ENDPOINT("a"), .extra_model = ""});
        no_memory_at(n);
        enum rc rc = catalogue_merge(held, next, NULL);
        failed = no_memory_over();
        assert_int_equal(rc, failed ? RC_NOMEM : RC_OK);
        assert_int_equal(next->endpoint_count, failed ? 2 : 3);
        assert_int_equal(next->endpoints[0].index, 0);
        assert_string_equal(next->endpoints[0].name, failed ? "c" : "a");
        catalogue_free(next);
    }
    assert_true(n > 10);
    catalogue_free(held);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_changes),
        cmocka_unit_test(test_state_and_prices),
        cmocka_unit_test(test_left_and_back),
        cmocka_unit_test(test_immutable),
        cmocka_unit_test(test_too_many_left),
        cmocka_unit_test(test_limits_are_the_files),
        cmocka_unit_test(test_larger_is_the_files),
        cmocka_unit_test(test_memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

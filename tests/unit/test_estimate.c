/*
 * test_estimate.c - the dry run's sums: costs, what is unknown, and that unknown is never 0.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "producer/estimate.h"

static void test_cost(void **state)
{
    (void)state;
    const struct price price = {.input_pusd = 2000,
                                .cached_pusd = -1,
                                .output_pusd = 6000,
                                .reasoning_pusd = -1,
                                .request_pusd = 500};
    assert_int_equal(estimate_cost_nusd(&price, 10, 1000, 100), 2000 + 600 + 5);
    assert_int_equal(estimate_cost_nusd(&price, 1, 0, 0), 1); /* half a nano-USD, rounded up */
    struct price unknown = price;
    unknown.output_pusd = -1;
    assert_int_equal(estimate_cost_nusd(&unknown, 10, 1000, 100), -1);
    assert_int_equal(estimate_cost_nusd(&price, INT64_MAX, 1, 1), -1);
    assert_int_equal(estimate_cost_nusd(&price, 1, INT64_MAX, INT64_MAX), -1);
}

/* "small" is priced, "bare" is not, the default is "small", "broken" cannot be asked. */
static enum rc look_up(void *arg, struct span model, bool *ret_found, struct batch_model *ret_model,
                       struct err *err)
{
    (void)arg;
    if (model.p && span_is(model, "broken"))
        return err_set(err, RC_RETRY, "nobody home");
    *ret_found = !model.p || span_is(model, "small") || span_is(model, "bare");
    *ret_model = (struct batch_model){.label = "small@1",
                                      .max_output_tokens = 1000,
                                      .priced = !model.p || span_is(model, "small"),
                                      .price = {1000, -1, 1000, -1, 0}};
    return RC_OK;
}

static char *printed(const struct estimate *e)
{
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);
    assert_non_null(out);
    estimate_print(e, look_up, NULL, out);
    fclose(out);
    return text;
}

static void add(struct estimate *e, const char *model, int64_t limit)
{
    const struct draft draft = {.custom_id = SPAN_LIT("c\n1"),
                                .url = SPAN_LIT("/v1/x"),
                                .body = SPAN_LIT("{\"input\":\"0123456789\"}"), /* 22: 6 tokens */
                                .model = span_of(model),
                                .max_output_tokens = limit};
    estimate_add(e, &draft);
}

static void test_priced(void **state)
{
    (void)state;
    struct estimate *e = estimate_new();
    add(e, "small", 10);
    add(e, "small", -1); /* the model's own limit */
    add(e, NULL, 10);
    char *text = printed(e);
    assert_non_null(strstr(text, "jobs: 3, bodies: 66 bytes"));
    assert_non_null(strstr(text, " 1010 "));      /* 10 + 1000 */
    assert_non_null(strstr(text, "0.000001022")); /* 12 + 1010 tokens of a nano-USD each */
    assert_non_null(strstr(text, "cost at most, one call a job: 0.000001038"));
    assert_non_null(strstr(text, "c 1  /v1/x")); /* control bytes do not reach the terminal */
    free(text);
    estimate_free(e);
}

static void test_unknown(void **state)
{
    static const struct {
        const char *model, *why;
    } cases[] = {
        {"bare", "no price is in force"},
        {"strange", "the catalogue has no such model"},
        {"broken", "nobody home"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct estimate *e = estimate_new();
        add(e, "small", 10);
        add(e, cases[i].model, 10);
        char *text = printed(e);
        assert_non_null(strstr(text, cases[i].why));
        assert_non_null(strstr(text, "cost at most, one call a job: unknown"));
        free(text);
        estimate_free(e);
    }
}

/* More models than rows: the rest is counted together, and has no price. */
static void test_many_models(void **state)
{
    (void)state;
    struct estimate *e = estimate_new();
    for (int i = 0; i < 3 * ESTIMATE_MODELS_MAX; i++) {
        char name[16];
        snprintf(name, sizeof name, "m%d", i);
        add(e, name, 1);
    }
    char *text = printed(e);
    assert_non_null(strstr(text, "jobs: 192,"));
    char *rest = strstr(text, "(other models)");
    assert_non_null(rest);
    assert_int_equal(strtol(rest + strlen("(other models)"), NULL, 10), 128);
    free(text);
    estimate_free(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cost),
        cmocka_unit_test(test_priced),
        cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_many_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

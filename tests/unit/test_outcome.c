/*
 * test_outcome.c - classes of faults, statuses and error bodies; costs; decisions; and that
 * schemas/errors.md shows the table that is in force.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/utf8.h"
#include "worker/outcome.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static const int64_t S = 1000 * 1000, NOW_MS = INT64_C(1795000000000);

static struct outcome classify(int status, const char *body)
{
    struct http_facts facts = {.status = status, .body = span_of(body)};
    struct outcome o;
    outcome_init(&o);
    outcome_classify(&facts, NOW_MS, &o);
    return o;
}

/* ---- classes --------------------------------------------------------------------------------- */

static void test_faults(void **state)
{
    (void)state;
    static const struct {
        enum http_fault fault;
        enum class class;
        bool ours;
    } rows[] = {
        {HTTP_FAULT_UNSENT, CLASS_UNSENT, false},
        {HTTP_FAULT_TLS_CONFIG, CLASS_TLS_CONFIG, false},
        {HTTP_FAULT_GATE, CLASS_UNSENT, true},
        {HTTP_FAULT_LOCAL, CLASS_UNSENT, true},
        {HTTP_FAULT_SENT, CLASS_AMBIGUOUS, false},
        {HTTP_FAULT_TIMEOUT, CLASS_AMBIGUOUS, false},
        {HTTP_FAULT_ABORTED, CLASS_ABORTED, false},
        {HTTP_FAULT_OVERSIZED, CLASS_BAD_REPLY, false},
        {HTTP_FAULT_NONE, CLASS_AMBIGUOUS, false}, /* no status either: nothing came */
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct http_facts facts = {.fault = rows[i].fault, .curl_code = 56, .request_id = "req-1"};
        struct outcome o;
        outcome_init(&o);
        outcome_classify(&facts, NOW_MS, &o);
        assert_int_equal(o.class, rows[i].class);
        assert_int_equal(o.ours, rows[i].ours);
        assert_int_equal(o.curl_code, 56);
        assert_string_equal(o.request_id, "req-1");
        assert_non_null(strstr(o.error, "curl code 56"));
        assert_int_equal(o.retry_after_us, -1);
        outcome_done(&o);
    }
}

static void test_statuses(void **state)
{
    (void)state;
    static const struct {
        int status;
        enum class class;
    } rows[] = {
        {200, CLASS_OK},
        {201, CLASS_OK},
        {299, CLASS_OK},
        {400, CLASS_INVALID},
        {401, CLASS_CREDENTIAL},
        {402, CLASS_BILLING},
        {403, CLASS_CREDENTIAL},
        {404, CLASS_NO_UPSTREAM_MODEL},
        {408, CLASS_CONFLICT},
        {409, CLASS_CONFLICT},
        {413, CLASS_INVALID},
        {422, CLASS_INVALID},
        {429, CLASS_THROTTLED},
        {500, CLASS_SERVER_ERROR},
        {502, CLASS_AMBIGUOUS},
        {503, CLASS_OVERLOADED},
        {504, CLASS_AMBIGUOUS},
        {520, CLASS_AMBIGUOUS},
        {522, CLASS_OVERLOADED},
        {524, CLASS_AMBIGUOUS},
        {529, CLASS_OVERLOADED},
        {100, CLASS_UNKNOWN_STATUS},
        {302, CLASS_UNKNOWN_STATUS},
        {418, CLASS_UNKNOWN_STATUS},
        {501, CLASS_UNKNOWN_STATUS},
        {999, CLASS_UNKNOWN_STATUS},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct outcome o = classify(rows[i].status, "");
        if (o.class != rows[i].class)
            fail_msg("%d: %s", rows[i].status, class_name(o.class));
        assert_int_equal(o.http_status, rows[i].status);
        assert_true(!o.error == (o.class == CLASS_OK));
        outcome_done(&o);
    }
}

/* Shapes of error bodies, and what they say beyond their status. */
static void test_bodies(void **state)
{
    (void)state;
    static const struct {
        int status;
        const char *body;
        enum class class;
        const char *error;
    } rows[] = {
        /* OpenAI's */
        {400,
         "{\"error\":{\"message\":\"This model's maximum context length is 8192 tokens.\",\"type\":"
         "\"invalid_request_error\",\"param\":\"messages\",\"code\":\"context_length_exceeded\"}}",
         CLASS_CONTEXT_TOO_LONG,
         "HTTP 400 context_length_exceeded: This model's maximum context length is 8192 tokens."},
        {400,
         "{\"error\":{\"message\":\"bad n\",\"type\":\"invalid_request_error\",\"code\":null}}",
         CLASS_INVALID, "HTTP 400 invalid_request_error: bad n"},
        {429,
         "{\"error\":{\"message\":\"You exceeded your current quota\",\"type\":"
         "\"insufficient_quota\",\"code\":\"insufficient_quota\"}}",
         CLASS_BILLING, "HTTP 429 insufficient_quota: You exceeded your current quota"},
        {429, "{\"error\":{\"message\":\"slow down\",\"code\":\"rate_limit_exceeded\"}}",
         CLASS_THROTTLED, "HTTP 429 rate_limit_exceeded: slow down"},
        {404,
         "{\"error\":{\"message\":\"The model `x` does not exist\",\"code\":\"model_not_found\"}}",
         CLASS_NO_UPSTREAM_MODEL, NULL},
        {400, "{\"error\":{\"message\":\"Unknown model\",\"code\":\"model_not_found\"}}",
         CLASS_NO_UPSTREAM_MODEL, NULL},
        {403,
         "{\"error\":{\"message\":\"Project has no access to x\",\"code\":\"model_not_found\"}}",
         CLASS_NO_UPSTREAM_MODEL, NULL},
        {400, "{\"error\":{\"message\":\"x\",\"code\":\"content_filter\"}}", CLASS_REFUSED, NULL},
        {400, "{\"error\":{\"message\":\"x\",\"code\":\"invalid_api_key\"}}", CLASS_CREDENTIAL,
         NULL},
        {401, "{\"error\":{\"message\":\"x\",\"code\":\"insufficient_quota\"}}", CLASS_BILLING,
         NULL},
        /* with strings for null and numbers */
        {400, "{\"error\":{\"message\":\"bad\",\"type\":\"None\",\"code\":\"null\"}}",
         CLASS_INVALID, "HTTP 400: bad"},
        {400, "{\"error\":{\"message\":\"bad\",\"type\":\"BadRequestError\",\"code\":400}}",
         CLASS_INVALID, "HTTP 400 BadRequestError: bad"},
        {400,
         "{\"object\":\"error\",\"message\":\"too many tokens\",\"type\":\"BadRequestError\","
         "\"param\":null,\"code\":40303}",
         CLASS_CONTEXT_TOO_LONG, "HTTP 400 BadRequestError: too many tokens"},
        /* detail, as text and as list */
        {422, "{\"detail\":\"no\"}", CLASS_INVALID, "HTTP 422: no"},
        {422, "{\"detail\":[{\"loc\":[\"body\"],\"msg\":\"invalid api key\"}]}", CLASS_INVALID,
         "HTTP 422: [{\"loc\":[\"body\"],\"msg\":\"invalid api key\"}]"},
        {400, "{\"detail\":[{\"msg\":\"insufficient_quota\"}]}", CLASS_INVALID, NULL},
        /* error as text */
        {400, "{\"error\":\"prompt is too long: 9 > 8\"}", CLASS_CONTEXT_TOO_LONG,
         "HTTP 400: prompt is too long: 9 > 8"},
        {500, "{\"error\":\"Input length 9 exceeds the CONTEXT WINDOW\"}", CLASS_CONTEXT_TOO_LONG,
         NULL},
        {404, "{\"error\":\"model 'x' not found, try pulling it first\"}", CLASS_NO_UPSTREAM_MODEL,
         NULL},
        /* plain text */
        {500, "Internal Server Error", CLASS_SERVER_ERROR, "HTTP 500: Internal Server Error"},
        {500, "Invalid API key", CLASS_CREDENTIAL, "HTTP 500: Invalid API key"},
        {503, "", CLASS_OVERLOADED, "HTTP 503"},
        {502, "<html>Bad Gateway</html>", CLASS_AMBIGUOUS, "HTTP 502: <html>Bad Gateway</html>"},
        {400, "{\"error\":{\"message\":\"Your credit balance is too low\"}}", CLASS_BILLING, NULL},
        /* nothing that is known: the body itself */
        {400, "{\"error\":{\"x\":1}}", CLASS_INVALID, "HTTP 400: {\"error\":{\"x\":1}}"},
        {400, "{\"error\":7,\"error\":8}", CLASS_INVALID, "HTTP 400: {\"error\":7,\"error\":8}"},
        {400, "[1]", CLASS_INVALID, "HTTP 400: [1]"},
        /* a status that says more than its body */
        {503, "{\"error\":{\"message\":\"maximum context length\"}}", CLASS_OVERLOADED, NULL},
        {429, "{\"error\":{\"message\":\"too many tokens per minute\"}}", CLASS_THROTTLED, NULL},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct outcome o = classify(rows[i].status, rows[i].body);
        if (o.class != rows[i].class)
            fail_msg("row %zu: %s", i, class_name(o.class));
        if (rows[i].error)
            assert_string_equal(o.error, rows[i].error);
        outcome_done(&o);
    }
}

/* A job's own words, quoted by the server, must not stop an endpoint. */
static void test_quoted_words(void **state)
{
    (void)state;
    char body[600];
    snprintf(body, sizeof body,
             "{\"error\":{\"message\":\"cannot parse: %0170d invalid api key, "
             "insufficient_quota, no such model\"}}",
             0);
    struct outcome o = classify(400, body);
    assert_int_equal(o.class, CLASS_INVALID);
    outcome_done(&o);
}

static void test_error_text(void **state)
{
    (void)state;
    char body[5000];
    for (size_t i = 0; i < sizeof body; i += 3)
        memcpy(body + i, "\xe2\x82\xac", sizeof body - i < 3 ? sizeof body - i : 3);
    memcpy(body, "a\0\xff", 3);
    struct http_facts facts = {.status = 400, .body = {body, sizeof body}};
    struct outcome o;
    outcome_init(&o);
    outcome_classify(&facts, NOW_MS, &o);
    assert_memory_equal(o.error, "HTTP 400: a??\xe2\x82\xac", 16);
    assert_in_range(strlen(o.error), OUTCOME_ERROR_BYTES - 20, OUTCOME_ERROR_BYTES - 1);
    assert_true(utf8_text(span_of(o.error)));
    outcome_explain(&o, "again", (struct span){NULL, 0}); /* replaces, leaks nothing */
    assert_string_equal(o.error, "again");
    outcome_done(&o);
    outcome_done(&o);
    for (size_t room = 1; room < 12; room++) {
        char out[12];
        outcome_text(SPAN_LIT("ab\xe2\x82\xac"
                              "cd\xc3\xa9"),
                     out, room);
        assert_true(strlen(out) < room);
        assert_true(utf8_text(span_of(out)));
    }
    char out[4];
    outcome_text((struct span){NULL, 0}, out, sizeof out);
    assert_string_equal(out, "");
}

static void test_hint_is_kept(void **state)
{
    (void)state;
    struct http_facts facts = {.status = 429, .retry_after = "7"};
    struct outcome o;
    outcome_init(&o);
    outcome_classify(&facts, NOW_MS, &o);
    assert_int_equal(o.retry_after_us, 7 * S);
    facts.status = 200; /* used again, without a leak */
    outcome_classify(&facts, NOW_MS, &o);
    assert_int_equal(o.retry_after_us, -1);
    assert_null(o.error);
    outcome_done(&o);
}

/* ---- costs ----------------------------------------------------------------------------------- */

static void test_price(void **state)
{
    (void)state;
    static const struct price price = {1000, -1, 2000, -1, 0};
    static const struct usage known = {10, 0, 5, 0}, absent = {-1, -1, -1, -1};
    const struct {
        enum class class;
        int status;
        const struct usage *usage;
        const struct price *price;
        int64_t estimated;
        enum certainty certainty;
        int64_t cost;
    } rows[] = {
        {CLASS_OK, 200, &known, &price, 99, CERTAINTY_EXACT, 20},
        {CLASS_OK, 200, &absent, &price, 99, CERTAINTY_ESTIMATED, 99},
        {CLASS_OK, 200, &absent, &price, -1, CERTAINTY_UNKNOWN, -1},
        {CLASS_OK, 200, &known, NULL, 99, CERTAINTY_UNKNOWN, -1},
        {CLASS_BAD_OUTPUT, 200, &known, &price, 99, CERTAINTY_EXACT, 20},
        {CLASS_BAD_REPLY, 200, &absent, &price, 99, CERTAINTY_ESTIMATED, 99},
        {CLASS_BAD_REPLY, 0, &absent, &price, 99, CERTAINTY_ESTIMATED, 99}, /* oversized */
        {CLASS_REFUSED, 200, &known, &price, 99, CERTAINTY_EXACT, 20},
        {CLASS_REFUSED, 400, &absent, &price, 99, CERTAINTY_NONE, 0},
        {CLASS_AMBIGUOUS, 0, &absent, &price, 99, CERTAINTY_ESTIMATED, 99},
        {CLASS_AMBIGUOUS, 502, &absent, &price, -1, CERTAINTY_UNKNOWN, -1},
        {CLASS_CONFLICT, 409, &absent, &price, 99, CERTAINTY_ESTIMATED, 99},
        {CLASS_LOST, 0, &absent, &price, 99, CERTAINTY_ESTIMATED, 99},
        {CLASS_ABORTED, 0, &absent, &price, 99, CERTAINTY_ESTIMATED, 99},
        {CLASS_SERVER_ERROR, 500, &absent, &price, 99, CERTAINTY_UNKNOWN, -1},
        {CLASS_UNKNOWN_STATUS, 418, &absent, &price, 99, CERTAINTY_UNKNOWN, -1},
        {CLASS_UNSENT, 0, &absent, NULL, -1, CERTAINTY_NONE, 0},
        {CLASS_INVALID, 400, &absent, NULL, -1, CERTAINTY_NONE, 0},
        {CLASS_THROTTLED, 429, &absent, &price, 99, CERTAINTY_NONE, 0},
        {CLASS_OVERLOADED, 503, &absent, &price, 99, CERTAINTY_NONE, 0},
        {CLASS_CREDENTIAL, 401, &absent, &price, 99, CERTAINTY_NONE, 0},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct outcome o;
        outcome_init(&o);
        o.class = rows[i].class;
        o.http_status = rows[i].status;
        o.usage = *rows[i].usage;
        outcome_price(&o, rows[i].price, rows[i].estimated);
        if (o.certainty != rows[i].certainty || o.cost_nusd != rows[i].cost)
            fail_msg("row %zu: %s %lld", i, certainty_name(o.certainty), (long long)o.cost_nusd);
    }
}

/* ---- decisions ------------------------------------------------------------------------------- */

static const struct cat_retry as_ever = CATALOGUE_RETRY_DEFAULT;
static const struct job_facts first_call = {
    .retry = &as_ever,
    .attempts = 1,
    .max_attempts = 5,
    .uncounted = 1,
    .server_errors = 1,
    .can_reask = true,
    .deadline_us = INT64_MAX,
    .seed = 7,
};

static struct decision decide(enum class class, int64_t retry_after_us, const struct job_facts *f)
{
    struct outcome o;
    outcome_init(&o);
    o.class = class;
    o.retry_after_us = retry_after_us;
    return outcome_decide(&o, f);
}

static void test_decide(void **state)
{
    (void)state;
    static const struct {
        enum class class;
        bool counts;
        enum action first, second, last; /* second counted call; max_attempts spent */
        int64_t pause_s;
        bool alert;
    } rows[] = {
        {CLASS_OK, true, ACTION_SUCCEED, ACTION_SUCCEED, ACTION_SUCCEED, 0, false},
        {CLASS_UNSENT, false, ACTION_RETRY, ACTION_RETRY, ACTION_RETRY, 0, false},
        {CLASS_OVERLOADED, false, ACTION_RETRY, ACTION_RETRY, ACTION_RETRY, 0, false},
        {CLASS_THROTTLED, false, ACTION_RETRY, ACTION_RETRY, ACTION_RETRY, 0, false},
        {CLASS_ABORTED, false, ACTION_RETRY, ACTION_RETRY, ACTION_RETRY, 0, false},
        {CLASS_TLS_CONFIG, false, ACTION_RETRY, ACTION_RETRY, ACTION_RETRY, 60, true},
        {CLASS_CREDENTIAL, false, ACTION_RETRY, ACTION_RETRY, ACTION_RETRY, 60, true},
        {CLASS_BILLING, false, ACTION_RETRY, ACTION_RETRY, ACTION_RETRY, 60, true},
        {CLASS_NO_UPSTREAM_MODEL, false, ACTION_RETRY, ACTION_RETRY, ACTION_RETRY, 0, true},
        {CLASS_AMBIGUOUS, true, ACTION_RETRY, ACTION_RETRY, ACTION_DEAD, 0, false},
        {CLASS_CONFLICT, true, ACTION_RETRY, ACTION_RETRY, ACTION_DEAD, 0, false},
        {CLASS_LOST, true, ACTION_RETRY, ACTION_RETRY, ACTION_DEAD, 0, false},
        {CLASS_SERVER_ERROR, true, ACTION_RETRY, ACTION_DEAD, ACTION_DEAD, 0, false},
        {CLASS_UNKNOWN_STATUS, true, ACTION_RETRY, ACTION_DEAD, ACTION_DEAD, 0, false},
        {CLASS_INVALID, true, ACTION_DEAD, ACTION_DEAD, ACTION_DEAD, 0, false},
        {CLASS_CONTEXT_TOO_LONG, false, ACTION_DEAD, ACTION_DEAD, ACTION_DEAD, 0, false},
        {CLASS_REFUSED, true, ACTION_DEAD, ACTION_DEAD, ACTION_DEAD, 0, false},
        {CLASS_BAD_OUTPUT, true, ACTION_REASK, ACTION_REASK, ACTION_DEAD, 0, false},
        {CLASS_BAD_REPLY, true, ACTION_REASK, ACTION_REASK, ACTION_DEAD, 0, false},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct job_facts f = first_call;
        struct decision d = decide(rows[i].class, -1, &f);
        if (d.action != rows[i].first || d.pause_us != rows[i].pause_s * S ||
            d.alert != rows[i].alert || d.why != rows[i].class || d.ours)
            fail_msg("%s: first", class_name(rows[i].class));
        assert_int_equal(d.pause_model_us,
                         rows[i].class == CLASS_NO_UPSTREAM_MODEL ? INT64_C(60) * S : 0);
        f.attempts = f.server_errors = 2;
        assert_int_equal(decide(rows[i].class, -1, &f).action, rows[i].second);
        f.attempts = 5;
        assert_int_equal(decide(rows[i].class, -1, &f).action, rows[i].last);
        assert_int_equal(outcome_counts(rows[i].class), rows[i].counts);
    }
}

/* To the version with the larger context, whatever its attempts; only that class does. */
static void test_decide_larger(void **state)
{
    const char *name;
    int code;
    (void)state;
    for (int i = 0; codes_entry("class", i, &code, &name); i++) {
        struct job_facts f = first_call;
        f.has_larger = true;
        struct decision d = decide((enum class)code, -1, &f);
        if ((d.action == ACTION_LARGER) != (code == CLASS_CONTEXT_TOO_LONG))
            fail_msg("%s", name);
    }
    struct job_facts f = first_call;
    f.has_larger = true;
    f.attempts = f.max_attempts + 1;
    f.calls = OUTCOME_CALLS_MAX - 1;
    assert_int_equal(decide(CLASS_CONTEXT_TOO_LONG, -1, &f).action, ACTION_LARGER);
    f.calls = OUTCOME_CALLS_MAX;
    assert_int_equal(decide(CLASS_CONTEXT_TOO_LONG, -1, &f).action, ACTION_DEAD);
    assert_int_equal(decide(CLASS_CONTEXT_TOO_LONG, -1, &f).why, CLASS_CONTEXT_TOO_LONG);
}

/* By its route: where nobody knows what came of a call, whatever else the class says. */
static void test_decide_by_route(void **state)
{
    static const struct {
        enum class class;
        bool unknown;
        int64_t pause_s;
    } rows[] = {{CLASS_AMBIGUOUS, true, 0},    {CLASS_LOST, true, 0},
                {CLASS_ABORTED, true, 0},      {CLASS_CONFLICT, false, 0},
                {CLASS_UNSENT, false, 0},      {CLASS_SERVER_ERROR, false, 0},
                {CLASS_CREDENTIAL, false, 60}, {CLASS_THROTTLED, false, 0}};
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++)
        for (enum ambiguous says = AMBIGUOUS_RETRY; says <= AMBIGUOUS_GIVE_UP; says++) {
            struct cat_retry retry = as_ever;
            struct job_facts f = first_call;
            retry.ambiguous = says;
            f.retry = &retry;
            struct decision d = decide(rows[i].class, -1, &f);
            bool ends = rows[i].unknown && says != AMBIGUOUS_RETRY;
            assert_int_equal(d.action, ends ? ACTION_DEAD : ACTION_RETRY);
            assert_int_equal(d.why, !ends                    ? rows[i].class
                                    : says == AMBIGUOUS_HOLD ? CLASS_HELD
                                                             : CLASS_GIVEN_UP);
            assert_int_equal(d.pause_us, rows[i].pause_s * S);
            f.deadline_us = 1; /* a job that is held does not expire instead */
            assert_int_equal(decide(rows[i].class, -1, &f).action,
                             ends ? ACTION_DEAD : ACTION_EXPIRE);
        }
}

static void test_delays_of_a_route(void **state)
{
    struct cat_retry retry = {.backoff_base_us = 4000000, .backoff_cap_us = 6000000};
    struct job_facts f = first_call;
    int64_t most[3] = {0};
    (void)state;
    f.retry = &retry;
    f.max_attempts = 9;
    for (f.seed = 0; f.seed < 300; f.seed++)
        for (int n = 0; n < 3; n++) {
            f.attempts = f.uncounted = n + 1;
            int64_t delay_us = decide(CLASS_AMBIGUOUS, -1, &f).delay_us;
            most[n] = delay_us > most[n] ? delay_us : most[n];
            assert_true(decide(CLASS_UNSENT, -1, &f).delay_us <= S << n); /* none of its base */
        }
    assert_in_range(most[0], 3600000, 4000000);
    assert_in_range(most[1], 5400000, 6000000);
    assert_in_range(most[2], 5400000, 6000000);
}

/* Calls that do not count would go on for ever, and their number past its column. */
static void test_decide_calls(void **state)
{
    struct job_facts f = first_call;
    (void)state;
    f.calls = OUTCOME_CALLS_MAX - 1;
    assert_int_equal(decide(CLASS_CREDENTIAL, -1, &f).action, ACTION_RETRY);
    f.calls = OUTCOME_CALLS_MAX;
    struct decision d = decide(CLASS_CREDENTIAL, -1, &f);
    assert_int_equal(d.action, ACTION_DEAD);
    assert_int_equal(d.why, CLASS_CREDENTIAL);
    assert_true(d.alert);
}

static void test_decide_500(void **state)
{
    (void)state;
    struct job_facts f = first_call;
    f.attempts = 3; /* after two of another kind: its own two tries */
    assert_int_equal(decide(CLASS_SERVER_ERROR, -1, &f).action, ACTION_RETRY);
    f.max_attempts = 3;
    assert_int_equal(decide(CLASS_SERVER_ERROR, -1, &f).action, ACTION_DEAD);
}

static void test_decide_reask(void **state)
{
    (void)state;
    struct job_facts f = first_call;
    f.reasks = 1;
    f.attempts = 2;
    assert_int_equal(decide(CLASS_BAD_OUTPUT, -1, &f).action, ACTION_DEAD);
    assert_int_equal(decide(CLASS_BAD_OUTPUT, -1, &f).why, CLASS_BAD_OUTPUT);
    f = first_call;
    f.max_attempts = 1;
    assert_int_equal(decide(CLASS_BAD_OUTPUT, -1, &f).action, ACTION_DEAD);
    f = first_call;
    f.can_reask = false; /* no dialogue: the same question once more */
    assert_int_equal(decide(CLASS_BAD_REPLY, -1, &f).action, ACTION_RETRY);
    f.attempts = 2;
    assert_int_equal(decide(CLASS_BAD_REPLY, -1, &f).action, ACTION_DEAD);
    f.attempts = 1;
    f.max_attempts = 1;
    assert_int_equal(decide(CLASS_BAD_REPLY, -1, &f).action, ACTION_DEAD);
}

static void test_decide_ours(void **state)
{
    (void)state;
    struct outcome o;
    outcome_init(&o);
    o.class = CLASS_UNSENT;
    o.ours = true;
    struct decision d = outcome_decide(&o, &first_call);
    assert_true(d.ours);
    assert_int_equal(d.action, ACTION_RETRY);
    assert_int_equal(d.pause_us, 0);
    assert_false(d.alert);
}

static void test_delays(void **state)
{
    (void)state;
    static const struct {
        enum class class;
        int n; /* attempts, or uncounted calls in a row */
        int64_t wish_us, least_us, most_us;
    } rows[] = {
        {CLASS_AMBIGUOUS, 1, -1, 0, 500000},
        {CLASS_AMBIGUOUS, 2, -1, 0, 1000000},
        {CLASS_AMBIGUOUS, 40, -1, 0, 60000000},
        {CLASS_UNSENT, 1, -1, 0, 1000000},
        {CLASS_UNSENT, 4, -1, 0, 8000000},
        {CLASS_OVERLOADED, 1000, -1, 0, 60000000},
        {CLASS_THROTTLED, 9, 3000000, 3000000, 4000000}, /* the server's delay first */
        {CLASS_THROTTLED, 1, 0, 0, 1000000},
        {CLASS_OVERLOADED, 1, 30000000, 30000000, 31000000},
        {CLASS_AMBIGUOUS, 1, 2000000, 2000000, 2500000},
        {CLASS_THROTTLED, 1, INT64_C(2592000000000), 600000000, 601000000}, /* a hint, capped */
        {CLASS_CREDENTIAL, 1, -1, 60000000, 60000000},
        {CLASS_CREDENTIAL, 9, 5, 60000000, 60000000},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        int64_t least = INT64_MAX, most = 0;
        for (uint64_t seed = 0; seed < 300; seed++) {
            struct job_facts f = first_call;
            f.max_attempts = 1000;
            f.attempts = f.uncounted = rows[i].n;
            f.seed = seed;
            struct decision d = decide(rows[i].class, rows[i].wish_us, &f);
            assert_int_equal(d.action, ACTION_RETRY);
            least = d.delay_us < least ? d.delay_us : least;
            most = d.delay_us > most ? d.delay_us : most;
        }
        int64_t width = rows[i].most_us - rows[i].least_us;
        if (least < rows[i].least_us || most > rows[i].most_us ||
            least > rows[i].least_us + width / 10 || most < rows[i].most_us - width / 10)
            fail_msg("row %zu: %lld .. %lld", i, (long long)least, (long long)most);
    }
}

static void test_pauses(void **state)
{
    (void)state;
    static const struct {
        enum class class;
        int64_t wish_us, pause_us;
        bool alert;
    } rows[] = {
        {CLASS_THROTTLED, 3000000, 3000000, false},
        {CLASS_THROTTLED, 0, 0, false},
        {CLASS_THROTTLED, 601000000, 600000000, true}, /* so long: somebody must know */
        {CLASS_OVERLOADED, 3000000, 3000000, false},
        {CLASS_CREDENTIAL, 3000000, 60000000, true},
        {CLASS_CREDENTIAL, 90000000, 90000000, true},
        {CLASS_AMBIGUOUS, 3000000, 0, false},
        {CLASS_INVALID, 3000000, 0, false},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct decision d = decide(rows[i].class, rows[i].wish_us, &first_call);
        assert_int_equal(d.pause_us, rows[i].pause_us);
        assert_int_equal(d.alert, rows[i].alert);
    }
}

static void test_deadline(void **state)
{
    (void)state;
    static const struct {
        enum class class;
        int64_t wish_us, left_us;
        enum action action;
    } rows[] = {
        {CLASS_CREDENTIAL, -1, 60000001, ACTION_RETRY},
        {CLASS_CREDENTIAL, -1, 60000000, ACTION_EXPIRE},
        {CLASS_THROTTLED, 5000000, 5000000, ACTION_EXPIRE},
        {CLASS_THROTTLED, 5000000, 6000001, ACTION_RETRY},
        {CLASS_UNSENT, -1, 0, ACTION_EXPIRE},
        {CLASS_UNSENT, -1, -1, ACTION_EXPIRE},
        {CLASS_UNSENT, -1, INT64_MIN / 2, ACTION_EXPIRE},
        {CLASS_OK, -1, -1, ACTION_SUCCEED}, /* it came late, and it came */
        {CLASS_INVALID, -1, -1, ACTION_DEAD},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct job_facts f = first_call;
        f.now_us = 1000 * S;
        f.deadline_us = f.now_us + rows[i].left_us;
        struct decision d = decide(rows[i].class, rows[i].wish_us, &f);
        assert_int_equal(d.action, rows[i].action);
        assert_int_equal(d.why, d.action == ACTION_EXPIRE ? CLASS_EXPIRED : rows[i].class);
    }
}

/* ---- backoff --------------------------------------------------------------------------------- */

/* Uniform over [0, min(cap, base * 2^n)): within the bound, and each tenth of it gets its share. */
static void test_backoff(void **state)
{
    (void)state;
    static const struct {
        int n;
        int64_t base_us, cap_us, limit_us;
    } rows[] = {
        {0, 1000, 60000, 1000},        {1, 1000, 60000, 2000},
        {5, 1000, 60000, 32000},       {6, 1000, 60000, 60000},
        {1000000, 1000, 60000, 60000}, {-3, 1000, 60000, 1000},
        {0, 90000, 60000, 60000},      {62, 1, INT64_MAX, INT64_C(1) << 62},
        {63, 1, INT64_MAX, INT64_MAX}, {64, 3, INT64_MAX, INT64_MAX},
    };
    enum { DRAWS = 20000 };
    for (size_t i = 0; i < COUNT(rows); i++) {
        int tenths[10] = {0};
        for (uint64_t seed = 0; seed < DRAWS; seed++) { /* poor seeds on purpose */
            int64_t us = backoff_us(rows[i].n, rows[i].base_us, rows[i].cap_us, seed);
            assert_true(us >= 0 && us < rows[i].limit_us);
            tenths[(int)((double)us / (double)rows[i].limit_us * 10) % 10]++;
        }
        for (int t = 0; t < 10; t++)
            assert_in_range(tenths[t], DRAWS / 10 * 9 / 10, DRAWS / 10 * 11 / 10);
    }
    assert_int_equal(backoff_us(3, 0, 1000, 1), 0);
    assert_int_equal(backoff_us(3, 1000, 0, 1), 0);
    assert_int_equal(backoff_us(3, -5, -7, 1), 0);
    assert_int_equal(backoff_us(3, 1000, 60000, 42), backoff_us(3, 1000, 60000, 42));
}

/* ---- what people read ------------------------------------------------------------------------ */

/* Every row of the first table in schemas/errors.md, in order, is the row that the code has. */
static void test_document(void **state)
{
    (void)state;
    char line[1000], want[1000];
    int rows = 0;
    FILE *f = fopen(INFERQ_DATADIR "/errors.md", "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        struct outcome_row row;
        if (rows && line[0] == '\n')
            break;
        if (strncmp(line, "| ", 2) != 0 || !strncmp(line, "| Signal |", 10))
            continue;
        if (!outcome_row(rows++, &row))
            fail_msg("errors.md has a row too many: %s", line);
        snprintf(want, sizeof want, "| %s | %s | %s | %s | %s | %s |\n", row.signal,
                 class_name(row.class), row.counts ? "yes" : "no", row.action, row.pause,
                 row.certainty);
        assert_string_equal(line, want);
    }
    fclose(f);
    struct outcome_row row;
    assert_true(rows > 30);
    assert_false(outcome_row(rows, &row));
    assert_false(outcome_row(-1, &row));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_faults),          cmocka_unit_test(test_statuses),
        cmocka_unit_test(test_bodies),          cmocka_unit_test(test_quoted_words),
        cmocka_unit_test(test_error_text),      cmocka_unit_test(test_hint_is_kept),
        cmocka_unit_test(test_price),           cmocka_unit_test(test_decide),
        cmocka_unit_test(test_decide_500),      cmocka_unit_test(test_decide_larger),
        cmocka_unit_test(test_decide_by_route), cmocka_unit_test(test_delays_of_a_route),
        cmocka_unit_test(test_decide_calls),    cmocka_unit_test(test_decide_reask),
        cmocka_unit_test(test_decide_ours),     cmocka_unit_test(test_delays),
        cmocka_unit_test(test_pauses),          cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_backoff),         cmocka_unit_test(test_document),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

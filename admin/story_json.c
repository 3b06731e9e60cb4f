/*
 * story_json.c - a job's story for programs: one object, every column under its own name.
 */
#include "admin/jsonw.h"
#include "admin/story.h"
#include "common/codes.h"

static void key_text(struct jsonw *w, const char *key, struct span s)
{
    jsonw_key(w, key);
    jsonw_text(w, s);
}

static void key_id(struct jsonw *w, const char *key, const struct jobid *id, bool null)
{
    jsonw_key(w, key);
    if (null)
        jsonw_null(w);
    else
        jsonw_id(w, id);
}

static void key_number(struct jsonw *w, const char *key, int64_t v, bool null)
{
    jsonw_key(w, key);
    if (null)
        jsonw_null(w);
    else
        jsonw_int(w, v);
}

static void col_int(struct jsonw *w, const char *key, const struct pg_rows *r, int row, int col)
{
    key_number(w, key, pg_get_int(r, row, col), pg_null(r, row, col));
}

static void col_text(struct jsonw *w, const char *key, const struct pg_rows *r, int row, int col)
{
    key_text(w, key, pg_get_span(r, row, col));
}

static void col_time(struct jsonw *w, const char *key, const struct pg_rows *r, int row, int col)
{
    jsonw_key(w, key);
    jsonw_time(w, pg_get_time_ms(r, row, col));
}

static void col_code(struct jsonw *w, const char *key, const char *(*name)(int),
                     const struct pg_rows *r, int row, int col)
{
    key_text(w, key, span_of(pg_null(r, row, col) ? NULL : name((int)pg_get_int(r, row, col))));
}

static void write_batch(struct jsonw *w, const struct story *s)
{
    const struct pg_rows *b = s->batch;
    jsonw_key(w, "batch");
    if (!b || !pg_row_count(b)) {
        jsonw_null(w);
        return;
    }
    jsonw_open(w, '{');
    key_id(w, "batch_id", &s->batch_id, false);
    col_text(w, "app", b, 0, SB_APP);
    col_text(w, "name", b, 0, SB_NAME);
    col_text(w, "task", b, 0, SB_TASK);
    col_text(w, "team", b, 0, SB_TEAM);
    jsonw_key(w, "created_at");
    jsonw_time(w, pg_get_int(b, 0, SB_CREATED_MS));
    col_time(w, "registered_at", b, 0, SB_REGISTERED);
    col_time(w, "sealed_at", b, 0, SB_SEALED);
    col_time(w, "deadline_at", b, 0, SB_DEADLINE);
    col_time(w, "cancel_requested_at", b, 0, SB_CANCEL);
    jsonw_close(w, '}');
}

static void write_result(struct jsonw *w, const struct pg_rows *r)
{
    jsonw_key(w, "result");
    if (!pg_row_count(r)) {
        jsonw_null(w);
        return;
    }
    jsonw_open(w, '{');
    col_code(w, "status", status_name, r, 0, SR_STATUS);
    col_code(w, "class", class_name, r, 0, SR_CLASS);
    col_time(w, "finished_at", r, 0, SR_FINISHED);
    col_int(w, "cost_nusd", r, 0, SR_COST);
    col_int(w, "queue_us", r, 0, SR_QUEUE_US);
    col_int(w, "throttle_us", r, 0, SR_THROTTLE_US);
    col_int(w, "limit_us", r, 0, SR_LIMIT_US);
    col_text(w, "limit", r, 0, SR_LIMIT);
    col_int(w, "model_us", r, 0, SR_MODEL_US);
    col_int(w, "store_us", r, 0, SR_STORE_US);
    col_int(w, "call_number", r, 0, SR_CALL);
    col_int(w, "http_status", r, 0, SR_HTTP);
    col_code(w, "validation", validation_name, r, 0, SR_VALIDATION);
    col_text(w, "finish_reason", r, 0, SR_FINISH_REASON);
    col_text(w, "model_version", r, 0, SR_MODEL);
    col_text(w, "model_reported", r, 0, SR_REPORTED);
    col_text(w, "prompt_version", r, 0, SR_PROMPT);
    col_text(w, "context_version", r, 0, SR_CONTEXT);
    col_text(w, "trace_id", r, 0, SR_TRACE);
    col_int(w, "input_tokens", r, 0, SR_INPUT);
    col_int(w, "cached_tokens", r, 0, SR_CACHED);
    col_int(w, "output_tokens", r, 0, SR_OUTPUT);
    col_int(w, "reasoning_tokens", r, 0, SR_REASONING);
    col_text(w, "task", r, 0, SR_TASK);
    col_text(w, "team", r, 0, SR_TEAM);
    col_text(w, "url", r, 0, SR_URL);
    jsonw_close(w, '}');
}

static void write_call(struct jsonw *w, const struct pg_rows *c, int i)
{
    jsonw_open(w, '{');
    col_int(w, "number", c, i, SC_NUMBER);
    col_code(w, "kind", call_kind_name, c, i, SC_KIND);
    col_int(w, "worker_id", c, i, SC_WORKER);
    col_text(w, "worker_host", c, i, SC_HOST);
    col_int(w, "worker_pid", c, i, SC_PID);
    col_text(w, "worker_build", c, i, SC_BUILD);
    col_time(w, "worker_lease_until", c, i, SC_LEASE);
    jsonw_key(w, "worker_fenced");
    if (pg_null(c, i, SC_FENCED))
        jsonw_null(w);
    else
        jsonw_bool(w, pg_get_bool(c, i, SC_FENCED));
    col_text(w, "model_version", c, i, SC_MODEL);
    col_text(w, "endpoint", c, i, SC_ENDPOINT);
    col_int(w, "endpoint_version", c, i, SC_ENDPOINT_VERSION);
    col_text(w, "base_url", c, i, SC_URL);
    col_time(w, "claimed_at", c, i, SC_CLAIMED);
    col_time(w, "done_at", c, i, SC_DONE);
    col_code(w, "class", class_name, c, i, SC_CLASS);
    col_int(w, "http_status", c, i, SC_HTTP);
    col_int(w, "curl_code", c, i, SC_CURL);
    col_int(w, "input_tokens", c, i, SC_INPUT);
    col_int(w, "cached_tokens", c, i, SC_CACHED);
    col_int(w, "output_tokens", c, i, SC_OUTPUT);
    col_int(w, "reasoning_tokens", c, i, SC_REASONING);
    col_int(w, "cost_nusd", c, i, SC_COST);
    col_int(w, "estimated_nusd", c, i, SC_ESTIMATED);
    col_int(w, "upper_nusd", c, i, SC_UPPER);
    col_code(w, "certainty", certainty_name, c, i, SC_CERTAINTY);
    col_text(w, "error", c, i, SC_ERROR);
    col_text(w, "provider_request_id", c, i, SC_REQUEST_ID);
    col_text(w, "model_reported", c, i, SC_REPORTED);
    col_int(w, "model_us", c, i, SC_MODEL_US);
    col_time(w, "price_valid_from", c, i, SC_PRICE_FROM);
    col_int(w, "price_input_pusd", c, i, SC_PRICE_INPUT);
    col_int(w, "price_output_pusd", c, i, SC_PRICE_OUTPUT);
    col_int(w, "price_request_pusd", c, i, SC_PRICE_REQUEST);
    jsonw_close(w, '}');
}

static void write_parked(struct jsonw *w, const struct pg_rows *p)
{
    jsonw_key(w, "parked");
    if (!pg_row_count(p)) {
        jsonw_null(w);
        return;
    }
    jsonw_open(w, '{');
    col_time(w, "next_at", p, 0, SP_NEXT);
    col_time(w, "parked_at", p, 0, SP_PARKED);
    col_time(w, "deadline_at", p, 0, SP_DEADLINE);
    col_int(w, "taken_by", p, 0, SP_TAKEN_BY);
    col_time(w, "taken_lease_until", p, 0, SP_LEASE);
    col_text(w, "endpoint", p, 0, SP_ENDPOINT);
    col_text(w, "limit", p, 0, SP_LIMIT);
    col_text(w, "endpoint_paused_by", p, 0, SP_PAUSED_BY);
    col_text(w, "endpoint_paused_reason", p, 0, SP_PAUSED_WHY);
    col_int(w, "number", p, 0, SP_NUMBER);
    col_int(w, "attempts", p, 0, SP_ATTEMPTS);
    key_text(
        w, "reason",
        span_of(pg_get_int(p, 0, SP_REASON) ? class_name((int)pg_get_int(p, 0, SP_REASON)) : NULL));
    col_int(w, "waited_us", p, 0, SP_WAITED_US);
    col_int(w, "parked_us", p, 0, SP_PARKED_US);
    col_int(w, "limit_us", p, 0, SP_LIMIT_US);
    col_text(w, "limited_by", p, 0, SP_HELD_BY);
    col_int(w, "model_us", p, 0, SP_MODEL_US);
    col_text(w, "topic", p, 0, SP_TOPIC);
    col_int(w, "partition", p, 0, SP_PARTITION);
    col_int(w, "offset", p, 0, SP_OFFSET);
    jsonw_close(w, '}');
}

/* Of the result, or up to now; the longest first. */
static void write_waits(struct jsonw *w, const struct pg_rows *r)
{
    jsonw_key(w, "waits");
    jsonw_open(w, '[');
    for (int i = 0; i < pg_row_count(r); i++) {
        jsonw_open(w, '{');
        col_text(w, "for", r, i, SW_FOR);
        col_int(w, "us", r, i, SW_US);
        jsonw_close(w, '}');
    }
    jsonw_close(w, ']');
}

static void write_letters(struct jsonw *w, const struct story *s)
{
    jsonw_key(w, "dead_letters");
    jsonw_open(w, '[');
    for (int i = 0; i < pg_row_count(s->letters); i++) {
        jsonw_open(w, '{');
        col_int(w, "dead_id", s->letters, i, SL_ID);
        col_time(w, "died_at", s->letters, i, SL_DIED);
        col_code(w, "class", class_name, s->letters, i, SL_CLASS);
        col_code(w, "state", dead_state_name, s->letters, i, SL_STATE);
        col_text(w, "reason", s->letters, i, SL_REASON);
        col_text(w, "topic", s->letters, i, SL_TOPIC);
        col_int(w, "partition", s->letters, i, SL_PARTITION);
        col_int(w, "offset", s->letters, i, SL_OFFSET);
        jsonw_close(w, '}');
    }
    jsonw_close(w, ']');
    jsonw_key(w, "reviews");
    jsonw_open(w, '[');
    for (int i = 0; i < pg_row_count(s->events); i++) {
        struct jobid new_job = pg_get_uuid(s->events, i, SE_NEW_JOB);
        jsonw_open(w, '{');
        col_time(w, "at", s->events, i, SE_AT);
        col_text(w, "actor", s->events, i, SE_ACTOR);
        col_text(w, "action", s->events, i, SE_ACTION);
        col_int(w, "dead_id", s->events, i, SE_DEAD_ID);
        key_id(w, "new_job_id", &new_job, pg_null(s->events, i, SE_NEW_JOB));
        jsonw_close(w, '}');
    }
    jsonw_close(w, ']');
}

static const char *state_name(enum story_state state)
{
    switch (state) {
    case STORY_ENDED:
        return "ended";
    case STORY_CALLED:
        return "called";
    case STORY_TAKEN:
        return "taken";
    case STORY_PARKED:
        return "parked";
    case STORY_BETWEEN:
        return "between_calls";
    case STORY_UNKNOWN:
    default:
        return "unknown";
    }
}

void story_json(const struct story *s, struct buf *out)
{
    struct jsonw w = {.out = out};
    struct buf why;
    buf_init(&why, 1 << 20);
    story_sentence(s, &why);
    jsonw_open(&w, '{');
    key_id(&w, "job_id", &s->job, false);
    key_text(&w, "custom_id", s->custom_id);
    key_number(&w, "generation", s->generation, s->generation < 0);
    key_id(&w, "previous_job_id", &s->previous, !s->has_previous);
    key_text(&w, "state", span_of(state_name(s->state)));
    key_text(&w, "why", buf_span(&why));
    write_batch(&w, s);
    write_result(&w, s->result);
    jsonw_key(&w, "calls");
    jsonw_open(&w, '[');
    for (int i = 0; i < pg_row_count(s->calls); i++)
        write_call(&w, s->calls, i);
    jsonw_close(&w, ']');
    write_parked(&w, s->parked);
    write_waits(&w, s->waits);
    write_letters(&w, s);
    jsonw_close(&w, '}');
    buf_add_byte(out, '\n');
    out->failed |= why.failed;
    buf_done(&why);
}

/*
 * jsonw.c - JSON text, piece by piece.
 */
#include "admin/jsonw.h"

#include <inttypes.h>
#include <string.h>

#include "admin/fmt.h"
#include "common/clock.h"
#include "common/json_scan.h"
#include "common/utf8.h"

static void before_value(struct jsonw *w)
{
    if (w->comma)
        buf_add_byte(w->out, ',');
    w->comma = true;
}

void jsonw_open(struct jsonw *w, char bracket)
{
    before_value(w);
    buf_add_byte(w->out, (uint8_t)bracket);
    w->comma = false;
}

void jsonw_close(struct jsonw *w, char bracket)
{
    buf_add_byte(w->out, (uint8_t)bracket);
    w->comma = true;
}

void jsonw_key(struct jsonw *w, const char *key)
{
    before_value(w);
    json_add_string(w->out, span_of(key));
    buf_add_byte(w->out, ':');
    w->comma = false;
}

void jsonw_null(struct jsonw *w)
{
    before_value(w);
    buf_add_text(w->out, "null");
}

void jsonw_bool(struct jsonw *w, bool v)
{
    before_value(w);
    buf_add_text(w->out, v ? "true" : "false");
}

void jsonw_int(struct jsonw *w, int64_t v)
{
    before_value(w);
    buf_addf(w->out, "%" PRId64, v);
}

static bool is_utf8(struct span s)
{
    for (size_t i = 0; i < s.n;) {
        size_t n = utf8_next(s.p + i, s.n - i, NULL);
        if (n == 0)
            return false;
        i += n;
    }
    return true;
}

/* Bytes that are not UTF-8: mended into a copy, which is rare, so its cost does not matter. */
static void mended(struct jsonw *w, struct span s)
{
    struct buf copy;
    buf_init(&copy, 3 * s.n + 1);
    for (size_t i = 0; i < s.n;) {
        size_t n = utf8_next(s.p + i, s.n - i, NULL);
        if (n == 0)
            buf_add_text(&copy, "\xef\xbf\xbd");
        else
            buf_add(&copy, s.p + i, n);
        i += n ? n : 1;
    }
    if (copy.failed)
        w->out->failed = true;
    else
        json_add_string(w->out, buf_span(&copy));
    buf_done(&copy);
}

void jsonw_text(struct jsonw *w, struct span s)
{
    if (!s.p) {
        jsonw_null(w);
        return;
    }
    before_value(w);
    if (is_utf8(s))
        json_add_string(w->out, s);
    else
        mended(w, s);
}

void jsonw_time(struct jsonw *w, int64_t unix_ms)
{
    char text[CLOCK_RFC3339_BYTES];
    if (unix_ms == 0) {
        jsonw_null(w);
        return;
    }
    clock_rfc3339(unix_ms, text, sizeof text);
    jsonw_text(w, span_of(text));
}

void jsonw_id(struct jsonw *w, const struct jobid *id)
{
    char text[ID_TEXT_BYTES];
    jobid_text(id, text);
    jsonw_text(w, span_of(text));
}

void jsonw_usd(struct jsonw *w, int64_t nusd)
{
    char text[FMT_BYTES];
    jsonw_text(w, span_of(fmt_usd(nusd, text)));
}

void jsonw_raw(struct jsonw *w, struct span json)
{
    before_value(w);
    char *at = buf_room(w->out, json.n);
    if (!at) {
        w->out->failed = true;
        return;
    }
    for (size_t i = 0; i < json.n; i++)
        at[i] = json.p[i] == '\n' || json.p[i] == '\r' ? ' ' : json.p[i];
    w->out->n += json.n;
}

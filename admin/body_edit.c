/*
 * body_edit.c - a body's members replaced where they stand, and its white space made for people.
 */
#include "admin/body_edit.h"

#include <string.h>

#include "common/json_scan.h"
#include "common/utf8.h"

enum { VALUE_BYTES_MAX = 8 << 20 };

enum rc body_edit_check(struct span body, struct err *err)
{
    enum json_type type;
    if (!utf8_text(body))
        return err_set(err, RC_REJECT, "the body is not UTF-8 text");
    enum rc rc = json_check(body, &type, err);
    if (rc != RC_OK)
        return err_prefix(err, rc, "the body is no JSON");
    if (type != JSON_TYPE_OBJECT)
        return err_set(err, RC_REJECT, "the body is no JSON object");
    return RC_OK;
}

/* ---- setting ------------------------------------------------------------------------------ */

static const char *skip_space(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
        p++;
    return p;
}

/* Where a new first member goes: behind the brace. */
static void put_first(struct span body, const char *key, struct span value, struct buf *out)
{
    const char *end = body.p + body.n;
    const char *inside = skip_space(body.p, end) + 1;
    bool empty = *skip_space(inside, end) == '}';
    buf_add(out, body.p, (size_t)(inside - body.p));
    json_add_string(out, span_of(key));
    buf_add_byte(out, ':');
    buf_add_span(out, value);
    if (!empty)
        buf_add_byte(out, ',');
    buf_add(out, inside, (size_t)(end - inside));
}

static enum rc set(struct span body, const char *key, struct span value, struct buf *out,
                   struct err *err)
{
    struct json_value old;
    enum rc rc = json_members(body, &key, 1, &old, err);
    if (rc != RC_OK)
        return rc;
    if (old.type == JSON_TYPE_ABSENT) {
        put_first(body, key, value, out);
    } else {
        const char *past = old.text.p + old.text.n;
        buf_add(out, body.p, (size_t)(old.text.p - body.p));
        buf_add_span(out, value);
        buf_add(out, past, (size_t)(body.p + body.n - past));
    }
    return out->failed ? err_set(err, RC_REJECT, "the body would be larger than a job may be")
                       : RC_OK;
}

enum rc body_edit_set(struct span body, const char *assignment, struct buf *out, struct err *err)
{
    char key[JSON_KEY_BYTES_MAX + 1] = "";
    struct err scratch;
    struct buf quoted;
    size_t n = strcspn(assignment, "=");
    if (n == 0 || n > JSON_KEY_BYTES_MAX || assignment[n] != '=')
        return err_set(err, RC_REJECT, "'%.80s' is not KEY=VALUE with a key of 1 to %d bytes",
                       assignment, JSON_KEY_BYTES_MAX);
    memcpy(key, assignment, n);
    struct span value = span_of(assignment + n + 1);
    if (!utf8_text(span_of(assignment)))
        return err_set(err, RC_REJECT, "'%s' is not UTF-8 text", key);
    buf_init(&quoted, VALUE_BYTES_MAX);
    if (json_check(value, NULL, &scratch) != RC_OK) {
        json_add_string(&quoted, value);
        value = buf_span(&quoted);
    }
    enum rc rc = quoted.failed ? err_set(err, RC_REJECT, "the value of '%s' is too large", key)
                               : set(body, key, value, out, err);
    buf_done(&quoted);
    return rc;
}

/* ---- for people --------------------------------------------------------------------------- */

static void line(struct buf *out, int depth)
{
    buf_add_byte(out, '\n');
    for (int i = 0; i < depth; i++)
        buf_add_text(out, "  ");
}

/* The end of the string that begins at p. */
static const char *string_end(const char *p, const char *end)
{
    for (p++; p < end && *p != '"'; p++)
        p += *p == '\\';
    return p < end ? p + 1 : end;
}

void body_edit_pretty(struct span body, struct buf *out)
{
    const char *end = body.p + body.n;
    int depth = 0;
    for (const char *p = skip_space(body.p, end); p < end; p = skip_space(p, end)) {
        const char *next = *p == '"' ? string_end(p, end) : p + 1;
        if (*p == '}' || *p == ']')
            line(out, --depth);
        buf_add(out, p, (size_t)(next - p));
        if (*p == '{' || *p == '[') {
            const char *inside = skip_space(next, end);
            if (inside < end && (*inside == '}' || *inside == ']')) {
                buf_add_byte(out, (uint8_t)*inside);
                next = inside + 1;
            } else {
                line(out, ++depth);
            }
        } else if (*p == ',') {
            line(out, depth);
        } else if (*p == ':') {
            buf_add_byte(out, ' ');
        }
        p = next;
    }
    buf_add_byte(out, '\n');
}

/* ---- judging ------------------------------------------------------------------------------ */

bool body_edit_asks_otherwise(struct span a, struct span b)
{
    static const char *const keys[] = {"messages", "prompt", "input"};
    enum { KEYS = sizeof keys / sizeof *keys };
    struct json_value of_a[KEYS], of_b[KEYS];
    struct err scratch;
    if (json_members(a, keys, KEYS, of_a, &scratch) != RC_OK ||
        json_members(b, keys, KEYS, of_b, &scratch) != RC_OK)
        return true;
    for (int i = 0; i < KEYS; i++)
        if (of_a[i].type != of_b[i].type || !span_eq(of_a[i].text, of_b[i].text))
            return true;
    return false;
}

/*
 * json_scan.c - the scanner behind json_scan.h.
 *
 * Happy path: `scan_value` walks one value of any depth in a loop; nesting is one bit a level
 * (object or array) in a fixed field, so neither the stack nor memory grows with the input. An
 * object's own members are walked by `scan_members`, which lets scan_value pass over each of them.
 *
 * Failure modes: bad text stops the scan where it stands; the byte offset and a constant message
 * are all that is said, so that no payload gets into an error.
 */
#include "common/json_scan.h"

#include <assert.h>

struct scan {
    const char *p, *begin, *end;
    const char *why; /* what was wrong at p; NULL while all is well */
    unsigned depth;
    uint64_t in_object[JSON_DEPTH_MAX / 64]; /* one bit a level: object or array */
};

static struct scan scan_of(struct span text)
{
    return (struct scan){.p = text.p, .begin = text.p, .end = text.p + text.n};
}

static bool fail(struct scan *s, const char *why)
{
    s->why = why;
    return false;
}

static enum rc fail_rc(const struct scan *s, struct err *err)
{
    return err_set(err, RC_REJECT, "byte %zu: %s", (size_t)(s->p - s->begin),
                   s->p == s->end ? "the JSON text ends too early" : s->why);
}

static void skip_space(struct scan *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\r' || *s->p == '\t'))
        s->p++;
}

/* ---- strings ---------------------------------------------------------------------------- */

#define EACH_BYTE(byte) (UINT64_C(0x0101010101010101) * (byte))

/* Nonzero when one of eight bytes is '"', '\\' or a control character. (A borrow may mark the bytes
 * next to such a one as well, never without one: "is there any" is all that is asked.) */
static uint64_t special_bytes(uint64_t x)
{
    uint64_t quote = x ^ EACH_BYTE('"'), slash = x ^ EACH_BYTE('\\');
    uint64_t is_quote = (quote - EACH_BYTE(1)) & ~quote;
    uint64_t is_slash = (slash - EACH_BYTE(1)) & ~slash;
    uint64_t is_control = (x - EACH_BYTE(0x20)) & ~x;
    return (is_quote | is_slash | is_control) & EACH_BYTE(0x80);
}

static void skip_plain(struct scan *s)
{
    while (s->end - s->p >= 8) {
        uint64_t x;
        memcpy(&x, s->p, sizeof x);
        if (special_bytes(x))
            break;
        s->p += 8;
    }
    while (s->p < s->end && *s->p != '"' && *s->p != '\\' && (unsigned char)*s->p >= 0x20)
        s->p++;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* The four hex digits at p; -1 when they are none. */
static int hex_unit(const char *p, const char *end)
{
    if (end - p < 4)
        return -1;
    int unit = 0;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(p[i]);
        if (digit < 0)
            return -1;
        unit = unit * 16 + digit;
    }
    return unit;
}

/* Reads "uXXXX" or a pair of surrogates; p stands behind the backslash. -1: bad. */
static int32_t read_unicode(const char **p, const char *end)
{
    int high = hex_unit(*p + 1, end);
    if (high < 0 || (high >= 0xdc00 && high <= 0xdfff))
        return -1;
    if (high < 0xd800 || high > 0xdbff) {
        *p += 5;
        return high;
    }
    if (end - *p < 7 || (*p)[5] != '\\' || (*p)[6] != 'u')
        return -1;
    int low = hex_unit(*p + 7, end);
    if (low < 0xdc00 || low > 0xdfff)
        return -1;
    *p += 11;
    return 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
}

/* Reads one escape; p stands behind the backslash. Returns its code point, -1: bad. */
static int32_t read_escape(const char **p, const char *end)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (*p == end)
        return -1;
    if (**p == 'u')
        return read_unicode(p, end);
    const char *at = memchr(from, **p, sizeof from - 1);
    if (!at)
        return -1;
    ++*p;
    return to[at - from];
}

/* p stands at the opening quote, and ends up behind the closing one. */
static bool scan_string(struct scan *s)
{
    s->p++;
    for (;;) {
        skip_plain(s);
        if (s->p == s->end)
            return fail(s, "a string without end");
        if (*s->p == '"') {
            s->p++;
            return true;
        }
        if (*s->p != '\\')
            return fail(s, "a bare control character in a string: write it as an escape");
        const char *after = s->p + 1;
        if (read_escape(&after, s->end) < 0)
            return fail(s, "a bad escape, or half of a surrogate pair, in a string");
        s->p = after;
    }
}

/* ---- other values ------------------------------------------------------------------------ */

static bool is_digit(const struct scan *s)
{
    return s->p < s->end && *s->p >= '0' && *s->p <= '9';
}

static bool scan_digits(struct scan *s)
{
    if (!is_digit(s))
        return fail(s, "a number needs a digit here");
    while (is_digit(s))
        s->p++;
    return true;
}

static bool scan_number(struct scan *s)
{
    if (*s->p == '-')
        s->p++;
    if (s->p < s->end && *s->p == '0') {
        s->p++;
        if (is_digit(s))
            return fail(s, "a number starts with a superfluous 0");
    } else if (!scan_digits(s)) {
        return false;
    }
    if (s->p < s->end && *s->p == '.') {
        s->p++;
        if (!scan_digits(s))
            return false;
    }
    if (s->p < s->end && (*s->p == 'e' || *s->p == 'E')) {
        s->p++;
        if (s->p < s->end && (*s->p == '+' || *s->p == '-'))
            s->p++;
        return scan_digits(s);
    }
    return true;
}

static bool scan_word(struct scan *s, const char *word, size_t n)
{
    if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n) != 0)
        return fail(s, "not a JSON value");
    s->p += n;
    return true;
}

static bool scan_open(struct scan *s, bool object)
{
    if (s->depth == JSON_DEPTH_MAX)
        return fail(s, "nested too deeply (128 levels at most)");
    uint64_t bit = UINT64_C(1) << (s->depth % 64);
    uint64_t *bits = &s->in_object[s->depth / 64];
    *bits = object ? *bits | bit : *bits & ~bit;
    s->depth++;
    s->p++;
    skip_space(s);
    return true;
}

static bool innermost_is_object(const struct scan *s)
{
    unsigned level = s->depth - 1;
    return s->in_object[level / 64] >> (level % 64) & 1;
}

/* "name" : */
static bool scan_key(struct scan *s, struct span *ret_key)
{
    if (s->p == s->end || *s->p != '"')
        return fail(s, "a member's name in double quotes is wanted here");
    const char *from = s->p;
    if (!scan_string(s))
        return false;
    *ret_key = (struct span){from, (size_t)(s->p - from)};
    skip_space(s);
    if (s->p == s->end || *s->p != ':')
        return fail(s, "':' is wanted after a member's name");
    s->p++;
    skip_space(s);
    return true;
}

/* The start of a value; sets *ret_open when it is a list or object that is not empty, whose first
 * element (behind its key) is then next. */
static bool scan_start(struct scan *s, bool *ret_open)
{
    struct span key;
    *ret_open = false;
    if (s->p == s->end)
        return fail(s, "a value is wanted here");
    char c = *s->p;
    switch (c) {
    case '"':
        return scan_string(s);
    case 't':
        return scan_word(s, "true", 4);
    case 'f':
        return scan_word(s, "false", 5);
    case 'n':
        return scan_word(s, "null", 4);
    case '{':
    case '[':
        if (!scan_open(s, c == '{'))
            return false;
        if (s->p < s->end && *s->p == (c == '{' ? '}' : ']')) {
            s->p++;
            s->depth--;
            return true;
        }
        *ret_open = true;
        return c == '[' || scan_key(s, &key);
    default:
        return c == '-' || is_digit(s) ? scan_number(s) : fail(s, "not a JSON value");
    }
}

/* Behind a value inside a list or object: closes as many levels as end here, and passes the comma
 * (and the next key). Stops when no level above `base` is open. */
static bool scan_next(struct scan *s, unsigned base)
{
    struct span key;
    while (s->depth > base) {
        bool object = innermost_is_object(s);
        skip_space(s);
        if (s->p < s->end && *s->p == ',') {
            s->p++;
            skip_space(s);
            return !object || scan_key(s, &key);
        }
        if (s->p == s->end || *s->p != (object ? '}' : ']'))
            return fail(s, object ? "',' or '}' is wanted here" : "',' or ']' is wanted here");
        s->p++;
        s->depth--;
    }
    return true;
}

/* Passes one value, whatever is in it; p stands at its first byte. */
static bool scan_value(struct scan *s)
{
    unsigned base = s->depth;
    bool opened;
    do {
        if (!scan_start(s, &opened) || (!opened && !scan_next(s, base)))
            return false;
    } while (s->depth > base);
    return true;
}

static bool scan_end(struct scan *s)
{
    skip_space(s);
    return s->p == s->end || fail(s, "text after the end of the JSON value");
}

enum json_type json_type_of(char first)
{
    switch (first) {
    case '{':
        return JSON_TYPE_OBJECT;
    case '[':
        return JSON_TYPE_ARRAY;
    case '"':
        return JSON_TYPE_STRING;
    case 't':
        return JSON_TYPE_TRUE;
    case 'f':
        return JSON_TYPE_FALSE;
    case 'n':
        return JSON_TYPE_NULL;
    default:
        return JSON_TYPE_NUMBER;
    }
}

enum rc json_check(struct span text, enum json_type *ret_type, struct err *err)
{
    if (!text.p)
        return err_set(err, RC_REJECT, "there is no JSON text");
    struct scan s = scan_of(text);
    skip_space(&s);
    const char *first = s.p;
    if (!scan_value(&s) || !scan_end(&s))
        return fail_rc(&s, err);
    if (ret_type)
        *ret_type = json_type_of(*first);
    return RC_OK;
}

/* ---- members ------------------------------------------------------------------------------ */

struct wanted {
    const char *const *keys;
    size_t count;
    struct json_value *values;
};

static bool note_member(struct scan *s, const struct wanted *w, struct span quoted_key,
                        struct json_value value)
{
    char scratch[JSON_KEY_BYTES_MAX];
    struct span key = json_unquote(quoted_key, scratch, sizeof scratch);
    if (!key.p)
        return true; /* longer than any key that is asked for */
    for (size_t i = 0; i < w->count; i++) {
        if (!span_is(key, w->keys[i]))
            continue;
        if (w->values[i].type != JSON_TYPE_ABSENT) {
            s->p = quoted_key.p;
            return fail(s, "this member stands twice in the object");
        }
        w->values[i] = value;
    }
    return true;
}

/* The whole text: one object. */
static bool scan_members(struct scan *s, const struct wanted *w)
{
    skip_space(s);
    if (s->p == s->end || *s->p != '{')
        return fail(s, "a JSON object is wanted here");
    scan_open(s, true);
    if (s->p < s->end && *s->p == '}') {
        s->p++;
        return scan_end(s);
    }
    for (;;) {
        struct span key;
        if (!scan_key(s, &key))
            return false;
        const char *from = s->p;
        if (!scan_value(s))
            return false;
        struct json_value value = {{from, (size_t)(s->p - from)}, json_type_of(*from)};
        if (!note_member(s, w, key, value))
            return false;
        skip_space(s);
        if (s->p < s->end && *s->p == '}') {
            s->p++;
            return scan_end(s);
        }
        if (s->p == s->end || *s->p != ',')
            return fail(s, "',' or '}' is wanted here");
        s->p++;
        skip_space(s);
    }
}

enum rc json_members(struct span object, const char *const *keys, size_t key_count,
                     struct json_value *ret_values, struct err *err)
{
    assert(key_count <= JSON_KEYS_MAX);
    if (!object.p)
        return err_set(err, RC_REJECT, "there is no JSON text");
    struct json_value values[JSON_KEYS_MAX] = {0};
    struct wanted w = {keys, key_count, values};
    struct scan s = scan_of(object);
    if (!scan_members(&s, &w))
        return fail_rc(&s, err);
    memcpy(ret_values, values, key_count * sizeof *values);
    return RC_OK;
}

enum rc json_member(struct span object, const char *key, struct span *ret_value,
                    enum json_type *ret_type)
{
    struct json_value value;
    enum rc rc = json_members(object, &key, 1, &value, NULL);
    if (rc != RC_OK)
        return rc;
    *ret_value = value.text;
    *ret_type = value.type;
    return RC_OK;
}

/* ---- writing ------------------------------------------------------------------------------ */

static bool add_escaped(struct buf *out, char c)
{
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    const char *at = memchr(from, c, sizeof from - 1);
    if (!at)
        return buf_addf(out, "\\u%04x", (unsigned)(unsigned char)c);
    char pair[2] = {'\\', to[at - from]};
    return buf_add(out, pair, sizeof pair);
}

bool json_add_string(struct buf *out, struct span value)
{
    size_t before = out->n;
    struct scan s = scan_of(value.p ? value : SPAN_LIT(""));
    bool ok = buf_add_byte(out, '"');
    while (ok && s.p < s.end) {
        const char *from = s.p;
        skip_plain(&s);
        ok = s.p == from || buf_add(out, from, (size_t)(s.p - from));
        if (ok && s.p < s.end)
            ok = add_escaped(out, *s.p++);
    }
    ok = ok && buf_add_byte(out, '"');
    if (!ok)
        out->n = before;
    return ok;
}

enum rc json_splice_string(struct span object, const char *key, struct span value, struct buf *out,
                           struct err *err)
{
    struct json_value old;
    enum rc rc = json_members(object, &key, 1, &old, err);
    if (rc != RC_OK)
        return rc;
    size_t before = out->n;
    bool ok;
    const char *rest;
    if (old.type != JSON_TYPE_ABSENT) {
        ok = buf_add(out, object.p, (size_t)(old.text.p - object.p)) && json_add_string(out, value);
        rest = old.text.p + old.text.n;
    } else {
        struct scan s = scan_of(object);
        skip_space(&s);
        rest = ++s.p; /* behind '{' */
        skip_space(&s);
        ok = buf_add(out, object.p, (size_t)(rest - object.p)) &&
             json_add_string(out, span_of(key)) && buf_add_byte(out, ':') &&
             json_add_string(out, value) && (*s.p == '}' || buf_add_byte(out, ','));
    }
    if (ok && buf_add(out, rest, (size_t)(object.p + object.n - rest)))
        return RC_OK;
    out->n = before;
    return err_set(err, RC_FULL, "the request body is larger than its bound");
}

/* ---- reading values ------------------------------------------------------------------------ */

static size_t put_utf8(char out[4], uint32_t c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n; --i > 0; c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    out[0] = (char)(lead[n] | c);
    return n;
}

struct span json_unquote(struct span string, char *scratch, size_t scratch_bytes)
{
    const char *p = string.p + 1, *end = string.p + string.n - 1;
    if (!memchr(p, '\\', (size_t)(end - p)))
        return (struct span){p, (size_t)(end - p)};
    size_t n = 0;
    while (p < end) {
        char piece[4] = {*p};
        size_t piece_bytes = 1;
        if (*p++ == '\\')
            piece_bytes = put_utf8(piece, (uint32_t)read_escape(&p, end));
        if (piece_bytes > scratch_bytes - n)
            return (struct span){NULL, 0};
        memcpy(scratch + n, piece, piece_bytes);
        n += piece_bytes;
    }
    return (struct span){scratch, n};
}

bool json_int64(struct span number, int64_t *ret)
{
    const char *p = number.p, *end = number.p + number.n;
    bool negative = p < end && *p == '-';
    p += negative;
    if (p == end)
        return false;
    int64_t v = 0; /* kept negative: its range is the larger one */
    for (; p < end; p++) {
        if (*p < '0' || *p > '9' || __builtin_mul_overflow(v, 10, &v) ||
            __builtin_sub_overflow(v, *p - '0', &v))
            return false;
    }
    if (!negative && v == INT64_MIN)
        return false;
    *ret = negative ? v : -v;
    return true;
}

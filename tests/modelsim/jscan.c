#include "tests/modelsim/jscan.h"

/*
 * Purpose: the JSON pull scanner. Happy path: member by member over the request, strings skipped at
 * about a byte a cycle. Failure: any malformed byte stops the scan; the caller answers 400.
 */
#include <stdint.h>
#include <string.h>

#define DEPTH_MAX 64

char jscan_peek(struct jscan *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\r' || *s->p == '\t'))
        s->p++;
    return s->p < s->end ? *s->p : '\0';
}

bool jscan_take(struct jscan *s, char c)
{
    if (jscan_peek(s) != c || s->p == s->end)
        return false;
    s->p++;
    return true;
}

bool jscan_ended(struct jscan *s)
{
    (void)jscan_peek(s);
    return s->p == s->end;
}

/* The value of four hexadecimal digits, or -1. */
static int hex4(const char *p, const char *end)
{
    if (end - p < 4)
        return -1;
    int value = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int digit;
        if (c >= '0' && c <= '9')
            digit = c - '0';
        else if (c >= 'a' && c <= 'f')
            digit = c - 'a' + 10;
        else if (c >= 'A' && c <= 'F')
            digit = c - 'A' + 10;
        else
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* The length of the well-formed UTF-8 sequence at p (Unicode table 3-7), or 0. */
static size_t utf8_len(const unsigned char *p, size_t left)
{
    unsigned char lead = p[0];
    size_t len = lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
    if (len == 0 || len > left)
        return 0;
    unsigned char low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    unsigned char high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return len;
}

static bool skip_escape(struct jscan *s)
{
    s->p++;
    if (s->p == s->end)
        return false;
    if (*s->p == 'u') {
        if (hex4(s->p + 1, s->end) < 0)
            return false;
        s->p += 5;
        return true;
    }
    if (*s->p == '\0' || strchr("\"\\/bfnrt", *s->p) == NULL)
        return false;
    s->p++;
    return true;
}

/* True while none of eight bytes is a quote, a backslash, a control or above ASCII. */
static bool plain8(const char *p)
{
    const uint64_t ones = 0x0101010101010101u;
    const uint64_t tops = 0x8080808080808080u;
    uint64_t v;
    memcpy(&v, p, sizeof v);
    uint64_t quote = v ^ (ones * '"');
    uint64_t back = v ^ (ones * '\\');
    uint64_t hits = (v - ones * 0x20) | (quote - ones) | (back - ones) | v;
    return (hits & tops) == 0;
}

bool jscan_string(struct jscan *s, struct span *ret_raw)
{
    if (!jscan_take(s, '"'))
        return false;
    const char *start = s->p;
    for (;;) {
        while (s->end - s->p >= 8 && plain8(s->p))
            s->p += 8;
        if (s->p == s->end)
            return false;
        unsigned char c = (unsigned char)*s->p;
        if (c == '"')
            break;
        if (c == '\\') {
            if (!skip_escape(s))
                return false;
        } else if (c >= 0x80) {
            size_t len = utf8_len((const unsigned char *)s->p, (size_t)(s->end - s->p));
            if (len == 0)
                return false;
            s->p += len;
        } else if (c < 0x20) {
            return false;
        } else {
            s->p++;
        }
    }
    *ret_raw = (struct span){start, (size_t)(s->p - start)};
    s->p++;
    return true;
}

static bool digits(struct jscan *s)
{
    const char *start = s->p;
    while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
        s->p++;
    return s->p > start;
}

static bool number(struct jscan *s)
{
    if (s->p < s->end && *s->p == '-')
        s->p++;
    bool zero = s->p < s->end && *s->p == '0';
    const char *start = s->p;
    if (!digits(s) || (zero && s->p - start > 1))
        return false;
    if (s->p < s->end && *s->p == '.') {
        s->p++;
        if (!digits(s))
            return false;
    }
    if (s->p < s->end && (*s->p == 'e' || *s->p == 'E')) {
        s->p++;
        if (s->p < s->end && (*s->p == '+' || *s->p == '-'))
            s->p++;
        return digits(s);
    }
    return true;
}

static bool word(struct jscan *s, const char *text)
{
    size_t len = strlen(text);
    if ((size_t)(s->end - s->p) < len || memcmp(s->p, text, len) != 0)
        return false;
    s->p += len;
    return true;
}

static bool container(struct jscan *s, char open)
{
    if (++s->depth > DEPTH_MAX)
        return false;
    s->p++;
    bool first = true;
    bool ok = true;
    struct span key;
    while (open == '{' ? jscan_member(s, &first, &key, &ok) : jscan_element(s, &first, &ok))
        if (!jscan_value(s, NULL))
            return false;
    s->depth--;
    return ok;
}

bool jscan_value(struct jscan *s, struct span *ret_value)
{
    char c = jscan_peek(s);
    const char *start = s->p;
    struct span raw;
    bool ok;
    if (c == '"')
        ok = jscan_string(s, &raw);
    else if (c == '{' || c == '[')
        ok = container(s, c);
    else if (c == 't')
        ok = word(s, "true");
    else if (c == 'f')
        ok = word(s, "false");
    else if (c == 'n')
        ok = word(s, "null");
    else
        ok = number(s);
    if (ok && ret_value != NULL)
        *ret_value = (struct span){start, (size_t)(s->p - start)};
    return ok;
}

/* The common part of members and elements: the closing bracket ends, else a comma must follow. */
static bool more(struct jscan *s, bool *first, char close, bool *ret_ok)
{
    bool was_first = *first;
    *first = false;
    *ret_ok = true;
    if (jscan_take(s, close))
        return false;
    *ret_ok = was_first || jscan_take(s, ',');
    return *ret_ok;
}

bool jscan_member(struct jscan *s, bool *first, struct span *ret_key, bool *ret_ok)
{
    if (!more(s, first, '}', ret_ok))
        return false;
    *ret_ok = jscan_string(s, ret_key) && jscan_take(s, ':');
    return *ret_ok;
}

bool jscan_element(struct jscan *s, bool *first, bool *ret_ok)
{
    return more(s, first, ']', ret_ok);
}

static void add_code_point(struct buf *out, uint32_t c)
{
    char bytes[4];
    size_t len;
    if (c < 0x80) {
        bytes[0] = (char)c;
        len = 1;
    } else if (c < 0x800) {
        bytes[0] = (char)(0xc0 | (c >> 6));
        len = 2;
    } else if (c < 0x10000) {
        bytes[0] = (char)(0xe0 | (c >> 12));
        len = 3;
    } else {
        bytes[0] = (char)(0xf0 | (c >> 18));
        len = 4;
    }
    for (size_t i = 1; i < len; i++)
        bytes[i] = (char)(0x80 | ((c >> (6 * (len - 1 - i))) & 0x3f));
    buf_add(out, bytes, len);
}

/* p stands behind "\u"; returns behind what belongs to this code point. */
static const char *unescape_u(const char *p, const char *end, struct buf *out)
{
    int high = hex4(p, end);
    p += 4;
    if (high >= 0xd800 && high < 0xdc00 && end - p >= 6 && p[0] == '\\' && p[1] == 'u') {
        int low = hex4(p + 2, end);
        if (low >= 0xdc00 && low < 0xe000) {
            add_code_point(out, (uint32_t)(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)));
            return p + 6;
        }
    }
    bool lone = high >= 0xd800 && high < 0xe000;
    add_code_point(out, lone ? 0xfffd : (uint32_t)high);
    return p;
}

void jscan_unescape(struct span raw, struct buf *out)
{
    const char *p = raw.at;
    const char *end = raw.at + raw.len;
    buf_reserve(out, raw.len + 1);
    while (p < end) {
        const char *back = memchr(p, '\\', (size_t)(end - p));
        buf_add(out, p, (size_t)((back == NULL ? end : back) - p));
        if (back == NULL)
            break;
        static const char from[] = "\"\\/bfnrt";
        static const char to[] = "\"\\/\b\f\n\r\t";
        p = back + 2;
        if (back[1] == 'u')
            p = unescape_u(p, end, out);
        else
            buf_add_char(out, to[strchr(from, back[1]) - from]);
    }
}

bool span_is(struct span span, const char *text)
{
    return strlen(text) == span.len && memcmp(span.at, text, span.len) == 0;
}

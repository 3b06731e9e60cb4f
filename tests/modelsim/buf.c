#include "tests/modelsim/buf.h"

/*
 * Purpose: the growable buffer. Happy path: append into spare room; failure: base_die on no memory.
 */
#include "tests/modelsim/base.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buf_reserve(struct buf *b, size_t more)
{
    if (b->cap - b->len >= more)
        return;
    size_t cap = b->cap == 0 ? 256 : b->cap;
    while (cap - b->len < more)
        cap *= 2;
    char *data = base_realloc(b->data, cap);
    b->data = data;
    b->cap = cap;
}

void buf_add(struct buf *b, const void *bytes, size_t len)
{
    if (len == 0)
        return;
    buf_reserve(b, len);
    memcpy(b->data + b->len, bytes, len);
    b->len += len;
}

void buf_add_text(struct buf *b, const char *text)
{
    buf_add(b, text, strlen(text));
}

void buf_add_char(struct buf *b, char c)
{
    buf_add(b, &c, 1);
}

void buf_add_int(struct buf *b, int64_t value)
{
    char digits[24];
    size_t at = sizeof digits;
    uint64_t left = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do {
        digits[--at] = (char)('0' + left % 10);
        left /= 10;
    } while (left > 0);
    if (value < 0)
        digits[--at] = '-';
    buf_add(b, digits + at, sizeof digits - at);
}

void buf_printf(struct buf *b, const char *format, ...)
{
    for (size_t room = 256;;) {
        buf_reserve(b, room);
        va_list args;
        va_start(args, format);
        int need = vsnprintf(b->data + b->len, room, format, args);
        va_end(args);
        if (need < 0)
            base_die("a text cannot be formatted");
        if ((size_t)need < room) {
            b->len += (size_t)need;
            return;
        }
        room = (size_t)need + 1;
    }
}

static void add_escape(struct buf *b, unsigned char c)
{
    static const char from[] = "\"\\\b\f\n\r\t";
    static const char to[] = "\"\\bfnrt";
    const char *hit = c == 0 ? NULL : strchr(from, c);
    if (hit != NULL) {
        char two[2] = {'\\', to[hit - from]};
        buf_add(b, two, sizeof two);
        return;
    }
    static const char hex[] = "0123456789abcdef";
    char six[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
    buf_add(b, six, sizeof six);
}

void buf_add_json(struct buf *b, const void *bytes, size_t len)
{
    const unsigned char *p = bytes;
    size_t start = 0;
    for (size_t i = 0; i < len; i++) {
        if (p[i] >= 0x20 && p[i] != '"' && p[i] != '\\')
            continue;
        buf_add(b, p + start, i - start);
        add_escape(b, p[i]);
        start = i + 1;
    }
    if (start < len)
        buf_add(b, p + start, len - start);
}

void buf_add_json_string(struct buf *b, const void *bytes, size_t len)
{
    buf_add_char(b, '"');
    buf_add_json(b, bytes, len);
    buf_add_char(b, '"');
}

void buf_add_uuid(struct buf *b, const uint8_t id[16])
{
    static const char hex[] = "0123456789abcdef";
    char text[36];
    size_t at = 0;
    for (size_t i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            text[at++] = '-';
        text[at++] = hex[id[i] >> 4];
        text[at++] = hex[id[i] & 15];
    }
    buf_add(b, text, sizeof text);
}

void buf_consume(struct buf *b, size_t n)
{
    if (n < b->len)
        memmove(b->data, b->data + n, b->len - n);
    b->len -= n;
}

void buf_done(struct buf *b)
{
    free(b->data);
    *b = (struct buf){0};
}

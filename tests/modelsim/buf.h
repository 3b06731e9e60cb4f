#ifndef MODELSIM_BUF_H
#define MODELSIM_BUF_H
/*
 * Purpose: one growable byte buffer and the small writers that replies and witness lines need.
 * Growth that fails ends the process (base_die): a stand-in without memory is of no use.
 */
#include <stddef.h>
#include <stdint.h>

/* data[0..len) are the bytes; cap is what is allocated. All zero is a valid empty buffer. */
struct buf {
    char *data;
    size_t len;
    size_t cap;
};

/* Makes room for more bytes behind len. */
void buf_reserve(struct buf *b, size_t more);
/* Appends len bytes (borrows). */
void buf_add(struct buf *b, const void *bytes, size_t len);
/* Appends a NUL-terminated text. */
void buf_add_text(struct buf *b, const char *text);
void buf_add_char(struct buf *b, char c);
/* Appends a decimal number. */
void buf_add_int(struct buf *b, int64_t value);
/* Appends printf-style text; for paths that are not hot. */
void buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Appends the inside of a JSON string (no quotes): " and \ escaped, the short escapes b f n r t,
 * every other byte below 0x20 as \u00xx in lower case, all else as it is. */
void buf_add_json(struct buf *b, const void *bytes, size_t len);
/* As buf_add_json, with the quotes. */
void buf_add_json_string(struct buf *b, const void *bytes, size_t len);
/* Appends lower-case UUID text of 16 bytes. */
void buf_add_uuid(struct buf *b, const uint8_t id[16]);
/* Drops the first n bytes (n <= len). */
void buf_consume(struct buf *b, size_t n);
/* Frees the storage; the buffer is empty and usable again. */
void buf_done(struct buf *b);

#endif

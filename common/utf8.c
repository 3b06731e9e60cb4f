/*
 * utf8.c - one strict decoder for everything that must tell text from bytes.
 *
 * Happy path: the first byte gives the length, the rest must be continuation bytes, and the value
 * must need that length. Failure: 0, and the caller decides (escape, replace, refuse).
 *
 * Whole texts are mostly ASCII, and every job's body passes here, so they are judged eight bytes at
 * a time while all eight are below 0x80.
 */
#include "common/utf8.h"

#include <string.h>

static size_t length_of(unsigned char first)
{
    if (first < 0x80)
        return 1;
    if (first < 0xc2) /* a continuation byte, or an overlong two-byte form */
        return 0;
    if (first < 0xe0)
        return 2;
    if (first < 0xf0)
        return 3;
    return first < 0xf5 ? 4 : 0;
}

size_t utf8_next(const char *p, size_t n, uint32_t *ret_char)
{
    if (n == 0)
        return 0;
    unsigned char first = (unsigned char)p[0];
    size_t len = length_of(first);
    if (len == 0 || len > n)
        return 0;
    static const uint32_t first_mask[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    uint32_t c = first & first_mask[len];
    for (size_t i = 1; i < len; i++) {
        unsigned char next = (unsigned char)p[i];
        if ((next & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (next & 0x3f);
    }
    if (c < least[len] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
        return 0;
    if (ret_char)
        *ret_char = c;
    return len;
}

size_t utf8_trim(const char *p, size_t n)
{
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        unsigned char c = (unsigned char)p[n - back];
        if ((c & 0xc0) == 0x80)
            continue;
        return length_of(c) > back ? n - back : n;
    }
    return n;
}

/* How many bytes at p are ASCII, counted in whole words; with `refuse_nul` no NUL either. When no
 * byte has its high bit set, subtracting one from each borrows into a high bit exactly where a byte
 * was zero. */
static size_t ascii_words(const char *p, size_t n, bool refuse_nul)
{
    const uint64_t ones = 0x0101010101010101u, highs = 0x8080808080808080u;
    size_t i = 0;
    for (; n - i >= sizeof(uint64_t); i += sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, p + i, sizeof word);
        uint64_t bad = refuse_nul ? word | (word - ones) : word;
        if (bad & highs)
            break;
    }
    return i;
}

static bool judge(struct span s, bool refuse_nul)
{
    size_t i = 0;
    while (i < s.n) {
        i += ascii_words(s.p + i, s.n - i, refuse_nul);
        size_t word_end = s.n - i < sizeof(uint64_t) ? s.n : i + sizeof(uint64_t);
        while (i < word_end) {
            size_t len = (signed char)s.p[i] > 0 ? 1 : utf8_next(s.p + i, s.n - i, NULL);
            if (len == 0 || (refuse_nul && s.p[i] == '\0'))
                return false;
            i += len;
        }
    }
    return true;
}

bool utf8_valid(struct span s)
{
    return judge(s, false);
}

bool utf8_text(struct span s)
{
    return judge(s, true);
}

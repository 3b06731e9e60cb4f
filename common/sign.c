/*
 * sign.c - the signature header, made and checked (pure).
 *
 * A ring holds each app's keys with their HMAC states ready, sorted by app and key id, so a check
 * is a binary search and one pass over the value. Several keys of one app may stand side by side:
 * that is how a key is changed. Nothing here prints a key, not even a broken one: a file whose
 * columns are swapped must not end up in a log.
 */
#include "common/sign.h"

#include <stdlib.h>

#include "common/hash.h"
#include "common/hex.h"

enum { MAC_HEX_BYTES = 2 * HASH_BYTES, APP_BYTES_MAX = 128, RING_KEYS_MAX = 10000 };

static const char PREFIX[] = "v1:";

struct ring_key {
    char app[APP_BYTES_MAX];
    char id[SIGN_KEY_ID_MAX];
    size_t app_bytes, id_bytes;
    struct hash_hmac hmac;
};

struct sign_ring {
    size_t count;
    struct ring_key keys[]; /* sorted by app, then id */
};

/* ---- text ------------------------------------------------------------------------------- */

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static struct span trim(struct span s)
{
    while (s.n > 0 && is_space(s.p[0])) {
        s.p++;
        s.n--;
    }
    while (s.n > 0 && is_space(s.p[s.n - 1]))
        s.n--;
    return s;
}

/* Cuts *rest at its first `c`: returns what stands before it. Absent when there is no `c`. */
static struct span cut(struct span *rest, char c)
{
    const char *at = rest->n > 0 ? memchr(rest->p, c, rest->n) : NULL;
    if (!at)
        return (struct span){NULL, 0};
    const struct span head = {rest->p, (size_t)(at - rest->p)};
    *rest = (struct span){at + 1, rest->n - head.n - 1};
    return head;
}

static bool is_key_id(struct span id)
{
    for (size_t i = 0; i < id.n; i++) {
        const char c = id.p[i], lower = (char)(c | 0x20);
        const bool good = (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || c == '.' ||
                          c == '_' || c == '-';
        if (!good)
            return false;
    }
    return id.n > 0 && id.n <= SIGN_KEY_ID_MAX;
}

/* ---- one key ---------------------------------------------------------------------------- */

enum rc sign_key_parse(struct span text, struct sign_key *ret_key, struct err *err)
{
    struct span hex = trim(text);
    struct span id = cut(&hex, ':');
    if (!id.p)
        id = SPAN_LIT("default");
    if (!is_key_id(id)) {
        return err_set(err, RC_REJECT,
                       "signing key: what stands before ':' must be a key id of 1 to %d of "
                       "A-Z a-z 0-9 . _ -",
                       SIGN_KEY_ID_MAX);
    }
    if (hex.n < 2 * SIGN_KEY_BYTES_MIN || hex.n > 2 * SIGN_KEY_BYTES_MAX) {
        return err_set(err, RC_REJECT,
                       "signing key: %zu hex digits where %d to %d are wanted (make one with: "
                       "openssl rand -hex 32)",
                       hex.n, 2 * SIGN_KEY_BYTES_MIN, 2 * SIGN_KEY_BYTES_MAX);
    }
    struct sign_key key = {.key_bytes = hex.n / 2};
    if (!hex_decode(hex, key.key)) {
        sign_key_wipe(&key);
        return err_set(err, RC_REJECT, "signing key: the key must be an even number of hex digits");
    }
    memcpy(key.id, id.p, id.n);
    *ret_key = key;
    sign_key_wipe(&key);
    return RC_OK;
}

void sign_key_wipe(struct sign_key *key)
{
    hash_wipe(key, sizeof *key);
}

size_t sign_header(const struct sign_key *key, struct span value, char out[SIGN_HEADER_BYTES])
{
    struct hash_hmac hmac;
    uint8_t mac[HASH_BYTES];
    hash_hmac_init(&hmac, (struct span){(const char *)key->key, key->key_bytes});
    hash_hmac_sha256(&hmac, value, mac);
    hash_wipe(&hmac, sizeof hmac);

    const size_t id_bytes = strnlen(key->id, SIGN_KEY_ID_MAX);
    char *p = out;
    memcpy(p, PREFIX, sizeof PREFIX - 1);
    p += sizeof PREFIX - 1;
    memcpy(p, key->id, id_bytes);
    p += id_bytes;
    *p++ = ':';
    p = hex_encode(mac, sizeof mac, p);
    *p = '\0';
    return (size_t)(p - out);
}

/* ---- the ring --------------------------------------------------------------------------- */

static int compare_bytes(const char *a, size_t a_bytes, const char *b, size_t b_bytes)
{
    const int order = memcmp(a, b, a_bytes < b_bytes ? a_bytes : b_bytes);
    return order != 0 ? order : (a_bytes > b_bytes) - (a_bytes < b_bytes);
}

static int compare_to(const struct ring_key *key, struct span app, struct span id)
{
    const int order = compare_bytes(key->app, key->app_bytes, app.p, app.n);
    return order != 0 ? order : compare_bytes(key->id, key->id_bytes, id.p, id.n);
}

static int compare_keys(const void *a, const void *b)
{
    const struct ring_key *key = b;
    return compare_to(a, (struct span){key->app, key->app_bytes},
                      (struct span){key->id, key->id_bytes});
}

static const struct ring_key *find(const struct sign_ring *ring, struct span app, struct span id)
{
    size_t low = 0, high = ring->count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const int order = compare_to(&ring->keys[middle], app, id);
        if (order == 0)
            return &ring->keys[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* The next line of *rest without its end, spaces and comment; absent at the end of the text. */
static struct span next_line(struct span *rest)
{
    if (rest->n == 0)
        return (struct span){NULL, 0};
    struct span line = cut(rest, '\n');
    if (!line.p) { /* the last line has no end */
        line = *rest;
        rest->n = 0;
    }
    const struct span before_comment = cut(&line, '#');
    return trim(before_comment.p ? before_comment : line);
}

static enum rc parse_line(struct span line, struct ring_key *ret, struct err *err)
{
    size_t app_bytes = 0;
    while (app_bytes < line.n && !is_space(line.p[app_bytes]))
        app_bytes++;
    if (app_bytes == line.n || app_bytes > APP_BYTES_MAX) {
        return err_set(err, RC_REJECT, "a line is: APP KEY-ID:HEX (APP of 1 to %d bytes)",
                       APP_BYTES_MAX);
    }
    struct sign_key key;
    const enum rc rc =
        sign_key_parse((struct span){line.p + app_bytes, line.n - app_bytes}, &key, err);
    if (rc != RC_OK)
        return rc;
    *ret = (struct ring_key){.app_bytes = app_bytes, .id_bytes = strlen(key.id)};
    memcpy(ret->app, line.p, app_bytes);
    memcpy(ret->id, key.id, ret->id_bytes);
    hash_hmac_init(&ret->hmac, (struct span){(const char *)key.key, key.key_bytes});
    sign_key_wipe(&key);
    return RC_OK;
}

static size_t count_keys(struct span text)
{
    size_t count = 0;
    for (struct span line; (line = next_line(&text)).p;)
        count += line.n > 0;
    return count;
}

static enum rc fill(struct sign_ring *ring, struct span text, struct err *err)
{
    int number = 0;
    for (struct span line; (line = next_line(&text)).p;) {
        number++;
        if (line.n == 0)
            continue;
        const enum rc rc = parse_line(line, &ring->keys[ring->count], err);
        if (rc != RC_OK)
            return err_prefix(err, rc, "line %d", number);
        ring->count++;
    }
    if (ring->count > 1)
        qsort(ring->keys, ring->count, sizeof ring->keys[0], compare_keys);
    for (size_t i = 1; i < ring->count; i++) {
        if (compare_keys(&ring->keys[i - 1], &ring->keys[i]) == 0) {
            return err_set(err, RC_REJECT,
                           "an app has two keys with one id; give each key an id of its own");
        }
    }
    return RC_OK;
}

enum rc sign_ring_parse(struct span text, struct sign_ring **ret_ring, struct err *err)
{
    const size_t count = count_keys(text);
    if (count > RING_KEYS_MAX)
        return err_set(err, RC_REJECT, "%zu keys; at most %d are taken", count, RING_KEYS_MAX);
    struct sign_ring *ring = calloc(1, sizeof *ring + count * sizeof ring->keys[0]);
    if (!ring)
        return err_set(err, RC_NOMEM, "no memory for %zu keys", count);
    const enum rc rc = fill(ring, text, err);
    if (rc != RC_OK) {
        sign_ring_free(ring);
        return rc;
    }
    *ret_ring = ring;
    return RC_OK;
}

void sign_ring_free(struct sign_ring *ring)
{
    if (ring) {
        hash_wipe(ring->keys, ring->count * sizeof ring->keys[0]);
        free(ring);
    }
}

size_t sign_ring_count(const struct sign_ring *ring)
{
    return ring->count;
}

/* The first key that is not before the app's would-be first is the app's, if it has any. */
bool sign_ring_knows(const struct sign_ring *ring, struct span app)
{
    size_t low = 0, high = ring->count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (compare_to(&ring->keys[middle], app, SPAN_LIT("")) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < ring->count &&
           span_eq(app, (struct span){ring->keys[low].app, ring->keys[low].app_bytes});
}

bool sign_verify(const struct sign_ring *ring, struct span app, struct span header,
                 struct span value)
{
    struct span rest = header;
    const struct span version = cut(&rest, ':');
    const struct span id = cut(&rest, ':');
    if (!version.p || !id.p || !span_is(version, "v1") || rest.n != MAC_HEX_BYTES || app.n == 0)
        return false;
    uint8_t claimed[HASH_BYTES], mac[HASH_BYTES];
    const struct ring_key *key = find(ring, app, id);
    if (!key || !hex_decode(rest, claimed))
        return false;
    hash_hmac_sha256(&key->hmac, value, mac);
    return hash_equal(claimed, mac, sizeof mac);
}

/*
 * dead_msg.c - the dead-letter message, version 1 (pure).
 *
 * Encoding never refuses a payload: a dead letter must be sayable whatever bytes died. Its texts
 * must be UTF-8 without NUL, as everything is that comes out of Postgres. Decoding walks the bytes
 * like job_msg.c does, by a table, and is as strict about shape; unknown keys are passed over.
 */
#include "common/dead_msg.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/codes.h"
#include "common/mp_read.h"
#include "common/mp_write.h"
#include "common/utf8.h"

enum { DEAD_MSG_VERSION = 1 };

enum field_kind {
    FIELD_VERSION,
    FIELD_INT,
    FIELD_INT64,
    FIELD_TIME, /* int64; 0 is absent */
    FIELD_TEXT,
    FIELD_BYTES,
    FIELD_ID,
};

struct field {
    const char *name;
    enum field_kind kind;
    bool required;
    size_t offset; /* of the member in struct dead_msg */
};

#define AT(member) offsetof(struct dead_msg, member)

static const struct field fields[] = {
    {"v", FIELD_VERSION, true, 0},
    {"dead_id", FIELD_INT64, true, AT(dead_id)},
    {"job_id", FIELD_ID, false, AT(job_id)},
    {"app", FIELD_TEXT, false, AT(app)},
    {"task", FIELD_TEXT, false, AT(task)},
    {"custom_id", FIELD_TEXT, false, AT(custom_id)},
    {"class", FIELD_INT, true, AT(class_code)},
    {"reason", FIELD_TEXT, false, AT(reason)},
    {"attempts", FIELD_INT, true, AT(attempts)},
    {"model_version", FIELD_TEXT, false, AT(model_version)},
    {"topic", FIELD_TEXT, false, AT(topic)},
    {"partition", FIELD_INT, false, AT(partition)},
    {"offset", FIELD_INT64, false, AT(offset)},
    {"timestamp", FIELD_TIME, false, AT(timestamp_ms)},
    {"died_at", FIELD_INT64, true, AT(died_at_ms)},
    {"payload", FIELD_BYTES, true, AT(payload)},
};
enum { FIELD_COUNT = sizeof fields / sizeof fields[0] };
_Static_assert(FIELD_COUNT <= 32, "one bit of `seen` per field");

/* ---- decoding --------------------------------------------------------------------------- */

static enum rc wrong(const struct field *f, const char *wanted, struct err *err)
{
    return err_set(err, RC_REJECT, "dead letter: key '%s' must be %s", f->name, wanted);
}

static enum rc read_int(const struct field *f, const struct mp_token *token, void *member,
                        struct err *err)
{
    const bool wide = f->kind != FIELD_INT;
    if (token->type != MP_UINT || token->u > (uint64_t)(wide ? INT64_MAX : INT32_MAX))
        return wrong(f, wide ? "an int from 0 to 2^63-1" : "an int from 0 to 2^31-1", err);
    if (wide)
        *(int64_t *)member = (int64_t)token->u;
    else
        *(int *)member = (int)token->u;
    return RC_OK;
}

static enum rc read_field(const struct field *f, const struct mp_token *token, struct dead_msg *msg,
                          struct err *err)
{
    void *member = (char *)msg + f->offset;
    switch (f->kind) {
    case FIELD_VERSION:
        return token->type == MP_UINT && token->u == DEAD_MSG_VERSION ? RC_OK : wrong(f, "1", err);
    case FIELD_INT:
    case FIELD_INT64:
    case FIELD_TIME:
        return read_int(f, token, member, err);
    case FIELD_TEXT:
        if (token->type != MP_STR || !utf8_text(token->bytes))
            return wrong(f, "str, UTF-8 without NUL", err);
        *(struct span *)member = token->bytes;
        return RC_OK;
    case FIELD_BYTES:
        if (token->type != MP_BIN)
            return wrong(f, "bin", err);
        *(struct span *)member = token->bytes;
        return RC_OK;
    case FIELD_ID:
        if (token->type != MP_BIN || token->bytes.n != ID_BYTES)
            return wrong(f, "bin of 16 bytes", err);
        memcpy(member, token->bytes.p, ID_BYTES);
        return RC_OK;
    }
    return wrong(f, "known", err);
}

static int find_field(struct span key)
{
    for (int row = 0; row < FIELD_COUNT; row++)
        if (span_is(key, fields[row].name))
            return row;
    return -1;
}

/* One pair at *at, of which mp_check has said that it is well-formed. */
static enum rc read_pair(struct mp_cursor *at, uint32_t *seen, struct dead_msg *msg,
                         struct err *err)
{
    struct mp_token key, token;
    if (mp_next(at, &key) != MP_OK || key.type != MP_STR)
        return err_set(err, RC_REJECT, "dead letter: a key is not str");
    struct mp_cursor value = *at;
    if (mp_skip(at) != MP_OK || mp_next(&value, &token) != MP_OK)
        return err_set(err, RC_REJECT, "dead letter: cut");
    const int row = find_field(key.bytes);
    if (row < 0)
        return RC_OK;
    const uint32_t bit = (uint32_t)1 << row;
    if (*seen & bit)
        return err_set(err, RC_REJECT, "dead letter: key '%s' stands there twice",
                       fields[row].name);
    *seen |= bit;
    if (token.type == MP_NIL && !fields[row].required)
        return RC_OK; /* as good as absent */
    return read_field(&fields[row], &token, msg, err);
}

enum rc dead_msg_decode(const void *p, size_t n, struct dead_msg *ret, struct err *err)
{
    const struct span bytes = {p, p ? n : 0};
    const enum mp_fault fault = mp_check(bytes);
    if (fault != MP_OK)
        return err_set(err, RC_REJECT, "dead letter: not msgpack: %s", mp_fault_text(fault));
    struct mp_cursor at = mp_cursor_of(bytes);
    struct mp_token map;
    if (mp_next(&at, &map) != MP_OK || map.type != MP_MAP)
        return err_set(err, RC_REJECT, "dead letter: not a msgpack map");

    struct dead_msg msg = {.partition = -1, .offset = -1};
    uint32_t seen = 0;
    for (uint64_t i = 0; i < map.u; i++) {
        const enum rc rc = read_pair(&at, &seen, &msg, err);
        if (rc != RC_OK)
            return rc;
    }
    for (int row = 0; row < FIELD_COUNT; row++) {
        if (fields[row].required && !(seen & (uint32_t)1 << row))
            return err_set(err, RC_REJECT, "dead letter: key '%s' is missing", fields[row].name);
    }
    const bool has_topic = msg.topic.p != NULL;
    if (has_topic != (msg.partition >= 0) || has_topic != (msg.offset >= 0))
        return err_set(err, RC_REJECT,
                       "dead letter: keys 'topic', 'partition' and 'offset' go together");
    *ret = msg;
    return RC_OK;
}

/* ---- encoding --------------------------------------------------------------------------- */

/* Whether a row's value is there to be written. The optional numbers are a record's coordinates:
 * they stand with its topic, or not at all. */
static bool is_present(const struct field *f, const struct dead_msg *msg)
{
    static const struct jobid none;
    const void *member = (const char *)msg + f->offset;
    switch (f->kind) {
    case FIELD_VERSION:
    case FIELD_BYTES:
        return true;
    case FIELD_INT:
    case FIELD_INT64:
        return f->required || msg->topic.p;
    case FIELD_TIME:
        return *(const int64_t *)member > 0;
    case FIELD_TEXT:
        return ((const struct span *)member)->p != NULL;
    case FIELD_ID:
        return !jobid_eq(member, &none);
    }
    return false;
}

static enum rc put_field(const struct field *f, const struct dead_msg *msg, struct buf *out,
                         struct err *err)
{
    const void *member = (const char *)msg + f->offset;
    mp_put_str(out, span_of(f->name));
    switch (f->kind) {
    case FIELD_VERSION:
        mp_put_int(out, DEAD_MSG_VERSION);
        break;
    case FIELD_INT:
    case FIELD_INT64:
    case FIELD_TIME: {
        const int64_t v = f->kind == FIELD_INT ? *(const int *)member : *(const int64_t *)member;
        if (v < 0)
            return wrong(f, "0 or more", err);
        mp_put_int(out, v);
        break;
    }
    case FIELD_TEXT:
        if (!utf8_text(*(const struct span *)member))
            return wrong(f, "UTF-8 without NUL", err);
        mp_put_str(out, *(const struct span *)member);
        break;
    case FIELD_BYTES:
        mp_put_bin(out, *(const struct span *)member);
        break;
    case FIELD_ID:
        mp_put_bin(out, (struct span){member, ID_BYTES});
        break;
    }
    return RC_OK;
}

/* The class in words, for people and other programs; a reader here goes by the number. */
static void put_class_name(const struct dead_msg *msg, struct buf *out)
{
    mp_put_str(out, SPAN_LIT("class_name"));
    mp_put_str(out, span_of(class_name(msg->class_code)));
}

enum rc dead_msg_encode(const struct dead_msg *msg, struct buf *out, struct err *err)
{
    const size_t start = out->n;
    uint32_t pairs = 1;
    for (int row = 0; row < FIELD_COUNT; row++)
        pairs += is_present(&fields[row], msg);
    mp_put_map(out, pairs);
    enum rc rc = RC_OK;
    for (int row = 0; row < FIELD_COUNT && rc == RC_OK; row++)
        if (is_present(&fields[row], msg))
            rc = put_field(&fields[row], msg, out, err);
    put_class_name(msg, out);
    if (rc == RC_OK && out->failed)
        rc = err_set(err, RC_FULL, "the dead letter does not fit in a buffer of %zu bytes",
                     out->max_bytes);
    if (rc != RC_OK)
        out->n = start;
    return rc;
}

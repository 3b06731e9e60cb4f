/*
 * job_msg.c - the job message, version 1, read (pure).
 *
 * The bytes are first checked as a whole (mp_check: depth, counts, lengths), so the walk
 * over them cannot fail; then the version is looked up, because a stranger's keys may mean
 * something else; then each known key is read by its row in `fields`. A bad field does not end the
 * walk: the first fault is what the caller hears, and the rest is still read, so that the dead
 * letter can say whose job it was. What stands in the result has passed its own check, always.
 */
#include "common/job_msg.h"

#include <inttypes.h>
#include <stddef.h>

#include "common/codes.h"
#include "common/job_msg_internal.h"
#include "common/mp_read.h"
#include "common/outspec.h"
#include "common/utf8.h"

enum { LABEL_BYTES_MAX = 128 };

static const int64_t TIME_MAX_MS = ((int64_t)1 << 48) - 1; /* what an id's six bytes hold */

struct field;
/* Reads the one value that `value` holds. Knows that it is well-formed and not nil. */
typedef enum rc (*field_read)(const struct field *f, struct mp_cursor value, struct job_msg *msg,
                              struct err *err);

struct field {
    const char *name;
    size_t name_bytes;
    field_read read;
    bool required;
    size_t offset;    /* of the member in struct job_msg */
    size_t size;      /* of an integer member */
    int64_t min, max; /* of an integer; `max` also a text's length in bytes */
};

/* ---- readers of one field --------------------------------------------------------------- */

static enum rc wrong_type(const char *name, const char *wanted, enum mp_type got, struct err *err)
{
    return err_set(err, RC_REJECT, "key '%s' must be %s, and is %s", name, wanted,
                   mp_type_name(got));
}

/* Its first token; nil when it is absent. */
static struct mp_token token_of(struct mp_cursor value)
{
    struct mp_token token = {.type = MP_NIL};
    if (value.p)
        (void)mp_next(&value, &token); /* well-formed: mp_check saw it */
    return token;
}

static void *member(struct job_msg *msg, const struct field *f)
{
    return (char *)msg + f->offset;
}

static enum rc check_text(const char *name, const struct mp_token *token, size_t max_bytes,
                          struct err *err)
{
    if (token->type != MP_STR)
        return wrong_type(name, "str", token->type, err);
    if (token->bytes.n > max_bytes)
        return err_set(err, RC_REJECT, "key '%s' has %zu bytes; at most %zu are taken", name,
                       token->bytes.n, max_bytes);
    if (!utf8_text(token->bytes))
        return err_set(err, RC_REJECT, "key '%s' is not UTF-8 text without NUL", name);
    return RC_OK;
}

/* An empty text says what an absent one says. */
static enum rc read_text(const struct field *f, struct mp_cursor value, struct job_msg *msg,
                         struct err *err)
{
    const struct mp_token token = token_of(value);
    const enum rc rc = check_text(f->name, &token, (size_t)f->max, err);
    if (rc != RC_OK)
        return rc;
    if (token.bytes.n > 0)
        *(struct span *)member(msg, f) = token.bytes;
    else if (f->required)
        return err_set(err, RC_REJECT, "key '%s' is empty", f->name);
    return RC_OK;
}

static enum rc read_int(const struct field *f, struct mp_cursor value, struct job_msg *msg,
                        struct err *err)
{
    const struct mp_token token = token_of(value);
    if (token.type != MP_UINT && token.type != MP_NEGATIVE)
        return wrong_type(f->name, "int", token.type, err);
    if (token.type == MP_NEGATIVE || token.u > (uint64_t)f->max || token.u < (uint64_t)f->min)
        return err_set(err, RC_REJECT, "key '%s' must be from %" PRId64 " to %" PRId64, f->name,
                       f->min, f->max);
    if (f->size == sizeof(int64_t)) {
        memcpy(member(msg, f), &token.u, sizeof(int64_t));
    } else {
        const uint32_t v = (uint32_t)token.u; /* an int's bounds are below INT_MAX */
        memcpy(member(msg, f), &v, sizeof v);
    }
    return RC_OK;
}

static enum rc read_id(const struct field *f, struct mp_cursor value, struct job_msg *msg,
                       struct err *err)
{
    const struct mp_token token = token_of(value);
    if (token.type != MP_BIN)
        return wrong_type(f->name, "bin of 16 bytes", token.type, err);
    if (token.bytes.n != ID_BYTES)
        return err_set(err, RC_REJECT, "key '%s' has %zu bytes; an id has 16", f->name,
                       token.bytes.n);
    memcpy(member(msg, f), token.bytes.p, ID_BYTES);
    return RC_OK;
}

static enum rc read_priority(const struct field *f, struct mp_cursor value, struct job_msg *msg,
                             struct err *err)
{
    const struct mp_token token = token_of(value);
    if (token.type != MP_STR)
        return wrong_type(f->name, "str", token.type, err);
    for (int priority = 0; priority < PRIORITY_COUNT; priority++) {
        if (span_is(token.bytes, priority_name(priority))) {
            msg->priority = priority;
            return RC_OK;
        }
    }
    return err_set(err, RC_REJECT, "key '%s' must be high, normal or low", f->name);
}

/* The length of a dot at p, plain or as %2e; 0: there is none. */
static size_t dot_at(struct span s, size_t i)
{
    if (i < s.n && s.p[i] == '.')
        return 1;
    return i + 2 < s.n && s.p[i] == '%' && s.p[i + 1] == '2' && (s.p[i + 2] | 0x20) == 'e' ? 3 : 0;
}

/* Whether the path segment that starts at i is "." or "..", by which HTTP clients climb. */
static bool is_dot_segment(struct span url, size_t i)
{
    const size_t first = dot_at(url, i);
    const size_t end = i + first + (first ? dot_at(url, i + first) : 0);
    return first && (end == url.n || url.p[end] == '/' || url.p[end] == '?');
}

/* What is appended to an endpoint's base URL must not leave it: visible ASCII from a '/' on,
 * without a fragment and without "." and ".." segments. */
static bool is_path(struct span url)
{
    if (url.n == 0 || url.p[0] != '/')
        return false;
    bool in_query = false;
    for (size_t i = 0; i < url.n; i++) {
        const char c = url.p[i];
        if (c <= ' ' || c > '~' || c == '#' || c == '\\')
            return false;
        in_query = in_query || c == '?';
        if (c == '/' && !in_query && is_dot_segment(url, i + 1))
            return false;
    }
    return true;
}

static enum rc read_url(const struct field *f, struct mp_cursor value, struct job_msg *msg,
                        struct err *err)
{
    const struct mp_token token = token_of(value);
    const enum rc rc = check_text(f->name, &token, (size_t)f->max, err);
    if (rc != RC_OK)
        return rc;
    if (!is_path(token.bytes))
        return err_set(err, RC_REJECT,
                       "key '%s' must be a path such as /v1/chat/completions: visible ASCII from "
                       "'/' on, without '#', '\\' and dot segments",
                       f->name);
    msg->url = token.bytes;
    return RC_OK;
}

static bool is_json_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool looks_like_object(struct span s)
{
    size_t first = 0, end = s.n;
    while (first < end && is_json_space(s.p[first]))
        first++;
    while (end > first && is_json_space(s.p[end - 1]))
        end--;
    return end - first >= 2 && s.p[first] == '{' && s.p[end - 1] == '}';
}

/* Only what costs little: whoever sends a body on parses it as JSON (submit, and the worker). */
static enum rc read_body(const struct field *f, struct mp_cursor value, struct job_msg *msg,
                         struct err *err)
{
    const struct mp_token token = token_of(value);
    if (token.type != MP_BIN)
        return wrong_type(f->name, "bin", token.type, err);
    if (!looks_like_object(token.bytes) || !utf8_text(token.bytes))
        return err_set(err, RC_REJECT, "key '%s' must be a JSON object in UTF-8", f->name);
    msg->body = token.bytes;
    return RC_OK;
}

/* open_message has judged it; here it only counts as seen. */
static enum rc read_version(const struct field *f, struct mp_cursor value, struct job_msg *msg,
                            struct err *err)
{
    (void)f, (void)value, (void)msg, (void)err;
    return RC_OK;
}

static enum rc refuse_prompt(const struct field *f, struct mp_cursor value, struct job_msg *msg,
                             struct err *err)
{
    (void)value, (void)msg;
    return err_set(err, RC_REJECT,
                   "key '%s': prompts by reference are not served by this version; send the "
                   "rendered request in 'body'",
                   f->name);
}

/* ---- tags and output -------------------------------------------------------------------- */

static struct span span_between(const uint8_t *from, const uint8_t *to)
{
    return (struct span){(const char *)from, (size_t)(to - from)};
}

/* Whether one of the first `count` keys of the pairs at `pairs` is `key`. */
static bool has_tag(struct mp_cursor pairs, uint64_t count, struct span key)
{
    for (uint64_t i = 0; i < count; i++) {
        struct mp_token name;
        if (mp_next(&pairs, &name) != MP_OK || mp_skip(&pairs) != MP_OK)
            return false;
        if (span_eq(name.bytes, key))
            return true;
    }
    return false;
}

enum rc job_msg_check_tags(const char *name, struct mp_cursor value, struct err *err)
{
    struct mp_token map, key, text;
    if (mp_next(&value, &map) != MP_OK || map.type != MP_MAP)
        return err_set(err, RC_REJECT, "key '%s' must be a map of str to str", name);
    if (map.u > JOB_TAGS_MAX)
        return err_set(err, RC_REJECT, "key '%s' has %" PRIu64 " pairs; at most %d are taken", name,
                       map.u, JOB_TAGS_MAX);
    const struct mp_cursor pairs = value;
    for (uint64_t i = 0; i < map.u; i++) {
        if (mp_next(&value, &key) != MP_OK || mp_next(&value, &text) != MP_OK)
            return err_set(err, RC_REJECT, "key '%s' is cut", name);
        enum rc rc = check_text("tags: a key", &key, JOB_NAME_BYTES_MAX, err);
        if (rc == RC_OK)
            rc = check_text("tags: a value", &text, JOB_TEXT_BYTES_MAX, err);
        if (rc != RC_OK)
            return rc;
        if (key.bytes.n == 0 || has_tag(pairs, i, key.bytes))
            return err_set(err, RC_REJECT, "key '%s' holds an empty name, or one name twice", name);
    }
    return RC_OK;
}

static enum rc read_tags(const struct field *f, struct mp_cursor value, struct job_msg *msg,
                         struct err *err)
{
    const enum rc rc = job_msg_check_tags(f->name, value, err);
    if (rc == RC_OK)
        msg->tags = span_between(value.p, value.end);
    return rc;
}

enum rc job_msg_check_labels(struct mp_cursor value, uint32_t *ret_count, struct err *err)
{
    struct mp_token list, label;
    if (mp_next(&value, &list) != MP_OK || list.type != MP_ARRAY)
        return err_set(err, RC_REJECT, "key 'output': 'labels' must be an array of str");
    if (list.u == 0 || list.u > OUTSPEC_LABELS_MAX)
        return err_set(err, RC_REJECT, "key 'output': %" PRIu64 " labels; 1 to %d are taken",
                       list.u, OUTSPEC_LABELS_MAX);
    for (uint64_t i = 0; i < list.u; i++) {
        if (mp_next(&value, &label) != MP_OK)
            return err_set(err, RC_REJECT, "key 'output': 'labels' is cut");
        const enum rc rc = check_text("output: a label", &label, LABEL_BYTES_MAX, err);
        if (rc != RC_OK)
            return rc;
        if (label.bytes.n == 0)
            return err_set(err, RC_REJECT, "key 'output': a label is empty");
    }
    *ret_count = (uint32_t)list.u;
    return RC_OK;
}

const char *const job_msg_kind_names[KIND_COUNT] = {
    [OUTPUT_TEXT] = "text", [OUTPUT_JSON] = "json", [OUTPUT_LABEL] = "label"};

static int kind_of(const struct mp_token *token)
{
    for (int kind = 0; token->type == MP_STR && kind < KIND_COUNT; kind++) {
        if (span_is(token->bytes, job_msg_kind_names[kind]))
            return kind;
    }
    return -1;
}

/* What the map `output` holds, each value still as its bytes; p NULL: absent (or nil). */
struct output_parts {
    struct mp_cursor kind, schema, labels;
};

static enum rc split_output(struct mp_cursor value, struct output_parts *ret, struct err *err)
{
    struct mp_token map, key;
    if (mp_next(&value, &map) != MP_OK || map.type != MP_MAP)
        return err_set(err, RC_REJECT, "key 'output' must be a map");
    for (uint64_t i = 0; i < map.u; i++) {
        if (mp_next(&value, &key) != MP_OK || key.type != MP_STR)
            return err_set(err, RC_REJECT, "key 'output': its keys must be str");
        struct mp_cursor part = value;
        if (mp_skip(&value) != MP_OK)
            return err_set(err, RC_REJECT, "key 'output' is cut");
        part.end = value.p;
        struct mp_cursor *slot = span_is(key.bytes, "kind")     ? &ret->kind
                                 : span_is(key.bytes, "schema") ? &ret->schema
                                 : span_is(key.bytes, "labels") ? &ret->labels
                                                                : NULL;
        if (slot && slot->p)
            return err_set(err, RC_REJECT, "key 'output' holds '%.*s' twice", (int)key.bytes.n,
                           key.bytes.p);
        if (slot)
            *slot = part;
    }
    return RC_OK;
}

static enum rc read_output(const struct field *f, struct mp_cursor value, struct job_msg *msg,
                           struct err *err)
{
    (void)f;
    struct output_parts parts = {.kind = {NULL, NULL}};
    enum rc rc = split_output(value, &parts, err);
    if (rc != RC_OK)
        return rc;
    const struct mp_token kind_token = token_of(parts.kind), schema = token_of(parts.schema);
    const int kind = kind_of(&kind_token);
    const bool has_schema = schema.type != MP_NIL;
    const bool has_labels = token_of(parts.labels).type != MP_NIL;
    if (kind < 0)
        return err_set(err, RC_REJECT, "key 'output': 'kind' must be text, json or label");
    if (has_schema != (kind == OUTPUT_JSON) || has_labels != (kind == OUTPUT_LABEL))
        return err_set(err, RC_REJECT,
                       "key 'output': 'schema' goes with kind json, 'labels' with kind label, and "
                       "neither with another");
    uint32_t count = 0;
    if (has_schema && schema.bytes.n == 0 && schema.type == MP_STR)
        return err_set(err, RC_REJECT, "key 'output': 'schema' is empty");
    if (has_schema)
        rc = check_text("output: schema", &schema, OUTSPEC_SCHEMA_BYTES_MAX, err);
    if (has_labels)
        rc = job_msg_check_labels(parts.labels, &count, err);
    if (rc != RC_OK)
        return rc;
    msg->output_kind = (enum output_kind)kind;
    msg->output_schema = has_schema ? schema.bytes : (struct span){NULL, 0};
    if (has_labels)
        msg->output_labels = span_between(parts.labels.p, parts.labels.end);
    msg->output_label_count = count;
    return RC_OK;
}

/* ---- the table -------------------------------------------------------------------------- */

#define AT(member) offsetof(struct job_msg, member), sizeof(((struct job_msg *)0)->member)

#define NAME(text) (text), sizeof(text) - 1

/* In the order in which messages are written: a reader that meets them so finds each at once. */
static const struct field fields[] = {
    {NAME("v"), read_version, true, 0, 0, 0, 0},
    {NAME("job_id"), read_id, true, AT(job_id), 0, 0},
    {NAME("batch_id"), read_id, true, AT(batch_id), 0, 0},
    {NAME("batch"), read_text, true, AT(batch), 0, JOB_TEXT_BYTES_MAX},
    {NAME("custom_id"), read_text, true, AT(custom_id), 0, JOB_TEXT_BYTES_MAX},
    {NAME("app"), read_text, true, AT(app), 0, JOB_NAME_BYTES_MAX},
    {NAME("task"), read_text, false, AT(task), 0, JOB_NAME_BYTES_MAX},
    {NAME("team"), read_text, false, AT(team), 0, JOB_NAME_BYTES_MAX},
    {NAME("priority"), read_priority, false, AT(priority), 0, 0},
    {NAME("url"), read_url, true, AT(url), 0, JOB_TEXT_BYTES_MAX},
    {NAME("body"), read_body, true, AT(body), 0, 0},
    {NAME("output"), read_output, false, AT(output_kind), 0, 0},
    {NAME("context_version"), read_text, false, AT(context_version), 0, JOB_TEXT_BYTES_MAX},
    {NAME("prompt_version"), read_text, false, AT(prompt_version), 0, JOB_TEXT_BYTES_MAX},
    {NAME("sensitivity"), read_text, false, AT(sensitivity), 0, JOB_NAME_BYTES_MAX},
    {NAME("tags"), read_tags, false, AT(tags), 0, 0},
    {NAME("created_at"), read_int, true, AT(created_at_ms), 0, TIME_MAX_MS},
    {NAME("deadline"), read_int, false, AT(deadline_ms), 1, TIME_MAX_MS},
    {NAME("max_attempts"), read_int, false, AT(max_attempts), 1, JOB_ATTEMPTS_MAX},
    {NAME("max_cost"), read_int, false, AT(max_cost_nusd), 0, INT64_MAX},
    {NAME("generation"), read_int, false, AT(generation), 0, UINT32_MAX},
    {NAME("prompt"), refuse_prompt, false, 0, 0, 0, 0},
    {NAME("variables"), refuse_prompt, false, 0, 0, 0, 0},
};
enum { FIELD_COUNT = sizeof fields / sizeof fields[0] };

/* The row of `key`, looked for from row `from` on, round; -1: none of ours. */
static int find_field(struct span key, int from)
{
    for (int i = 0; i < FIELD_COUNT; i++) {
        const int row = from + i < FIELD_COUNT ? from + i : from + i - FIELD_COUNT;
        if (span_eq(key, (struct span){fields[row].name, fields[row].name_bytes}))
            return row;
    }
    return -1;
}

/* ---- the message ------------------------------------------------------------------------ */

/* The walk over the message's pairs. */
struct walk {
    struct mp_cursor at; /* the pairs, behind the map's head */
    uint64_t left;
};

/* The next pair; false at the end. Well-formed bytes: mp_check saw them. */
static bool next_pair(struct walk *walk, struct mp_token *ret_key, struct mp_cursor *ret_value)
{
    if (walk->left == 0)
        return false;
    walk->left--;
    const uint8_t *start = walk->at.p;
    if (mp_next(&walk->at, ret_key) != MP_OK)
        return false;
    if (ret_key->type == MP_ARRAY || ret_key->type == MP_MAP) { /* a key, but none of ours */
        walk->at.p = start;
        if (mp_skip(&walk->at) != MP_OK)
            return false;
    }
    ret_value->p = walk->at.p;
    if (mp_skip(&walk->at) != MP_OK)
        return false;
    ret_value->end = walk->at.p;
    return true;
}

/* Whole bytes, one map, our version. */
static enum rc open_message(struct span bytes, struct walk *ret, struct err *err)
{
    if (bytes.n == 0)
        return err_set(err, RC_REJECT, "the record is empty");
    if (bytes.n > JOB_MSG_BYTES_MAX)
        return err_set(err, RC_REJECT, "%zu bytes; a job has at most %d", bytes.n,
                       JOB_MSG_BYTES_MAX);
    const enum mp_fault fault = mp_check(bytes);
    if (fault != MP_OK)
        return err_set(err, RC_REJECT, "not msgpack: %s", mp_fault_text(fault));
    struct mp_cursor at = mp_cursor_of(bytes), value;
    struct mp_token map, key;
    if (mp_next(&at, &map) != MP_OK || map.type != MP_MAP)
        return err_set(err, RC_REJECT, "not a msgpack map");
    struct walk walk = {at, map.u};
    while (next_pair(&walk, &key, &value)) {
        if (key.type != MP_STR || !span_is(key.bytes, "v"))
            continue;
        const struct mp_token version = token_of(value);
        if (version.type != MP_UINT || version.u != JOB_MSG_VERSION)
            return err_set(err, RC_REJECT, "key 'v' must be %d: another version of the message",
                           JOB_MSG_VERSION);
        *ret = (struct walk){at, map.u};
        return RC_OK;
    }
    return err_set(err, RC_REJECT, "key 'v', the message's version, is missing");
}

/* One known pair. `seen` has a bit per row: which of two values a reader would believe is not
 * known, so neither is taken. */
static enum rc read_field(int row, struct mp_cursor value, uint32_t *seen, struct job_msg *msg,
                          struct err *err)
{
    const struct field *f = &fields[row];
    const uint32_t bit = (uint32_t)1 << row;
    if (*seen & bit)
        return err_set(err, RC_REJECT, "key '%s' stands there twice", f->name);
    *seen |= bit;
    if (token_of(value).type != MP_NIL)
        return f->read(f, value, msg, err);
    return f->required ? err_set(err, RC_REJECT, "key '%s' is nil", f->name) : RC_OK;
}

static enum rc check_required(uint32_t seen, struct err *err)
{
    for (int row = 0; row < FIELD_COUNT; row++) {
        if (fields[row].required && !(seen & (uint32_t)1 << row))
            return err_set(err, RC_REJECT, "key '%s' is missing", fields[row].name);
    }
    return RC_OK;
}

_Static_assert(FIELD_COUNT <= 32, "one bit of `seen` per field");

static enum rc read_fields(struct walk *walk, struct job_msg *msg, struct err *err)
{
    enum rc first = RC_OK;
    uint32_t seen = 0;
    int next = 0; /* the row that follows the last one met */
    struct mp_token key;
    struct mp_cursor value;
    while (next_pair(walk, &key, &value)) {
        enum rc rc = RC_OK;
        const int row = key.type == MP_STR ? find_field(key.bytes, next) : -1;
        if (row >= 0) {
            rc = read_field(row, value, &seen, msg, first == RC_OK ? err : NULL);
            next = row + 1 < FIELD_COUNT ? row + 1 : 0;
        } else if (key.type != MP_STR && first == RC_OK) {
            rc = err_set(err, RC_REJECT, "a key is %s; keys are str", mp_type_name(key.type));
        }
        first = first == RC_OK ? rc : first;
    }
    return first == RC_OK ? check_required(seen, err) : first;
}

enum rc job_msg_decode(const void *p, size_t n, struct job_msg *ret, int *ret_class,
                       struct err *err)
{
    *ret = (struct job_msg){.priority = -1, .max_cost_nusd = -1};
    struct walk walk;
    enum rc rc = open_message((struct span){p, p ? n : 0}, &walk, err);
    if (rc != RC_OK) {
        *ret_class = CLASS_MALFORMED;
        return rc;
    }
    rc = read_fields(&walk, ret, err);
    if (rc != RC_OK)
        *ret_class = CLASS_INVALID_JOB;
    return rc;
}

bool job_msg_id_matches(const struct job_msg *msg)
{
    if (msg->created_at_ms < 0 || msg->created_at_ms > TIME_MAX_MS ||
        jobid_ms(&msg->job_id) != msg->created_at_ms)
        return false;
    const struct jobid job_id =
        jobid_make(msg->created_at_ms, msg->app, msg->batch, msg->custom_id, msg->generation);
    const struct jobid batch_id = batchid_make(msg->created_at_ms, msg->app, msg->batch);
    return jobid_eq(&job_id, &msg->job_id) && jobid_eq(&batch_id, &msg->batch_id);
}

struct span job_msg_label(const struct job_msg *msg, uint32_t i)
{
    struct mp_cursor at = mp_cursor_of(msg->output_labels);
    struct mp_token list, label = {.type = MP_NIL};
    if (mp_next(&at, &list) != MP_OK || list.type != MP_ARRAY || i >= list.u)
        return (struct span){NULL, 0};
    for (uint32_t k = 0; k <= i; k++) {
        if (mp_next(&at, &label) != MP_OK)
            return (struct span){NULL, 0};
    }
    return label.bytes;
}

/*
 * pg_value.c - values in and out, in Postgres's binary formats. Knows no connection.
 *
 * Parameters are appended one after the other to a single growing buffer; a parameter ends where
 * the next begins, so an array needs no closing and an element costs one bounds check and one copy.
 * An array starts with the 20 bytes of its header, in which the element count is kept up to date:
 *
 *   i32 dimensions (1, or 0 while empty), i32 has NULLs, u32 element type, i32 elements, i32 first
 *   index (1), then per element i32 length (-1: NULL) and the bytes
 *
 * An empty array is sent as the first 12 of these bytes: no dimensions follow. What does not fit
 * (memory, PG_PARAMS_BYTES_MAX, a number outside its type) marks the set failed; later appends do
 * nothing, and the set is refused when it is to be sent.
 */
#include "common/pg.h"

#include <assert.h>
#include <endian.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/pg_internal.h"

enum {
    ARRAY_HEADER_BYTES = 20,
    ARRAY_EMPTY_BYTES = 12,
    ARRAY_NULLS_AT = 4,
    ARRAY_COUNT_AT = 12,
    LENGTH_BYTES = 4,
};

/* Postgres counts microseconds from 2000-01-01, Unix milliseconds from 1970-01-01. */
#define PG_EPOCH_UNIX_MS INT64_C(946684800000)

struct pg_type_info {
    const char *name;
    const char *array_name;
    Oid oid, array_oid; /* fixed for ever: pg_type.dat */
    size_t bytes;       /* 0: varies */
};

static const struct pg_type_info types[] = {
    [PG_BOOL] = {"bool", "bool[]", 16, 1000, 1},
    [PG_INT2] = {"int2", "int2[]", 21, 1005, 2},
    [PG_INT4] = {"int4", "int4[]", 23, 1007, 4},
    [PG_INT8] = {"int8", "int8[]", 20, 1016, 8},
    [PG_TEXT] = {"text", "text[]", 25, 1009, 0},
    [PG_BYTEA] = {"bytea", "bytea[]", 17, 1001, 0},
    [PG_UUID] = {"uuid", "uuid[]", 2950, 2951, ID_BYTES},
    [PG_TIMESTAMPTZ] = {"timestamptz", "timestamptz[]", 1184, 1185, 8},
};

struct param {
    size_t at; /* where its bytes begin */
    enum pg_type type;
    uint32_t elems; /* of an array */
    bool array;
    bool null;
};

struct pg_params {
    struct buf buf;
    int count;
    bool failed;
    struct param param[PG_PARAMS_MAX];
};

/* ---- parameters --------------------------------------------------------------------------- */

struct pg_params *pg_params_new(void)
{
    struct pg_params *p = calloc(1, sizeof *p);
    if (p)
        buf_init(&p->buf, PG_PARAMS_BYTES_MAX);
    return p;
}

void pg_params_free(struct pg_params *p)
{
    if (!p)
        return;
    buf_done(&p->buf);
    free(p);
}

void pg_params_reset(struct pg_params *p)
{
    buf_reset(&p->buf);
    p->count = 0;
    p->failed = false;
}

size_t pg_params_bytes(const struct pg_params *p)
{
    return p->buf.n;
}

static void put_u32(char *at, uint32_t v)
{
    v = htobe32(v);
    memcpy(at, &v, sizeof v);
}

/* Room for `n` bytes, taken; NULL: the set has failed. */
static char *take(struct pg_params *p, size_t n)
{
    if (p->failed)
        return NULL;
    if (p->buf.cap - p->buf.n < n && !buf_room(&p->buf, n)) {
        p->failed = true;
        return NULL;
    }
    char *at = p->buf.p + p->buf.n;
    p->buf.n += n;
    return at;
}

static struct param *next_param(struct pg_params *p, enum pg_type type)
{
    assert(p->count < PG_PARAMS_MAX);
    struct param *param = &p->param[p->count++];
    *param = (struct param){.at = p->buf.n, .type = type};
    return param;
}

static bool int_fits(enum pg_type type, int64_t v)
{
    assert(type == PG_INT2 || type == PG_INT4 || type == PG_INT8);
    if (type == PG_INT2)
        return v >= INT16_MIN && v <= INT16_MAX;
    return type == PG_INT8 || (v >= INT32_MIN && v <= INT32_MAX);
}

/* The low `bytes` bytes of `v`, big-endian: the wire form of every number of fixed size. */
static void put_int(char *at, size_t bytes, int64_t v)
{
    uint64_t wire = htobe64((uint64_t)v);
    memcpy(at, (const char *)&wire + (sizeof wire - bytes), bytes);
}

static bool time_from_ms(int64_t unix_ms, int64_t *ret_us)
{
    int64_t since_ms;
    return !__builtin_sub_overflow(unix_ms, PG_EPOCH_UNIX_MS, &since_ms) &&
           !__builtin_mul_overflow(since_ms, 1000, ret_us);
}

void pg_add_null(struct pg_params *p, enum pg_type type)
{
    next_param(p, type)->null = true;
}

static void add_int(struct pg_params *p, enum pg_type type, int64_t v)
{
    next_param(p, type);
    char *at = take(p, types[type].bytes);
    if (at)
        put_int(at, types[type].bytes, v);
}

void pg_add_bool(struct pg_params *p, bool v)
{
    add_int(p, PG_BOOL, v);
}

void pg_add_int(struct pg_params *p, enum pg_type type, int64_t v)
{
    if (!int_fits(type, v))
        p->failed = true;
    add_int(p, type, v);
}

static void add_bytes(struct pg_params *p, enum pg_type type, const void *bytes, size_t n)
{
    struct param *param = next_param(p, type);
    if (!bytes) {
        param->null = true;
        return;
    }
    char *at = take(p, n);
    if (at && n > 0)
        memcpy(at, bytes, n);
}

void pg_add_text(struct pg_params *p, struct span s)
{
    add_bytes(p, PG_TEXT, s.p, s.n);
}

void pg_add_bytea(struct pg_params *p, struct span s)
{
    add_bytes(p, PG_BYTEA, s.p, s.n);
}

void pg_add_uuid(struct pg_params *p, const struct jobid *id)
{
    add_bytes(p, PG_UUID, id ? id->b : NULL, ID_BYTES);
}

void pg_add_time_ms(struct pg_params *p, int64_t unix_ms)
{
    int64_t us = 0;
    if (unix_ms == 0) {
        pg_add_null(p, PG_TIMESTAMPTZ);
        return;
    }
    if (!time_from_ms(unix_ms, &us))
        p->failed = true;
    add_int(p, PG_TIMESTAMPTZ, us);
}

/* ---- arrays ------------------------------------------------------------------------------- */

void pg_array(struct pg_params *p, enum pg_type type)
{
    next_param(p, type)->array = true;
    char *at = take(p, ARRAY_HEADER_BYTES);
    if (!at)
        return;
    put_u32(at, 0); /* becomes 1 with the first element */
    put_u32(at + ARRAY_NULLS_AT, 0);
    put_u32(at + 8, types[type].oid);
    put_u32(at + ARRAY_COUNT_AT, 0);
    put_u32(at + 16, 1);
}

/* Counts one element of `n` bytes into the open array and returns where they go. */
static char *next_elem(struct pg_params *p, size_t n, uint32_t length)
{
    assert(p->count > 0 && p->param[p->count - 1].array);
    char *at = take(p, LENGTH_BYTES + n);
    if (!at)
        return NULL;
    struct param *param = &p->param[p->count - 1];
    char *header = p->buf.p + param->at;
    if (param->elems++ == 0)
        put_u32(header, 1);
    put_u32(header + ARRAY_COUNT_AT, param->elems);
    put_u32(at, length);
    return at + LENGTH_BYTES;
}

static enum pg_type open_type(const struct pg_params *p)
{
    assert(p->count > 0);
    return p->param[p->count - 1].type;
}

void pg_elem_null(struct pg_params *p)
{
    if (next_elem(p, 0, UINT32_MAX /* -1 */))
        put_u32(p->buf.p + p->param[p->count - 1].at + ARRAY_NULLS_AT, 1);
}

static void elem_fixed(struct pg_params *p, enum pg_type type, int64_t v)
{
    size_t bytes = types[type].bytes;
    char *at = next_elem(p, bytes, (uint32_t)bytes);
    if (at)
        put_int(at, bytes, v);
}

void pg_elem_bool(struct pg_params *p, bool v)
{
    assert(open_type(p) == PG_BOOL);
    elem_fixed(p, PG_BOOL, v);
}

void pg_elem_int(struct pg_params *p, int64_t v)
{
    enum pg_type type = open_type(p);
    if (!int_fits(type, v))
        p->failed = true;
    elem_fixed(p, type, v);
}

static void elem_bytes(struct pg_params *p, const void *bytes, size_t n)
{
    if (!bytes) {
        pg_elem_null(p);
        return;
    }
    if (n > PG_PARAMS_BYTES_MAX) {
        p->failed = true;
        return;
    }
    char *at = next_elem(p, n, (uint32_t)n);
    if (at && n > 0)
        memcpy(at, bytes, n);
}

void pg_elem_span(struct pg_params *p, struct span s)
{
    assert(open_type(p) == PG_TEXT || open_type(p) == PG_BYTEA);
    elem_bytes(p, s.p, s.n);
}

void pg_elem_uuid(struct pg_params *p, const struct jobid *id)
{
    assert(open_type(p) == PG_UUID);
    elem_bytes(p, id ? id->b : NULL, ID_BYTES);
}

void pg_elem_time_ms(struct pg_params *p, int64_t unix_ms)
{
    assert(open_type(p) == PG_TIMESTAMPTZ);
    int64_t us = 0;
    if (unix_ms == 0) {
        pg_elem_null(p);
        return;
    }
    if (!time_from_ms(unix_ms, &us))
        p->failed = true;
    elem_fixed(p, PG_TIMESTAMPTZ, us);
}

/* ---- to the wire -------------------------------------------------------------------------- */

static size_t param_bytes(const struct pg_params *p, int i)
{
    const struct param *param = &p->param[i];
    if (param->array && param->elems == 0)
        return ARRAY_EMPTY_BYTES;
    size_t end = i + 1 < p->count ? p->param[i + 1].at : p->buf.n;
    return end - param->at;
}

enum rc pg_params_wire(const struct pg_params *params, struct pg_wire *ret_wire, struct err *err)
{
    if (params && params->failed)
        return err_set(err, RC_NOMEM,
                       "the statement's parameters need more than %d MiB or the memory there is, "
                       "or a number is outside its column's range",
                       PG_PARAMS_BYTES_MAX >> 20);
    ret_wire->count = params ? params->count : 0;
    for (int i = 0; i < ret_wire->count; i++) {
        const struct param *param = &params->param[i];
        const struct pg_type_info *type = &types[param->type];
        const char *base = params->buf.p ? params->buf.p : ""; /* only empty values: no memory */
        ret_wire->types[i] = param->array ? type->array_oid : type->oid;
        ret_wire->values[i] = param->null ? NULL : base + param->at;
        ret_wire->lengths[i] = (int)param_bytes(params, i);
        ret_wire->formats[i] = 1;
    }
    return RC_OK;
}

const char *pg_oid_name(Oid oid)
{
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (types[i].oid == oid)
            return types[i].name;
        if (types[i].array_oid == oid)
            return types[i].array_name;
    }
    return "";
}

/* ---- rows --------------------------------------------------------------------------------- */

int pg_row_count(const struct pg_rows *r)
{
    return PQntuples(r->res);
}

int64_t pg_affected(const struct pg_rows *r)
{
    return strtoll(PQcmdTuples(r->res), NULL, 10);
}

int pg_col_count(const struct pg_rows *r)
{
    return PQnfields(r->res);
}

const char *pg_col_name(const struct pg_rows *r, int col)
{
    return PQfname(r->res, col);
}

bool pg_null(const struct pg_rows *r, int row, int col)
{
    return PQgetisnull(r->res, row, col);
}

static int64_t get_int(const struct pg_rows *r, int row, int col)
{
    uint64_t wire = 0;
    size_t bytes = (size_t)PQgetlength(r->res, row, col);
    assert(bytes <= sizeof wire);
    memcpy((char *)&wire + (sizeof wire - bytes), PQgetvalue(r->res, row, col), bytes);
    uint64_t v = be64toh(wire);
    switch (bytes) { /* extends the sign */
    case 2:
        return (int16_t)v;
    case 4:
        return (int32_t)v;
    default:
        return (int64_t)v;
    }
}

bool pg_get_bool(const struct pg_rows *r, int row, int col)
{
    assert(PQftype(r->res, col) == types[PG_BOOL].oid);
    return !pg_null(r, row, col) && *PQgetvalue(r->res, row, col) != 0;
}

int64_t pg_get_int(const struct pg_rows *r, int row, int col)
{
    Oid oid = PQftype(r->res, col);
    assert(oid == types[PG_INT2].oid || oid == types[PG_INT4].oid || oid == types[PG_INT8].oid);
    (void)oid;
    return pg_null(r, row, col) ? 0 : get_int(r, row, col);
}

/* Types whose binary form is not their text: reading one as text is a slip in the SQL. */
static bool is_text_like(Oid oid)
{
    enum { JSONB = 3802, NUMERIC = 1700, INTERVAL = 1186, DATE = 1082, TIMESTAMP = 1114 };
    enum { FLOAT4 = 700, FLOAT8 = 701, OID = 26, INET = 869 };
    switch (oid) {
    case JSONB:
    case NUMERIC:
    case INTERVAL:
    case DATE:
    case TIMESTAMP:
    case FLOAT4:
    case FLOAT8:
    case OID:
    case INET:
        return false;
    case 17: /* bytea */
    case 25: /* text */
        return true;
    default: /* varchar, name, json, enums: yes; numbers, times, ids, arrays of ours: no */
        return *pg_oid_name(oid) == '\0';
    }
}

struct span pg_get_span(const struct pg_rows *r, int row, int col)
{
    assert(is_text_like(PQftype(r->res, col)));
    if (pg_null(r, row, col))
        return (struct span){0};
    return (struct span){PQgetvalue(r->res, row, col), (size_t)PQgetlength(r->res, row, col)};
}

struct jobid pg_get_uuid(const struct pg_rows *r, int row, int col)
{
    struct jobid id = {0};
    assert(PQftype(r->res, col) == types[PG_UUID].oid);
    if (!pg_null(r, row, col))
        memcpy(id.b, PQgetvalue(r->res, row, col), ID_BYTES);
    return id;
}

int64_t pg_get_time_ms(const struct pg_rows *r, int row, int col)
{
    assert(PQftype(r->res, col) == types[PG_TIMESTAMPTZ].oid);
    if (pg_null(r, row, col))
        return 0;
    int64_t us = get_int(r, row, col);
    if (us == INT64_MAX || us == INT64_MIN) /* infinity, -infinity */
        return us;
    int64_t ms = us / 1000 - (us % 1000 < 0); /* rounds down, also before 2000 */
    return ms + PG_EPOCH_UNIX_MS;
}

void pg_rows_free(struct pg_rows *r)
{
    if (!r)
        return;
    PQclear(r->res);
    free(r);
}

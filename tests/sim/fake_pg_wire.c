/*
 * fake_pg_wire.c - the fake Postgres's edge to libpq's forms: a parameter set is taken apart as the
 * server would, and answers are real PGresults, built with libpq's public functions, so that the
 * workers' own pg_get_* read them.
 *
 * A statement keeps a copy of its parameters' bytes, and for each value where it lies in them.
 */
#include "tests/sim/fake_pg.h"

#include <assert.h>
#include <ctype.h>
#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/pg_internal.h"
#include "common/utf8.h"
#include "tests/sim/fake_pg_impl.h"

/* Postgres counts microseconds from 2000-01-01. */
#define PG_EPOCH_UNIX_US INT64_C(946684800000000)

enum { ARRAY_HEADER_BYTES = 20, ARRAY_EMPTY_BYTES = 12, ARRAY_COUNT_AT = 12, FIELDS_MAX = 64 };

static const struct {
    Oid oid, array_oid; /* fixed for ever: pg_type.dat */
    size_t bytes;       /* 0: varies */
    char letter;        /* in struct fake_verb */
} types[] = {
    [PG_BOOL] = {16, 1000, 1, 'b'},    [PG_INT2] = {21, 1005, 2, 's'},
    [PG_INT4] = {23, 1007, 4, 'i'},    [PG_INT8] = {20, 1016, 8, 'l'},
    [PG_TEXT] = {25, 1009, 0, 't'},    [PG_BYTEA] = {17, 1001, 0, 'y'},
    [PG_UUID] = {2950, 2951, 16, 'u'}, [PG_TIMESTAMPTZ] = {1184, 1185, 8, 'z'},
};

/* ---- parameters in ------------------------------------------------------------------------ */

struct param {
    enum pg_type type;
    bool array, absent;       /* absent: an array that is NULL */
    int n;                    /* elements; 1 of a scalar; 0 of a NULL array */
    const struct span *value; /* [n]; absent: NULL */
};

struct fake_stmt {
    const struct fake_verb *verb;
    bool text_ok;
    char *bytes;
    struct span *values;
    struct param param[PG_PARAMS_MAX];
};

static uint32_t get_u32(const char *at)
{
    uint32_t wire;
    memcpy(&wire, at, sizeof wire);
    return be32toh(wire);
}

static enum pg_type type_of_letter(char letter)
{
    enum pg_type type = PG_BOOL;
    while (types[type].letter != tolower((unsigned char)letter))
        type++;
    return type;
}

static int elements(const struct pg_wire *wire, int i)
{
    if (!wire->values[i] || wire->lengths[i] <= ARRAY_EMPTY_BYTES)
        return 0;
    return (int)get_u32(wire->values[i] + ARRAY_COUNT_AT);
}

/* The set is what the statement takes. */
static void check_types(const struct fake_verb *verb, const struct pg_wire *wire)
{
    assert(wire->count == (int)strlen(verb->types));
    for (int i = 0; i < wire->count; i++) {
        enum pg_type type = type_of_letter(verb->types[i]);
        bool array = isupper((unsigned char)verb->types[i]);
        assert(wire->types[i] == (array ? types[type].array_oid : types[type].oid));
        assert(!wire->values[i] || wire->formats[i] == 1);
        (void)type, (void)array;
    }
}

/* One array's elements, out of its bytes. */
static void take_array(const char *bytes, int n, struct span *values)
{
    const char *at = bytes + ARRAY_HEADER_BYTES;
    for (int i = 0; i < n; i++) {
        int32_t length = (int32_t)get_u32(at);
        at += sizeof length;
        values[i] = (struct span){0};
        if (length < 0)
            continue;
        values[i] = (struct span){at, (size_t)length};
        at += length;
    }
}

static void take_params(struct fake_stmt *s, const struct pg_wire *wire)
{
    struct span *values = s->values;
    char *bytes = s->bytes;
    s->text_ok = true;
    for (int i = 0; i < wire->count; i++) {
        struct param *p = &s->param[i];
        p->type = type_of_letter(s->verb->types[i]);
        p->array = isupper((unsigned char)s->verb->types[i]);
        p->absent = p->array && !wire->values[i];
        p->n = p->array ? elements(wire, i) : 1;
        p->value = values;
        size_t n = wire->values[i] ? (size_t)wire->lengths[i] : 0;
        if (n > 0)
            memcpy(bytes, wire->values[i], n);
        if (p->array)
            take_array(bytes, p->n, values);
        else if (wire->values[i])
            *values = (struct span){bytes, n};
        bytes += n;
        for (int e = 0; e < p->n && p->type == PG_TEXT; e++)
            s->text_ok = s->text_ok && utf8_text(values[e]);
        values += p->n;
    }
}

struct fake_stmt *fake_stmt_new(const char *name, const struct pg_params *params)
{
    struct pg_wire wire;
    struct err err;
    const struct fake_verb *verb = fake_verb_find(name);
    if (!verb || pg_params_wire(params, &wire, &err) != RC_OK)
        return NULL;
    check_types(verb, &wire);
    size_t bytes = 1, values = 1;
    for (int i = 0; i < wire.count; i++) {
        bytes += wire.values[i] ? (size_t)wire.lengths[i] : 0;
        values += 1 + (isupper((unsigned char)verb->types[i]) ? (size_t)elements(&wire, i) : 0);
    }
    struct fake_stmt *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->verb = verb;
    s->bytes = malloc(bytes);
    s->values = calloc(values, sizeof *s->values);
    if (!s->bytes || !s->values) {
        fake_stmt_free(s);
        return NULL;
    }
    take_params(s, &wire);
    return s;
}

void fake_stmt_free(struct fake_stmt *stmt)
{
    if (!stmt)
        return;
    free(stmt->bytes);
    free(stmt->values);
    free(stmt);
}

const char *fake_stmt_name(const struct fake_stmt *stmt)
{
    return stmt->verb->name;
}

const struct fake_verb *fake_stmt_verb(const struct fake_stmt *s)
{
    return s->verb;
}

bool fake_stmt_text_ok(const struct fake_stmt *s)
{
    return s->text_ok;
}

int fake_unnest(const struct fake_stmt *s, int first, int last)
{
    int longest = 0;
    for (int i = first; i <= last; i++)
        longest = s->param[i - 1].n > longest ? s->param[i - 1].n : longest;
    return longest;
}

static struct span arg(const struct fake_stmt *s, int param, int row)
{
    const struct param *p = &s->param[param - 1];
    return row < p->n ? p->value[row] : (struct span){0};
}

bool fake_arg_null(const struct fake_stmt *s, int param, int row)
{
    return !arg(s, param, row).p;
}

bool fake_arg_absent(const struct fake_stmt *s, int param)
{
    return s->param[param - 1].absent;
}

int64_t fake_arg_int(const struct fake_stmt *s, int param, int row)
{
    uint64_t wire = 0;
    struct span v = arg(s, param, row);
    if (!v.p)
        return FAKE_NULL;
    enum pg_type type = s->param[param - 1].type;
    assert(v.n == types[type].bytes && v.n <= sizeof wire);
    memcpy((char *)&wire + (sizeof wire - v.n), v.p, v.n);
    wire = be64toh(wire);
    switch (v.n) { /* extends the sign */
    case 2:
        return (int16_t)wire;
    case 4:
        return (int32_t)wire;
    default:
        return type == PG_TIMESTAMPTZ ? (int64_t)wire + PG_EPOCH_UNIX_US : (int64_t)wire;
    }
}

struct jobid fake_arg_id(const struct fake_stmt *s, int param, int row)
{
    struct jobid id = {0};
    struct span v = arg(s, param, row);
    if (v.p)
        memcpy(id.b, v.p, ID_BYTES);
    return id;
}

struct span fake_arg_span(const struct fake_stmt *s, int param, int row)
{
    return arg(s, param, row);
}

void fake_arg_fill(const struct fake_stmt *s, int first, const size_t *at, int n, int row,
                   void *into)
{
    for (int i = 0; i < n; i++) {
        void *field = (char *)into + at[i];
        enum pg_type type = s->param[first + i - 1].type;
        if (type == PG_UUID)
            *(struct jobid *)field = fake_arg_id(s, first + i, row);
        else if (type == PG_TEXT || type == PG_BYTEA)
            *(struct span *)field = fake_arg_span(s, first + i, row);
        else
            *(int64_t *)field = fake_arg_int(s, first + i, row);
    }
}

/* ---- rows out ----------------------------------------------------------------------------- */

static void must(bool well)
{
    if (!well) {
        fputs("fake Postgres: out of memory\n", stderr);
        abort();
    }
}

struct pg_rows *fake_rows_new(const struct fake_field *fields, int n)
{
    PGresAttDesc columns[FIELDS_MAX] = {0};
    char name[FIELDS_MAX][64];
    struct pg_rows *rows = malloc(sizeof *rows);
    must(rows != NULL && n <= FIELDS_MAX);
    rows->res = PQmakeEmptyPGresult(NULL, n > 0 ? PGRES_TUPLES_OK : PGRES_COMMAND_OK);
    must(rows->res != NULL);
    for (int i = 0; i < n; i++) {
        (void)snprintf(name[i], sizeof name[i], "%s", fields[i].name);
        columns[i] = (PGresAttDesc){
            .name = name[i], .format = 1, .typid = types[fields[i].type].oid, .atttypmod = -1};
    }
    must(n == 0 || PQsetResultAttrs(rows->res, n, columns));
    return rows;
}

static void set_null(struct pg_rows *rows, int row, int col)
{
    must(PQsetvalue(rows->res, row, col, NULL, -1));
}

/* PQsetvalue wants what it may write to, and writes nothing. */
static void set(struct pg_rows *rows, int row, int col, const void *bytes, size_t n)
{
    char few[64], *copy = n <= sizeof few ? few : malloc(n);
    must(copy != NULL);
    memcpy(copy, bytes, n);
    must(PQsetvalue(rows->res, row, col, copy, (int)n));
    if (copy != few)
        free(copy);
}

static size_t width(const struct pg_rows *rows, int col)
{
    enum pg_type type = PG_BOOL;
    while (types[type].oid != PQftype(rows->res, col))
        type++;
    return types[type].bytes;
}

void fake_rows_int(struct pg_rows *rows, int row, int col, int64_t v)
{
    if (v == FAKE_NULL) {
        set_null(rows, row, col);
        return;
    }
    if (PQftype(rows->res, col) == types[PG_TIMESTAMPTZ].oid)
        v -= PG_EPOCH_UNIX_US;
    uint64_t wire = htobe64((uint64_t)v);
    size_t bytes = width(rows, col);
    set(rows, row, col, (const char *)&wire + (sizeof wire - bytes), bytes);
}

void fake_rows_id(struct pg_rows *rows, int row, int col, const struct jobid *id)
{
    static const struct jobid null;
    if (jobid_eq(id, &null))
        set_null(rows, row, col);
    else
        set(rows, row, col, id->b, ID_BYTES);
}

void fake_rows_span(struct pg_rows *rows, int row, int col, struct span s)
{
    if (s.p)
        set(rows, row, col, s.p, s.n);
    else
        set_null(rows, row, col);
}

enum rc fake_sqlstate_rc(const char *sqlstate)
{
    return pg_sqlstate_rc(sqlstate);
}

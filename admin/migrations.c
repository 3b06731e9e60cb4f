/*
 * migrations.c - reads, orders and compares the numbered SQL files.
 *
 * What goes wrong is said with the file's name and what to do: migrations are run by people in a
 * hurry, on a database that matters.
 */
#include "admin/migrations.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/hash.h"

enum { NUMBER_DIGITS = 4 };

bool migration_parse_name(const char *file, int *ret_number, char name[MIGRATION_NAME_MAX])
{
    size_t n = strlen(file);
    if (n >= MIGRATION_NAME_MAX || n < NUMBER_DIGITS + 6 || strcmp(file + n - 4, ".sql") != 0 ||
        file[NUMBER_DIGITS] != '_')
        return false;
    int number = 0;
    for (int i = 0; i < NUMBER_DIGITS; i++) {
        if (file[i] < '0' || file[i] > '9')
            return false;
        number = 10 * number + (file[i] - '0');
    }
    *ret_number = number;
    size_t name_n = n - NUMBER_DIGITS - 1 - 4;
    memcpy(name, file + NUMBER_DIGITS + 1, name_n);
    name[name_n] = '\0';
    return true;
}

/* ---- reading ------------------------------------------------------------------------------ */

static enum rc read_all(FILE *in, struct buf *text, struct err *err)
{
    for (;;) {
        char *at = buf_room(text, 1 << 16);
        if (!at)
            return err_set(err, RC_REJECT, "larger than %d bytes", MIGRATION_BYTES_MAX);
        size_t n = fread(at, 1, 1 << 16, in);
        text->n += n;
        if (n == 0)
            break;
    }
    if (ferror(in))
        return err_set(err, RC_REJECT, "%s", strerror(errno));
    if (memchr(buf_span(text).p, '\0', text->n))
        return err_set(err, RC_REJECT, "a NUL byte: this is no SQL");
    return RC_OK;
}

static enum rc read_sql(const char *dir, struct migration *m, struct err *err)
{
    struct buf text;
    buf_init(&text, MIGRATION_BYTES_MAX);
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/%s", dir, m->file);
    FILE *in = fopen(path, "r");
    enum rc rc = in ? read_all(in, &text, err) : err_set(err, RC_REJECT, "%s", strerror(errno));
    if (rc != RC_OK)
        goto out;
    struct span bytes = buf_span(&text);
    hash_sha256(&bytes, 1, m->sha256);
    size_t n;
    m->sql = buf_add_byte(&text, '\0') ? buf_take(&text, &n) : NULL;
    rc = m->sql ? RC_OK : err_set(err, RC_NOMEM, "no memory");
out:
    if (in)
        (void)fclose(in);
    buf_done(&text);
    return rc == RC_OK ? RC_OK : err_prefix(err, rc, "%s", path);
}

static enum rc add_file(struct migrations *m, const char *dir, const char *file, struct err *err)
{
    struct migration one = {0};
    if (!migration_parse_name(file, &one.number, one.name))
        return err_set(err, RC_REJECT, "%s/%s: a migration is called NNNN_name.sql", dir, file);
    (void)snprintf(one.file, sizeof one.file, "%s", file);
    enum rc rc = read_sql(dir, &one, err);
    if (rc != RC_OK)
        return rc;
    struct migration *grown = reallocarray(m->all, (size_t)m->count + 1, sizeof *grown);
    if (!grown) {
        free(one.sql);
        return err_set(err, RC_NOMEM, "no memory for the migrations");
    }
    m->all = grown;
    m->all[m->count++] = one;
    return RC_OK;
}

static bool is_sql(const char *file)
{
    size_t n = strlen(file);
    return file[0] != '.' && n > 4 && strcmp(file + n - 4, ".sql") == 0;
}

enum rc migrations_read(const char *dir, struct migrations *ret, struct err *err)
{
    struct migrations m = {0};
    DIR *d = opendir(dir);
    if (!d)
        return err_set(err, RC_REJECT, "%s: %s; --sql-dir says where the migrations are", dir,
                       strerror(errno));
    enum rc rc = RC_OK;
    for (const struct dirent *e = readdir(d); e && rc == RC_OK; e = readdir(d))
        if (is_sql(e->d_name))
            rc = add_file(&m, dir, e->d_name, err);
    (void)closedir(d);
    if (rc == RC_OK && m.count == 0)
        rc = err_set(err, RC_REJECT, "%s: no migration (NNNN_name.sql) in it", dir);
    if (rc == RC_OK)
        rc = migrations_order(&m, err);
    if (rc == RC_OK)
        *ret = m;
    else
        migrations_done(&m);
    return rc;
}

void migrations_done(struct migrations *m)
{
    for (int i = 0; i < m->count; i++)
        free(m->all[i].sql);
    free(m->all);
    *m = (struct migrations){0};
}

/* ---- judging ------------------------------------------------------------------------------ */

static int by_number(const void *a, const void *b)
{
    const struct migration *x = a, *y = b;
    if (x->number != y->number)
        return x->number < y->number ? -1 : 1;
    return strcmp(x->file, y->file);
}

enum rc migrations_order(struct migrations *m, struct err *err)
{
    if (m->count)
        qsort(m->all, (size_t)m->count, sizeof *m->all, by_number);
    for (int i = 0; i < m->count; i++) {
        if (i > 0 && m->all[i].number == m->all[i - 1].number)
            return err_set(err, RC_REJECT, "%s and %s have the same number: renumber one",
                           m->all[i - 1].file, m->all[i].file);
        if (m->all[i].number != i + 1)
            return err_set(err, RC_REJECT, "migration %04d is missing: the next file is %s", i + 1,
                           m->all[i].file);
    }
    return RC_OK;
}

static enum rc match_one(struct migrations *m, const struct migration_row *row, struct err *err)
{
    if (row->number < 1 || row->number > m->count)
        return err_set(err, RC_REJECT,
                       "the database has migration %d (%.*s), this program knows up to %d: install "
                       "the newer inferq and use that",
                       row->number, (int)row->name.n, row->name.p ? row->name.p : "", m->count);
    struct migration *one = &m->all[row->number - 1];
    one->applied_ms = row->applied_ms;
    one->changed = row->sha256.n != sizeof one->sha256 ||
                   memcmp(row->sha256.p, one->sha256, sizeof one->sha256) != 0;
    return RC_OK;
}

enum rc migrations_match(struct migrations *m, const struct migration_row *rows, int row_count,
                         struct err *err)
{
    for (int i = 0; i < row_count; i++) {
        enum rc rc = match_one(m, &rows[i], err);
        if (rc != RC_OK)
            return rc;
    }
    for (int i = 0; i < m->count; i++)
        if (m->all[i].changed)
            return err_set(err, RC_REJECT,
                           "%s was changed after it was applied: put the applied content back, and "
                           "make the change in a new file, number %04d",
                           m->all[i].file, m->count + 1);
    for (int i = 1; i < m->count; i++)
        if (m->all[i].applied_ms && !m->all[i - 1].applied_ms)
            return err_set(err, RC_REJECT,
                           "the database has %s but not %s: its rows in inferq.migration are "
                           "incomplete; restore them, or start from an empty schema",
                           m->all[i].file, m->all[i - 1].file);
    return RC_OK;
}

/*
 * table.c - aligned tables for people, arrays of objects for programs.
 *
 * Cells lie in one array, their text in one buffer; widths are measured when the table is printed.
 * Memory that runs out is remembered and said once, by the printing.
 */
#include "admin/table.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <wchar.h>

#include "admin/csv.h"
#include "admin/fmt.h"
#include "admin/jsonw.h"
#include "common/clock.h"
#include "common/utf8.h"

enum { GAP = 2 };

enum cell_type { CELL_NULL, CELL_INT, CELL_BOOL, CELL_TEXT, CELL_NUMBER_TEXT };

struct cell {
    enum cell_type type;
    int64_t num;  /* INT, BOOL */
    size_t at, n; /* TEXT: where in `text` */
};

struct table {
    const struct table_col *cols;
    int col_count;
    struct cell *cells;
    size_t cell_count, cell_cap;
    struct buf text;
    bool failed;
};

struct table *table_new(const struct table_col *cols)
{
    struct table *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->cols = cols;
    while (cols[t->col_count].key)
        t->col_count++;
    buf_init(&t->text, TABLE_BYTES_MAX);
    return t;
}

void table_free(struct table *t)
{
    if (!t)
        return;
    buf_done(&t->text);
    free(t->cells);
    free(t);
}

static void add(struct table *t, struct cell cell)
{
    if (t->cell_count == t->cell_cap) {
        size_t cap = t->cell_cap ? 2 * t->cell_cap : 256;
        struct cell *grown = reallocarray(t->cells, cap, sizeof *grown);
        if (!grown) {
            t->failed = true;
            return;
        }
        t->cells = grown;
        t->cell_cap = cap;
    }
    t->cells[t->cell_count++] = cell;
}

static void add_text(struct table *t, enum cell_type type, struct span s)
{
    struct cell cell = {.type = type, .at = t->text.n, .n = s.n};
    if (!buf_add_span(&t->text, s))
        t->failed = true;
    else
        add(t, cell);
}

void table_null(struct table *t)
{
    add(t, (struct cell){.type = CELL_NULL});
}

void table_int(struct table *t, int64_t v)
{
    add(t, (struct cell){.type = CELL_INT, .num = v});
}

void table_bool(struct table *t, bool v)
{
    add(t, (struct cell){.type = CELL_BOOL, .num = v});
}

void table_text(struct table *t, struct span s)
{
    if (s.p)
        add_text(t, CELL_TEXT, s);
    else
        table_null(t);
}

void table_time(struct table *t, int64_t unix_ms)
{
    char text[CLOCK_RFC3339_BYTES];
    if (unix_ms == 0) {
        table_null(t);
        return;
    }
    clock_rfc3339(unix_ms, text, sizeof text);
    add_text(t, CELL_TEXT, span_of(text));
}

void table_usd(struct table *t, int64_t nusd)
{
    char text[FMT_BYTES];
    add_text(t, CELL_NUMBER_TEXT, span_of(fmt_usd(nusd, text)));
}

void table_id(struct table *t, const struct jobid *id)
{
    char text[ID_TEXT_BYTES];
    jobid_text(id, text);
    add_text(t, CELL_TEXT, span_of(text));
}

int table_rows(const struct table *t)
{
    return (int)(t->cell_count / (size_t)t->col_count);
}

/* ---- widths ------------------------------------------------------------------------------- */

static bool is_control(uint32_t c)
{
    /* C0, DEL, C1, and the marks that reverse the order of what follows */
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0x202a && c <= 0x202e) ||
           (c >= 0x2066 && c <= 0x2069);
}

/* One character of text: how many bytes, how many columns; what is to be shown in its place. */
static size_t glyph(struct span text, size_t i, int *ret_columns, struct span *ret_shown)
{
    uint32_t c = 0;
    size_t n = utf8_next(text.p + i, text.n - i, &c);
    *ret_columns = 1;
    if (n == 0) {
        *ret_shown = SPAN_LIT("\xef\xbf\xbd");
        return 1;
    }
    *ret_shown = is_control(c) ? SPAN_LIT("?") : (struct span){text.p + i, n};
    int columns = is_control(c) ? 1 : wcwidth((wchar_t)c);
    if (columns >= 0) /* negative: the locale does not know it */
        *ret_columns = columns;
    return n;
}

int table_width(struct span text)
{
    int width = 0, columns;
    struct span shown;
    for (size_t i = 0; i < text.n; width += columns)
        i += glyph(text, i, &columns, &shown);
    return width;
}

int table_clean(struct span text, int width, struct buf *out)
{
    int whole = table_width(text);
    bool cut = width > 0 && whole > width;
    int room = cut ? width - 1 : whole; /* one column for the mark of the cut */
    int used = 0;
    for (size_t i = 0; i < text.n;) {
        int columns;
        struct span shown;
        size_t n = glyph(text, i, &columns, &shown);
        if (used + columns > room)
            break;
        buf_add_span(out, shown);
        used += columns;
        i += n;
    }
    if (cut)
        buf_add_text(out, "\xe2\x80\xa6");
    return used + cut;
}

/* ---- for people --------------------------------------------------------------------------- */

static struct span cell_text(const struct table *t, const struct cell *cell,
                             char scratch[FMT_BYTES])
{
    switch (cell->type) {
    case CELL_INT:
        (void)snprintf(scratch, FMT_BYTES, "%" PRId64, cell->num);
        return span_of(scratch);
    case CELL_BOOL:
        return cell->num ? SPAN_LIT("yes") : SPAN_LIT("no");
    case CELL_TEXT:
    case CELL_NUMBER_TEXT:
        return (struct span){(t->text.p ? t->text.p : "") + cell->at, cell->n};
    case CELL_NULL:
    default:
        return SPAN_LIT("-");
    }
}

static const struct cell *cell_at(const struct table *t, int row, int col)
{
    return &t->cells[(size_t)row * (size_t)t->col_count + (size_t)col];
}

/* The column's width, and whether it holds numbers only, which stand at the right. */
static int measure(const struct table *t, int col, bool *ret_right)
{
    const struct table_col *c = &t->cols[col];
    int width = table_width(span_of(c->title));
    bool right = false, text = false;
    for (int row = 0; row < table_rows(t); row++) {
        char scratch[FMT_BYTES];
        const struct cell *cell = cell_at(t, row, col);
        int w = table_width(cell_text(t, cell, scratch));
        if (c->width_max && w > c->width_max)
            w = c->width_max;
        width = w > width ? w : width;
        right |= cell->type == CELL_INT || cell->type == CELL_NUMBER_TEXT;
        text |= cell->type == CELL_TEXT || cell->type == CELL_BOOL;
    }
    *ret_right = right && !text;
    return width;
}

static void spaces(struct buf *out, int n)
{
    for (; n > 0; n--)
        buf_add_byte(out, ' ');
}

struct shape {
    int width;
    bool right, last;
};

static void print_cell(struct span text, int width_max, struct shape shape, struct buf *out)
{
    int width = table_width(text);
    if (width_max && width > width_max)
        width = width_max;
    if (shape.right)
        spaces(out, shape.width - width);
    table_clean(text, width_max, out);
    if (shape.last)
        return;
    if (!shape.right)
        spaces(out, shape.width - width);
    spaces(out, GAP);
}

static void print_lines(const struct table *t, const struct shape *shapes, struct buf *out)
{
    for (int row = -1; row < table_rows(t); row++) {
        for (int col = 0; col < t->col_count; col++) {
            char scratch[FMT_BYTES];
            const struct table_col *c = &t->cols[col];
            if (!c->title)
                continue;
            if (row < 0)
                print_cell(span_of(c->title), 0, shapes[col], out);
            else
                print_cell(cell_text(t, cell_at(t, row, col), scratch), c->width_max, shapes[col],
                           out);
        }
        buf_add_byte(out, '\n');
    }
}

enum rc table_print(const struct table *t, struct buf *out, struct err *err)
{
    struct shape *shapes = calloc((size_t)t->col_count, sizeof *shapes);
    if (t->failed || !shapes) {
        free(shapes);
        return err_set(err, RC_NOMEM, "no memory for a table of %d rows", table_rows(t));
    }
    int last = 0;
    for (int col = 0; col < t->col_count; col++)
        if (t->cols[col].title) {
            shapes[col].width = measure(t, col, &shapes[col].right);
            last = col;
        }
    shapes[last].last = true; /* no spaces at the ends of lines */
    print_lines(t, shapes, out);
    free(shapes);
    return out->failed ? err_set(err, RC_NOMEM, "no memory to print a table") : RC_OK;
}

/* ---- for programs ------------------------------------------------------------------------- */

static void json_cell(const struct table *t, const struct cell *cell, struct jsonw *w)
{
    char scratch[FMT_BYTES];
    switch (cell->type) {
    case CELL_INT:
        jsonw_int(w, cell->num);
        return;
    case CELL_BOOL:
        jsonw_bool(w, cell->num != 0);
        return;
    case CELL_TEXT:
    case CELL_NUMBER_TEXT:
        jsonw_text(w, cell_text(t, cell, scratch));
        return;
    case CELL_NULL:
    default:
        jsonw_null(w);
        return;
    }
}

enum rc table_json(const struct table *t, struct buf *out, struct err *err)
{
    struct jsonw w = {.out = out};
    if (t->failed)
        return err_set(err, RC_NOMEM, "no memory for a table of %d rows", table_rows(t));
    buf_add_byte(out, '[');
    for (int row = 0; row < table_rows(t); row++) {
        buf_add_text(out, row ? ",\n " : "\n ");
        w.comma = false;
        jsonw_open(&w, '{');
        for (int col = 0; col < t->col_count; col++) {
            jsonw_key(&w, t->cols[col].key);
            json_cell(t, cell_at(t, row, col), &w);
        }
        jsonw_close(&w, '}');
    }
    buf_add_text(out, table_rows(t) ? "\n]\n" : "]\n");
    return out->failed ? err_set(err, RC_NOMEM, "no memory to print a table") : RC_OK;
}

enum rc table_csv(const struct table *t, struct buf *out, struct err *err)
{
    if (t->failed)
        return err_set(err, RC_NOMEM, "no memory for a table of %d rows", table_rows(t));
    for (int row = -1; row < table_rows(t); row++) {
        for (int col = 0; col < t->col_count; col++) {
            char scratch[FMT_BYTES];
            if (col)
                buf_add_byte(out, ',');
            const struct cell *cell = row < 0 ? NULL : cell_at(t, row, col);
            if (!cell)
                csv_add(out, span_of(t->cols[col].key));
            else if (cell->type != CELL_NULL)
                csv_add(out, cell_text(t, cell, scratch));
        }
        buf_add_text(out, "\r\n");
    }
    return out->failed ? err_set(err, RC_NOMEM, "no memory to print a table") : RC_OK;
}

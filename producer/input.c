/*
 * input.c - inputs, opened one after the other.
 *
 * Happy path: input_next opens the next input when none is open, and takes records from it until it
 * ends: from the tree walk for a directory, the one document for a file, lines otherwise. Failures
 * of a single document or line (unreadable, empty, too long) are bad records, so that the caller
 * may go on; a read error within a stream of lines ends the input, for nobody knows what is
 * missing.
 */
#include "producer/input.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/stat.h>

#include "common/buf.h"
#include "producer/body.h"
#include "producer/lines.h"
#include "producer/paths.h"
#include "producer/tree.h"

struct item {
    const char *path; /* as given */
    char *absolute;   /* "-": standard input */
    bool is_directory, is_regular;
    off_t begin; /* standard input: where it stood at the start */
};

struct input {
    struct input_conf conf;
    struct item *items;
    int item_count;
    size_t base_bytes; /* of an absolute path: the directory that holds all inputs */

    int next; /* the item that is opened next */
    int fd;   /* the open file of lines, or -1 */
    bool walking;
    enum input_format format; /* of the open file; INPUT_REQUESTS until its first line */
    struct tree *tree;
    struct lines *lines;
    struct buf name, document;
};

static bool is_stdin(const struct item *item)
{
    assert(item->absolute); /* list_items saw to it */
    return strcmp(item->absolute, "-") == 0;
}

static bool by_line(const struct input *in)
{
    return in->conf.format != INPUT_DOCUMENTS;
}

static const char *shown(const struct item *item)
{
    return is_stdin(item) ? "standard input" : item->path;
}

/* ---- the list of inputs ------------------------------------------------------------------- */

static enum rc examine(struct input *in, struct item *item, const char *cwd, struct err *err)
{
    struct stat st;
    bool from_stdin = strcmp(item->path, "-") == 0;
    item->absolute = from_stdin ? strdup("-") : path_absolute(cwd, item->path);
    if (!item->absolute)
        return err_set(err, RC_NOMEM, "no memory for the list of inputs");
    if ((from_stdin ? fstat(STDIN_FILENO, &st) : stat(item->path, &st)) != 0)
        return err_set(err, RC_REJECT, "%s: %s", item->path, strerror(errno));
    item->is_directory = S_ISDIR(st.st_mode);
    item->is_regular = S_ISREG(st.st_mode);
    if (item->is_directory && (by_line(in) || from_stdin))
        return err_set(err, RC_REJECT,
                       "%s is a directory: its files are taken as documents, which needs --prompt "
                       "(or --format documents); for files of JSON lines, name the files",
                       item->path);
    if (from_stdin && item->is_regular)
        item->begin = lseek(STDIN_FILENO, 0, SEEK_CUR);
    return RC_OK;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static enum rc refuse_repeats(const struct input *in, struct err *err)
{
    enum rc rc = RC_OK;
    char **sorted = calloc((size_t)in->item_count, sizeof *sorted);
    if (!sorted)
        return err_set(err, RC_NOMEM, "no memory for the list of inputs");
    for (int i = 0; i < in->item_count; i++)
        sorted[i] = in->items[i].absolute;
    qsort(sorted, (size_t)in->item_count, sizeof *sorted, by_path);
    for (int i = 1; rc == RC_OK && i < in->item_count; i++)
        if (strcmp(sorted[i - 1], sorted[i]) == 0)
            rc = err_set(err, RC_REJECT, "%s is given twice", sorted[i]);
    free(sorted);
    return rc;
}

/* The deepest directory that holds all inputs. */
static size_t base_of(const struct input *in)
{
    const char *first = NULL;
    size_t bytes = 0;
    for (int i = 0; i < in->item_count; i++) {
        const struct item *item = &in->items[i];
        if (is_stdin(item))
            continue;
        size_t own = item->is_directory ? strlen(item->absolute) : path_parent(item->absolute);
        if (own == 1)
            own = 0; /* the root itself */
        bytes = first ? path_common(first, bytes, item->absolute, own) : own;
        first = item->absolute;
    }
    return bytes;
}

static enum rc list_items(struct input *in, struct err *err)
{
    char *cwd = getcwd(NULL, 0);
    enum rc rc =
        cwd ? RC_OK : err_set(err, RC_REJECT, "the working directory: %s", strerror(errno));
    in->items = calloc((size_t)in->conf.path_count, sizeof *in->items);
    if (!in->items)
        rc = err_set(err, RC_NOMEM, "no memory for the list of inputs");
    for (int i = 0; rc == RC_OK && i < in->conf.path_count; i++) {
        in->items[in->item_count].path = in->conf.paths[i];
        rc = examine(in, &in->items[in->item_count++], cwd, err);
    }
    free(cwd);
    if (rc == RC_OK)
        rc = refuse_repeats(in, err);
    if (rc == RC_OK)
        in->base_bytes = base_of(in);
    return rc;
}

enum rc input_new(const struct input_conf *conf, struct input **ret_input, struct err *err)
{
    if (conf->path_count < 1)
        return err_set(err, RC_REJECT,
                       "nothing to submit: name files, directories, or - for "
                       "standard input");
    struct input *in = calloc(1, sizeof *in);
    if (!in)
        return err_set(err, RC_NOMEM, "no memory for the input");
    in->conf = *conf;
    in->fd = -1;
    buf_init(&in->name, 64 << 10);
    buf_init(&in->document, conf->doc_bytes_max + 1);
    in->tree = tree_new(conf->glob);
    in->lines = lines_new(conf->doc_bytes_max);
    enum rc rc = in->tree && in->lines ? list_items(in, err)
                                       : err_set(err, RC_NOMEM, "no memory for the input");
    if (rc != RC_OK) {
        input_free(in);
        return rc;
    }
    *ret_input = in;
    return RC_OK;
}

static void close_lines(struct input *in)
{
    if (in->fd > STDIN_FILENO)
        close(in->fd);
    in->fd = -1;
}

void input_free(struct input *in)
{
    if (!in)
        return;
    close_lines(in);
    for (int i = 0; i < in->item_count; i++)
        free(in->items[i].absolute);
    free(in->items);
    tree_free(in->tree);
    lines_free(in->lines);
    buf_done(&in->name);
    buf_done(&in->document);
    free(in);
}

bool input_can_rewind(const struct input *in)
{
    for (int i = 0; i < in->item_count; i++)
        if (!in->items[i].is_regular && !in->items[i].is_directory)
            return false;
    return true;
}

void input_rewind(struct input *in)
{
    close_lines(in);
    in->walking = false;
    in->next = 0;
}

const char *input_path(const struct input *in, int i)
{
    return i < in->item_count ? in->items[i].absolute : NULL;
}

/* ---- documents ---------------------------------------------------------------------------- */

static enum rc read_all(struct input *in, int fd, struct err *err)
{
    size_t max = in->conf.doc_bytes_max;
    for (;;) {
        size_t left = max + 1 - in->document.n, want = left < 65536 ? left : 65536;
        if (want == 0)
            return err_set(err, RC_REJECT, "has more than %zu bytes, and no message can hold it",
                           max);
        char *room = buf_room(&in->document, want);
        if (!room)
            return err_set(err, RC_NOMEM, "no memory for the document");
        ssize_t n = read(fd, room, want);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set(err, RC_REJECT, "cannot be read: %s", strerror(errno));
        if (n == 0)
            return RC_OK;
        in->document.n += (size_t)n;
    }
}

static enum input_got read_document(struct input *in, int fd, struct record *record,
                                    struct err *err)
{
    buf_reset(&in->document);
    if (read_all(in, fd, err) != RC_OK)
        return INPUT_BAD;
    record->data = buf_span(&in->document);
    if (record->data.n == 0) {
        (void)err_set(err, RC_REJECT, "is empty");
        return INPUT_BAD;
    }
    return INPUT_RECORD;
}

static enum input_got open_document(struct input *in, const char *path, struct record *record,
                                    struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) {
        (void)err_set(err, RC_REJECT, "cannot be opened: %s", strerror(errno));
        return INPUT_BAD;
    }
    enum input_got got = read_document(in, fd, record, err);
    close(fd);
    return got;
}

/* The path below the common directory; for standard input "stdin". */
static void set_name(struct input *in, const struct item *item, const char *below)
{
    buf_reset(&in->name);
    if (is_stdin(item)) {
        buf_add_text(&in->name, "stdin");
        return;
    }
    const char *own = item->absolute + in->base_bytes;
    buf_add_text(&in->name, *own == '/' ? own + 1 : own);
    if (below && in->name.n > 0)
        buf_add_byte(&in->name, '/');
    if (below)
        buf_add_text(&in->name, below);
}

static enum input_got next_in_tree(struct input *in, struct record *record, struct err *err)
{
    const char *path, *below;
    enum tree_got got = tree_next(in->tree, &path, &below, err);
    if (got == TREE_END) {
        in->walking = false;
        return INPUT_END;
    }
    set_name(in, &in->items[in->next - 1], below);
    *record = (struct record){.file = path, .name = buf_span(&in->name), .format = INPUT_DOCUMENTS};
    return got == TREE_FILE ? open_document(in, path, record, err) : INPUT_BAD;
}

/* ---- lines -------------------------------------------------------------------------------- */

static void set_line_name(struct input *in, const struct item *item, int64_t line)
{
    if (in->item_count == 1) {
        buf_reset(&in->name);
        buf_addf(&in->name, "line-%lld", (long long)line);
        return;
    }
    set_name(in, item, NULL);
    buf_addf(&in->name, ":%lld", (long long)line);
}

static bool is_blank(struct span line)
{
    for (size_t i = 0; i < line.n; i++)
        if (!strchr(" \t\r\v\f", line.p[i]) || line.p[i] == '\0')
            return false;
    return true;
}

/* INPUT_END: this file's end. */
static enum input_got next_line(struct input *in, struct record *record, struct err *err)
{
    const struct item *item = &in->items[in->next - 1];
    struct span line;
    int64_t number = 0;
    enum lines_got got;
    do
        got = lines_next(in->lines, &line, &number, err);
    while (got == LINES_LINE && is_blank(line));
    *record = (struct record){.file = shown(item), .line = number, .data = line};
    switch (got) {
    case LINES_LINE:
        if (in->format == INPUT_REQUESTS)
            in->format = body_is_openai(line) ? INPUT_OPENAI : INPUT_JSONL;
        set_line_name(in, item, number);
        record->name = buf_span(&in->name);
        record->format = in->format;
        return INPUT_RECORD;
    case LINES_TOO_LONG:
        (void)err_set(err, RC_REJECT, "has more than %zu bytes, and no message can hold it",
                      in->conf.doc_bytes_max);
        return INPUT_BAD;
    case LINES_STOPPED:
        return INPUT_STOPPED;
    case LINES_FAILED:
        return INPUT_FAILED;
    case LINES_END:
        break;
    }
    close_lines(in);
    return INPUT_END;
}

/* ---- one after the other ------------------------------------------------------------------ */

static int open_item(const struct item *item)
{
    if (!is_stdin(item))
        return open(item->path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (item->is_regular)
        (void)lseek(STDIN_FILENO, item->begin, SEEK_SET);
    return STDIN_FILENO;
}

/* Opens the next input. INPUT_END: it gives its records one by one; else it is one itself. */
static enum input_got begin_item(struct input *in, struct record *record, struct err *err)
{
    const struct item *item = &in->items[in->next++];
    *record = (struct record){.file = shown(item), .format = INPUT_DOCUMENTS};
    if (item->is_directory) {
        tree_start(in->tree, item->path);
        in->walking = true;
        return INPUT_END;
    }
    set_name(in, item, NULL);
    record->name = buf_span(&in->name);
    int fd = open_item(item);
    if (fd < 0) {
        (void)err_set(err, RC_REJECT, "cannot be opened: %s", strerror(errno));
        return by_line(in) ? INPUT_FAILED : INPUT_BAD;
    }
    if (by_line(in)) {
        in->fd = fd;
        in->format = in->conf.format;
        lines_start(in->lines, fd, in->conf.stop_fd);
        return INPUT_END;
    }
    enum input_got got = read_document(in, fd, record, err);
    if (fd > STDIN_FILENO)
        close(fd);
    return got;
}

enum input_got input_next(struct input *in, struct record *ret_record, struct err *err)
{
    for (;;) {
        enum input_got got;
        if (in->fd >= 0)
            got = next_line(in, ret_record, err);
        else if (in->walking)
            got = next_in_tree(in, ret_record, err);
        else if (in->next < in->item_count)
            got = begin_item(in, ret_record, err);
        else
            return INPUT_END;
        if (got != INPUT_END)
            return got;
    }
}

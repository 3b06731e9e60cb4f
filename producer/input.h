/*
 * input.h - everything that can be submitted, as one sequence of records.
 *
 * Inputs are files, directories and "-" (standard input), in the order given. Documents: a file is
 * a record, a directory is walked (tree.h). Lines: a line is a record, blank lines are none.
 *
 * Names: a document is called by its path below the deepest directory that holds all inputs (for
 * one directory: the path in it; for one file: the file's name). A line is called "line-<n>", n
 * from 1, and "<that path>:<n>" when there are several inputs; lines may bring a name of their own.
 */
#ifndef INFERQ_PRODUCER_INPUT_H
#define INFERQ_PRODUCER_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/span.h"

enum input_format {
    INPUT_DOCUMENTS, /* a file is a document */
    INPUT_LINES,     /* a line is a document */
    INPUT_JSONL,     /* a line is a request body */
    INPUT_OPENAI,    /* a line is {"custom_id":..., "url":..., "body":{...}} */
    INPUT_REQUESTS,  /* JSONL or OpenAI: the first line of each file decides */
};

struct input_conf {
    const char *const *paths; /* borrowed */
    int path_count;
    enum input_format format;
    const char *glob;     /* which files of a directory; NULL: all. Borrowed */
    size_t doc_bytes_max; /* a longer document or line is a bad record */
    int stop_fd;          /* readable: stop waiting for input; -1: none */
};

struct record {
    const char *file; /* as people know it: "docs/a.txt", "standard input" */
    int64_t line;     /* from 1; 0: the record is the whole file */
    struct span name; /* the custom_id, unless the line brings its own */
    struct span data;
    enum input_format format; /* never INPUT_REQUESTS */
};

enum input_got {
    INPUT_RECORD,
    INPUT_BAD, /* this one cannot be a job: record.file and .line say which, err why */
    INPUT_END,
    INPUT_STOPPED, /* by stop_fd */
    INPUT_FAILED,  /* reading failed in the middle of a stream */
};

struct input;

/* RC_REJECT: an input is not there, is of a kind that the format cannot take, or stands twice.
 * returns owned */
enum rc input_new(const struct input_conf *conf, struct input **ret_input,
                  struct err *err) MUST_CHECK;
void input_free(struct input *in);

/* The next record; what it points to lives until the next call. */
enum input_got input_next(struct input *in, struct record *ret_record, struct err *err);

/* Whether input_rewind can give the same records again: all inputs are regular files (standard
 * input too, redirected from one) or directories. */
bool input_can_rewind(const struct input *in);
void input_rewind(struct input *in);

/* The i-th input's absolute path, "-" for standard input; NULL past the end. */
const char *input_path(const struct input *in, int i);

#endif

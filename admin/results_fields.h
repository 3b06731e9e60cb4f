/*
 * results_fields.h - the columns that `inferq results` can write (pure).
 */
#ifndef INFERQ_ADMIN_RESULTS_FIELDS_H
#define INFERQ_ADMIN_RESULTS_FIELDS_H

#include <stdbool.h>

#include "common/err.h"
#include "common/span.h"

enum { RESULTS_FIELDS_MAX = 64 };

enum field_type { FIELD_TEXT, FIELD_INT, FIELD_USD, FIELD_TIME, FIELD_ID, FIELD_CODE };

struct field {
    const char *name;
    const char *sql; /* an expression over `result r` */
    enum field_type type;
    const char *(*code_name)(int code); /* FIELD_CODE */
    bool standard;                      /* written when --fields does not say */
};

extern const struct field fields_table[]; /* ends with a NULL name */

struct field_list {
    const struct field *all[RESULTS_FIELDS_MAX];
    int count;
};

/* NULL: the standard ones. RC_REJECT: an unknown name (with the nearest), one twice, none. */
enum rc fields_parse(const char *text, struct field_list *ret, struct err *err) MUST_CHECK;

#endif

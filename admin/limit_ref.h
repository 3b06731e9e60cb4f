/*
 * limit_ref.h - which limit is meant: "endpoint:NAME[@VERSION]", "model:NAME[@VERSION]",
 * "app:NAME", and a dimension.
 */
#ifndef INFERQ_ADMIN_LIMIT_REF_H
#define INFERQ_ADMIN_LIMIT_REF_H

#include <stdbool.h>

#include "admin/cmd.h"
#include "common/err.h"
#include "common/limits.h"

enum { LIMIT_REF_KEY_BYTES = 320, LIMIT_REF_BYTES = LIMIT_REF_KEY_BYTES + 16 };

struct limit_ref {
    enum limit_scope scope;
    char key[LIMIT_REF_KEY_BYTES]; /* as it was said; "": none, where that is allowed */
};

/* RC_REJECT says what it should be, and the nearest scope. `whole`: a key is needed. Pure. */
enum rc limit_ref_parse(const char *said, bool whole, struct limit_ref *ret,
                        struct err *err) MUST_CHECK;
/* RC_REJECT lists the dimensions, or names the nearest. Pure. */
enum rc limit_dimension_ref(const char *said, enum limit_dimension *ret,
                            struct err *err) MUST_CHECK;

/* The key as it stands in limit_rule: a name without a version is that of its only version.
 * RC_REJECT: the catalogue has none, or several. An app that has no batch is said on standard
 * error, and taken as it is. `rules_too`: a key that has limits is good, whatever the catalogue
 * has. */
enum rc limit_ref_resolve(struct ctx *ctx, struct limit_ref *ref, bool rules_too,
                          struct err *err) MUST_CHECK;

/* Is there any such, or a limit of such? RC_REJECT lists what the catalogue has. An app without a
 * batch is said on standard error. */
enum rc limit_ref_known(struct ctx *ctx, const struct limit_ref *ref, struct err *err) MUST_CHECK;

/* "endpoint:eu@1" */
const char *limit_ref_text(const struct limit_ref *ref, char out[LIMIT_REF_BYTES]);

#endif

#ifndef MODELSIM_SCHEMA_H
#define MODELSIM_SCHEMA_H
/*
 * Purpose: a JSON text that satisfies a JSON schema, made from a document. The edge to jansson.
 */
#include "tests/modelsim/base.h"
#include "tests/modelsim/buf.h"
#include "tests/modelsim/jscan.h"

/* Appends the first count words of a text, joined by one space; `(empty)` if there are none. Words
 * are separated by ASCII white space. */
void schema_words(struct span text, int count, struct buf *out);
/* Appends compact JSON that satisfies the schema (type, properties, required, items, enum, const;
 * remarks such as title are ignored). RC_REJECT: not JSON, too deep, too big, or a keyword that
 * restricts in a way which is not supported. */
MUST_CHECK enum rc schema_answer(struct span schema, struct span text, struct buf *out,
                                 struct err *err);

#endif

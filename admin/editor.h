/*
 * editor.h - lets a person change a text in the editor of their choice.
 */
#ifndef INFERQ_ADMIN_EDITOR_H
#define INFERQ_ADMIN_EDITOR_H

#include "common/buf.h"
#include "common/err.h"
#include "common/span.h"

enum { EDITOR_PATH = 512 };

/* Writes `text` into a file of its own (readable by nobody else, under $TMPDIR), runs $VISUAL or
 * $EDITOR on it, and appends what it holds then. `path` names the file, which stays until
 * editor_forget; "" where there is none, which is so when it fails before there was anything to
 * lose. RC_REJECT: no editor is named, it cannot be run, it fails, or the text is empty. */
enum rc editor_run(struct span text, char path[EDITOR_PATH], struct buf *out,
                   struct err *err) MUST_CHECK;
void editor_forget(char path[EDITOR_PATH]); /* removes the file; "" is fine */

#endif

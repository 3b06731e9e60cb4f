/*
 * Read before every file by the gates tidy and cppcheck, by nobody else: tells them what they
 * cannot see across files, that err_set and err_prefix return the rc they are given. Without it
 * they take every failure for a possible RC_OK, and every `ret_x` for uninitialised.
 */
#ifndef INFERQ_GATES_ANALYSIS_H
#define INFERQ_GATES_ANALYSIS_H

#include "common/err.h"

#define err_set(err, rc, ...) (err_set((err), (rc), __VA_ARGS__), (rc))
#define err_prefix(err, rc, ...) (err_prefix((err), (rc), __VA_ARGS__), (rc))

#endif

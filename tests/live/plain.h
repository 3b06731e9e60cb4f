/*
 * plain.h - a server of one request, on the test's own loop: what exactly was sent?
 */
#ifndef INFERQ_TESTS_LIVE_PLAIN_H
#define INFERQ_TESTS_LIVE_PLAIN_H

#include <stdbool.h>

struct uv_loop_s;

/* Listens on 127.0.0.1 or ::1, and answers one request with a 200 that has these header lines
 * ("name: value\r\n" each) as well. One at a time. */
void plain_begin(struct uv_loop_s *loop, bool v6, const char *headers);
const char *plain_url(void);  /* "http://127.0.0.1:4711" */
const char *plain_head(void); /* of the request: its first line and headers */
void plain_end(struct uv_loop_s *loop);

#endif

/*
 * ops.h - /metrics, /livez and /readyz on one port (libmicrohttpd on the loop).
 */
#ifndef INFERQ_WORKER_OPS_H
#define INFERQ_WORKER_OPS_H

#include <stdbool.h>

#include "common/err.h"
#include "common/metrics.h"

struct uv_loop_s;
struct ops;

struct ops_conf {
    const char *listen; /* "127.0.0.1:9464", "[::1]:0", ":9464" (all addresses) */
    void *arg;
    void (*before_metrics)(void *arg); /* refresh gauges */
    bool (*live)(void *arg);           /* the loop turns and nothing is fatal */
    /* Writes one line why when not ready. */
    bool (*ready)(void *arg, char *why, int why_bytes);
    const struct metrics *metrics; /* borrowed */
};

enum rc ops_new(struct uv_loop_s *loop, const struct ops_conf *conf, struct ops **ret_ops,
                struct err *err) MUST_CHECK;
int ops_port(const struct ops *o); /* the real one, when 0 was asked */
void ops_free(struct ops *o);

#endif

/*
 * probe.h - looks whether endpoints can be reached: name, connection, TLS, and, if asked, one small
 * request with the credential. The libcurl edge of `inferq doctor`; all endpoints at once.
 */
#ifndef INFERQ_ADMIN_PROBE_H
#define INFERQ_ADMIN_PROBE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/secret.h"

enum { PROBE_WHY_BYTES = 256 };

/* How far it came. */
enum probe_step {
    PROBE_NOT_DONE, /* not tried */
    PROBE_URL,      /* it is no URL that can be tried, or the CA file cannot be read */
    PROBE_ADDRESS,  /* its name does not resolve */
    PROBE_CONNECT,  /* nobody answers there */
    PROBE_TLS,      /* the handshake failed, or its certificate is not trusted */
    PROBE_EXCHANGE, /* connected, and no answer to the request came */
    PROBE_REACHED,  /* all that was asked for */
};

struct probe_result {
    enum probe_step step;
    char why[PROBE_WHY_BYTES];   /* unless reached */
    int64_t certificate_ends_ms; /* Unix ms; 0: no TLS, or not told */
    int http_status;             /* of the request; 0: none was made */
};

struct probe {
    const char *base_url;
    const char *ca_file;             /* "": the system's */
    const struct secret *credential; /* NULL: none */
    bool call;                       /* GET BASE_URL/v1/models; else nothing is sent */
    struct probe_result *result;     /* filled in */
};

/* RC_NOMEM; else RC_OK, whatever the endpoints said. Takes `timeout_ms` at most. */
enum rc probe_all(const struct probe *probes, int count, int timeout_ms,
                  struct err *err) MUST_CHECK;

#endif

/*
 * doctor_catalogue.c - what is found about the catalogue and its endpoints (pure but for the texts
 * of its questions).
 */
#include <inttypes.h>
#include <string.h>

#include "admin/doctor.h"
#include "common/catalogue.h"

#define DAY_MS (INT64_C(24) * 3600 * 1000)
enum { CERTIFICATE_DAYS = 14 };

/* ---- file and tables ---------------------------------------------------------------------- */

static void judge_file(const struct doctor_facts *f, struct doctor_says *s)
{
    if (f->row_count == 0)
        doctor_say(s, DOCTOR_SKIPPED, "no file was given: --catalogue FILE, a worker's");
    else if (f->rows[0].a)
        doctor_say(s, DOCTOR_ERROR, "%s", f->rows[0].detail);
    else
        doctor_say(s, DOCTOR_OK, "%s", f->rows[0].detail);
}

static void judge_applied(const struct doctor_facts *f, struct doctor_says *s)
{
    const struct doctor_row *first = NULL;
    int pending = 0;
    for (int i = 0; i < f->row_count; i++) {
        const struct doctor_row *row = &f->rows[i]; /* entry; how it differs; a: immutable */
        if (row->a) {
            doctor_say(s, DOCTOR_ERROR, "%s: %s", row->subject, row->detail);
            doctor_mend(s, "put the applied content back, and make the change as a new version: "
                           "workers refuse to start on this file");
        } else {
            first = pending++ ? first : row;
        }
    }
    if (pending)
        doctor_say(s, DOCTOR_WARNING, "%d entries of the file: %s %s%s", pending, first->subject,
                   first->detail, pending > 1 ? ", and so on" : "");
}

static void judge_prices(const struct doctor_facts *f, struct doctor_says *s)
{
    for (int i = 0; i < f->row_count; i++)
        doctor_say(s, DOCTOR_WARNING, "%s %s: the cost of its calls is not known",
                   f->rows[i].subject, f->rows[i].detail);
}

static void judge_current(const struct doctor_facts *f, struct doctor_says *s)
{
    for (int i = 0; i < f->row_count; i++) {
        const struct doctor_row *row = &f->rows[i]; /* model; version; a: state */
        if (row->a == 0)
            doctor_say(s, DOCTOR_ERROR, "model %s has no current version: its jobs die",
                       row->subject);
        else if (row->a == VERSION_RETIRED || row->a == VERSION_BLOCKED)
            doctor_say(s, DOCTOR_ERROR, "%s is current and %s: new jobs die", row->detail,
                       row->a == VERSION_RETIRED ? "retired" : "blocked");
        else if (row->a == VERSION_DEPRECATED)
            doctor_say(s, DOCTOR_WARNING, "%s is current and deprecated", row->detail);
    }
}

static void judge_signing(const struct doctor_facts *f, struct doctor_says *s)
{
    doctor_say(s, f->rows[0].a ? DOCTOR_ERROR : DOCTOR_OK, "%s", f->rows[0].detail);
}

static void judge_ring(const struct doctor_facts *f, struct doctor_says *s)
{
    if (f->row_count == 0) {
        doctor_say(s, DOCTOR_SKIPPED, "no ring was given: --signature-keys REF, the workers'");
        return;
    }
    if (f->rows[0].a)
        doctor_say(s, DOCTOR_ERROR, "the workers' ring: %s", f->rows[0].detail);
    for (int i = 1; i < f->row_count; i++) {
        doctor_say(s, DOCTOR_ERROR,
                   "app %s has no key, and %" PRId64 " batches of the last week: where "
                   "signature.check = require its jobs become dead letters",
                   f->rows[i].subject, f->rows[i].b);
        doctor_mend(s,
                    "add a line `%s KEY-ID:HEX` to the workers' signature.keys, and send them "
                    "SIGHUP",
                    f->rows[i].subject);
    }
    if (f->row_count == 1 && !f->rows[0].a)
        doctor_say(s, DOCTOR_OK, "%s, every app that submits has one", f->rows[0].detail);
}

const struct doctor_check doctor_catalogue_checks[] = {
    {"catalogue.file", "The catalogue file cannot be read", "mend the line that is named", NULL,
     judge_file},
    {"catalogue.applied", "The catalogue file and the database differ",
     "start a worker with this file, which applies it; or give doctor the workers' file", NULL,
     judge_applied},
    {"catalogue.prices", "A version that can be called has no price in force, or half a price",
     "add a price to it in the catalogue file, `from` today or before",
     "SELECT v.label, CASE WHEN p.price_id IS NOT NULL THEN 'has half a price' "
     "WHEN EXISTS (SELECT FROM price q WHERE q.model_version_id = v.model_version_id) "
     "THEN 'has a price only from later on' ELSE 'has no price' END, 0::bigint, 0::bigint "
     "FROM model_version v LEFT JOIN LATERAL (SELECT * FROM price q "
     " WHERE q.model_version_id = v.model_version_id AND q.valid_from <= now() "
     " ORDER BY q.valid_from DESC LIMIT 1) p ON true "
     "WHERE v.state IN (1, 2, 3) AND (p.price_id IS NULL OR p.input_pusd IS NULL "
     "OR p.output_pusd IS NULL) ORDER BY 1 LIMIT 20",
     judge_prices},
    {"catalogue.current", "A model's current version is deprecated, retired, blocked, or none",
     "set `current` of that model to another version in the catalogue file",
     "SELECT m.name, coalesce(v.label, ''), coalesce(v.state, 0)::bigint, 0::bigint FROM model m "
     "LEFT JOIN model_version v ON v.model_version_id = m.current_version_id "
     "WHERE v.state IS NULL OR v.state NOT IN (1, 2) ORDER BY 3, 1 LIMIT 20",
     judge_current},
    {"signing.key", "The key that signs requeued jobs cannot be read",
     "signing.key = env:NAME or file:PATH, holding KEY-ID:HEX", NULL, judge_signing},
    {"signing.ring", "The workers' keys cannot be read, or an app that submits has none",
     "signature.keys = env:NAME or file:PATH, holding lines `APP KEY-ID:HEX`", NULL, judge_ring},
    {0},
};

/* ---- endpoints ---------------------------------------------------------------------------- */

typedef void (*each_endpoint)(const struct doctor_facts *f, const struct doctor_endpoint *e,
                              struct doctor_says *s);

/* Of those that came as far as `step` is asked about; of the others an earlier check tells. */
static void for_endpoints(const struct doctor_facts *f, enum probe_step step, each_endpoint judge,
                          struct doctor_says *s)
{
    if (f->endpoint_count == 0)
        doctor_say(s, DOCTOR_SKIPPED, "no endpoint is in use");
    for (int i = 0; i < f->endpoint_count; i++)
        if (f->endpoints[i].probe.step >= step)
            judge(f, &f->endpoints[i], s);
        else
            doctor_say(s, DOCTOR_SKIPPED, "%s: not looked at: it was not reached so far",
                       f->endpoints[i].name);
}

static void endpoint_address(const struct doctor_facts *f, const struct doctor_endpoint *e,
                             struct doctor_says *s)
{
    (void)f;
    if (e->probe.step == PROBE_URL) {
        doctor_say(s, DOCTOR_ERROR, "%s: %s: %s", e->name, e->base_url, e->probe.why);
        doctor_mend(s, "mend base_url or ca_file, as a new version of the endpoint");
    } else if (e->probe.step == PROBE_ADDRESS) {
        doctor_say(s, DOCTOR_ERROR, "%s: %s: %s", e->name, e->base_url, e->probe.why);
    }
}

static void judge_address(const struct doctor_facts *f, struct doctor_says *s)
{
    for_endpoints(f, PROBE_URL, endpoint_address, s);
}

static void endpoint_connect(const struct doctor_facts *f, const struct doctor_endpoint *e,
                             struct doctor_says *s)
{
    (void)f;
    if (e->probe.step == PROBE_CONNECT)
        doctor_say(s, DOCTOR_ERROR, "%s: %s: %s", e->name, e->base_url, e->probe.why);
    else
        doctor_say(s, DOCTOR_OK, "%s: %s", e->name, e->base_url);
}

static void judge_connect(const struct doctor_facts *f, struct doctor_says *s)
{
    for_endpoints(f, PROBE_CONNECT, endpoint_connect, s);
}

static void endpoint_certificate(const struct doctor_facts *f, const struct doctor_endpoint *e,
                                 struct doctor_says *s)
{
    char age[DOCTOR_AGE_BYTES];
    int64_t left = e->probe.certificate_ends_ms - f->now_ms;
    if (e->probe.step == PROBE_TLS)
        doctor_say(s, DOCTOR_ERROR, "%s: %s: %s", e->name, e->base_url, e->probe.why);
    else if (e->probe.certificate_ends_ms && left < CERTIFICATE_DAYS * DAY_MS)
        doctor_say(s, DOCTOR_WARNING, "%s: its certificate ends in %s", e->name,
                   doctor_age(left, age));
    else if (e->probe.certificate_ends_ms)
        doctor_say(s, DOCTOR_OK, "%s: its certificate ends in %s", e->name, doctor_age(left, age));
    else
        doctor_say(s, DOCTOR_OK, "%s: no TLS", e->name);
}

static void judge_certificate(const struct doctor_facts *f, struct doctor_says *s)
{
    for_endpoints(f, PROBE_TLS, endpoint_certificate, s);
}

static void endpoint_credential(const struct doctor_facts *f, const struct doctor_endpoint *e,
                                struct doctor_says *s)
{
    (void)f;
    if (*e->credential_why)
        doctor_say(s, DOCTOR_ERROR, "%s: %s", e->name, e->credential_why);
}

static void judge_credential(const struct doctor_facts *f, struct doctor_says *s)
{
    for_endpoints(f, PROBE_NOT_DONE, endpoint_credential, s);
}

static void endpoint_call(const struct doctor_facts *f, const struct doctor_endpoint *e,
                          struct doctor_says *s)
{
    int status = e->probe.http_status;
    (void)f;
    if (e->probe.step == PROBE_EXCHANGE) {
        doctor_say(s, DOCTOR_ERROR, "%s: no answer to GET /v1/models: %s", e->name, e->probe.why);
        doctor_mend(s, "look whether that is a model server, and what it logs");
    } else if (status == 401 || status == 403) {
        doctor_say(s, DOCTOR_ERROR, "%s: GET /v1/models answers %d: the credential%s is refused",
                   e->name, status, *e->credential ? "" : ", which is none,");
    } else if (status == 429 || status >= 500) {
        doctor_say(s, DOCTOR_WARNING, "%s: GET /v1/models answers %d", e->name, status);
        doctor_mend(s, "look again later; when it stays so, ask who runs the endpoint");
    } else {
        doctor_say(s, DOCTOR_OK, "%s: GET /v1/models answers %d", e->name, status);
    }
}

static void judge_call(const struct doctor_facts *f, struct doctor_says *s)
{
    if (!f->called)
        doctor_say(s, DOCTOR_SKIPPED, "no request was made: --call makes one a endpoint");
    else
        for_endpoints(f, PROBE_EXCHANGE, endpoint_call, s);
}

static void judge_pause(const struct doctor_facts *f, struct doctor_says *s)
{
    char age[DOCTOR_AGE_BYTES];
    for (int i = 0; i < f->row_count; i++) {
        doctor_say(s, DOCTOR_WARNING, "%s was paused %s ago by %s", f->rows[i].subject,
                   doctor_age(f->rows[i].a, age), f->rows[i].detail);
        doctor_mend(s, "inferq endpoint resume %s, once what it was paused for is over",
                    f->rows[i].subject);
    }
}

const struct doctor_check doctor_endpoint_checks[] = {
    {"endpoint.address", "An endpoint's URL or CA file is unusable, or its name does not resolve",
     "mend DNS (resolv.conf) on this host and the workers'; or give the endpoint a new version",
     NULL, judge_address},
    {"endpoint.connect", "Nobody answers at an endpoint's address",
     "start the server there; let firewall and proxy pass this host and the workers'", NULL,
     judge_connect},
    {"endpoint.certificate",
     "The TLS handshake fails, or the certificate is not trusted or ends within 14 days",
     "renew the certificate there; a private authority's goes into the endpoint's ca_file", NULL,
     judge_certificate},
    {"endpoint.credential", "A credential's reference cannot be resolved here",
     "set that variable or make that file, here and wherever workers run; run doctor in a worker's "
     "environment",
     NULL, judge_credential},
    {"endpoint.call", "With --call: the endpoint refuses the credential, or fails",
     "put a valid key where the credential refers to, and reload the workers", NULL, judge_call},
    {"endpoint.pause", "An operator has paused an endpoint", "inferq endpoint resume NAME",
     "SELECT CASE WHEN version = 0 THEN name ELSE name || '@' || version END, "
     "actor || CASE WHEN reason = '' THEN '' ELSE ': ' || reason END, "
     "(extract(epoch FROM clock_timestamp() - at) * 1000)::bigint, 0::bigint FROM endpoint_pause "
     "ORDER BY at LIMIT 20",
     judge_pause},
    {0},
};

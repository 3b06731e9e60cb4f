/*
 * probe.c - see probe.h.
 *
 * Happy path: one transfer an endpoint, all under one multi handle. Without a request each stops
 * after the handshake (CURLOPT_CONNECT_ONLY), and nothing is sent. Redirects are not followed, and
 * no proxy is used that the worker would not use.
 *
 * Failure modes: libcurl's code says how far it came; its words say why. A credential that cannot
 * be a header is not sent. The credential's line is wiped when the transfer goes.
 */
#include "admin/probe.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>

#include "common/catalogue.h"

struct transfer {
    CURL *easy;
    char *url;
    struct curl_slist *headers;
    char error[CURL_ERROR_SIZE];
    struct probe_result *result;
};

static size_t drop(char *p, size_t size, size_t n, void *arg)
{
    (void)p;
    (void)arg;
    return size * n;
}

static bool can_be_header(struct span value)
{
    for (size_t i = 0; i < value.n; i++)
        if (iscntrl((unsigned char)value.p[i]))
            return false;
    return true;
}

static bool add_credential(struct transfer *t, const struct secret *credential)
{
    struct span value = credential ? secret_value(credential) : (struct span){0};
    if (!value.n || !can_be_header(value))
        return true;
    size_t bytes = value.n + sizeof "Authorization: Bearer ";
    char *line = malloc(bytes);
    if (!line)
        return false;
    (void)snprintf(line, bytes, "Authorization: Bearer %s", value.p);
    t->headers = curl_slist_append(NULL, line);
    explicit_bzero(line, bytes);
    free(line);
    return t->headers != NULL;
}

static bool prepare(struct transfer *t, const struct probe *probe, int timeout_ms)
{
    const char *path =
        probe->call ? catalogue_path_below(span_of(probe->base_url), SPAN_LIT("/v1/models")).p : "";
    size_t bytes = strlen(probe->base_url) + strlen(path) + 1;
    t->result = probe->result;
    t->easy = curl_easy_init();
    t->url = malloc(bytes);
    if (!t->easy || !t->url || (probe->call && !add_credential(t, probe->credential)))
        return false;
    (void)snprintf(t->url, bytes, "%s%s", probe->base_url, path);
    CURL *e = t->easy;
    (void)curl_easy_setopt(e, CURLOPT_URL, t->url);
    (void)curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(e, CURLOPT_CERTINFO, 1L);
    (void)curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    (void)curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    (void)curl_easy_setopt(e, CURLOPT_ERRORBUFFER, t->error);
    (void)curl_easy_setopt(e, CURLOPT_PRIVATE, t);
    (void)curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, drop);
    (void)curl_easy_setopt(e, CURLOPT_HTTPHEADER, t->headers);
    (void)curl_easy_setopt(e, CURLOPT_CONNECT_ONLY, probe->call ? 0L : 1L);
    if (*probe->ca_file)
        (void)curl_easy_setopt(e, CURLOPT_CAINFO, probe->ca_file);
    return true;
}

static void finish(struct transfer *t)
{
    for (struct curl_slist *line = t->headers; line; line = line->next)
        explicit_bzero(line->data, strlen(line->data));
    curl_slist_free_all(t->headers);
    curl_easy_cleanup(t->easy);
    free(t->url);
}

/* ---- what came of it ---------------------------------------------------------------------- */

static enum probe_step step_of(CURLcode code, bool connected)
{
    static const struct {
        CURLcode code;
        enum probe_step step;
    } known[] = {
        {CURLE_OK, PROBE_REACHED},
        {CURLE_URL_MALFORMAT, PROBE_URL},
        {CURLE_UNSUPPORTED_PROTOCOL, PROBE_URL},
        {CURLE_SSL_CACERT_BADFILE, PROBE_URL},
        {CURLE_COULDNT_RESOLVE_HOST, PROBE_ADDRESS},
        {CURLE_COULDNT_RESOLVE_PROXY, PROBE_ADDRESS},
        {CURLE_COULDNT_CONNECT, PROBE_CONNECT},
        {CURLE_SSL_CONNECT_ERROR, PROBE_TLS},
        {CURLE_PEER_FAILED_VERIFICATION, PROBE_TLS},
        {CURLE_SSL_ISSUER_ERROR, PROBE_TLS},
        {CURLE_SSL_CERTPROBLEM, PROBE_TLS},
        {CURLE_SSL_CIPHER, PROBE_TLS},
        {CURLE_SSL_INVALIDCERTSTATUS, PROBE_TLS},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (code == known[i].code)
            return known[i].step;
    return connected ? PROBE_EXCHANGE : PROBE_CONNECT;
}

/* The earliest end in the chain that the server sent. */
static int64_t certificate_end_ms(CURL *easy)
{
    static const char key[] = "Expire date:";
    struct curl_certinfo *info = NULL;
    int64_t first = 0;
    if (curl_easy_getinfo(easy, CURLINFO_CERTINFO, &info) != CURLE_OK || !info)
        return 0;
    for (int i = 0; i < info->num_of_certs; i++)
        for (const struct curl_slist *line = info->certinfo[i]; line; line = line->next) {
            if (strncmp(line->data, key, sizeof key - 1) != 0)
                continue;
            int64_t end = (int64_t)curl_getdate(line->data + sizeof key - 1, NULL) * 1000;
            if (end > 0 && (first == 0 || end < first))
                first = end;
        }
    return first;
}

static void take(struct transfer *t, CURLcode code)
{
    struct probe_result *r = t->result;
    curl_off_t connected_us = 0;
    long status = 0;
    (void)curl_easy_getinfo(t->easy, CURLINFO_CONNECT_TIME_T, &connected_us);
    (void)curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    r->step = step_of(code, connected_us > 0);
    r->http_status = (int)status;
    r->certificate_ends_ms = certificate_end_ms(t->easy);
    if (code != CURLE_OK)
        (void)snprintf(r->why, sizeof r->why, "%s",
                       *t->error ? t->error : curl_easy_strerror(code));
}

static void run(CURLM *multi)
{
    int running = 1, left;
    while (running > 0) {
        if (curl_multi_perform(multi, &running) != CURLM_OK)
            return;
        for (CURLMsg *m = curl_multi_info_read(multi, &left); m;
             m = curl_multi_info_read(multi, &left)) {
            struct transfer *t = NULL;
            if (m->msg == CURLMSG_DONE &&
                curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &t) == CURLE_OK)
                take(t, m->data.result);
        }
        if (running > 0)
            (void)curl_multi_poll(multi, NULL, 0, 1000, NULL); /* each transfer has its timeout */
    }
}

enum rc probe_all(const struct probe *probes, int count, int timeout_ms, struct err *err)
{
    CURLM *multi = curl_multi_init();
    struct transfer *all = calloc((size_t)count + 1, sizeof *all);
    int ready = 0;
    bool made = multi && all;
    for (; made && ready < count; ready++) {
        made = prepare(&all[ready], &probes[ready], timeout_ms);
        if (made)
            (void)curl_multi_add_handle(multi, all[ready].easy);
    }
    if (made)
        run(multi);
    for (int i = 0; i < ready; i++) {
        if (all[i].easy)
            (void)curl_multi_remove_handle(multi, all[i].easy);
        finish(&all[i]);
    }
    free(all);
    (void)curl_multi_cleanup(multi);
    return made ? RC_OK : err_set(err, RC_NOMEM, "no memory for %d endpoints", count);
}

/*
 * http_target.c - an endpoint as requests need it: its base URL, its headers, its limits in time.
 *
 * Happy path: everything that does not change from call to call is checked and built once; requests
 * borrow it. Failure: what cannot work is refused here (RC_REJECT), before anything is sent. The
 * credential is in one header line, wiped when the target goes, and in no message.
 */
#include "worker/http.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/http_internal.h"

static bool url_has(CURLU *url, CURLUPart part)
{
    char *text = NULL;
    bool has = curl_url_get(url, part, &text, 0) == CURLUE_OK && text && *text;
    curl_free(text);
    return has;
}

static enum rc check_url(const char *text, struct err *err)
{
    CURLU *url = curl_url();
    char *scheme = NULL;
    enum rc rc = RC_OK;
    if (!url)
        return err_set(err, RC_NOMEM, "no memory for a URL");
    /* Messages do not repeat it: it may hold a password. */
    if (curl_url_set(url, CURLUPART_URL, text, CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK ||
        curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
        (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0))
        rc = err_set(err, RC_REJECT, "base_url is not a URL: https://HOST[:PORT][/PATH]");
    else if (url_has(url, CURLUPART_USER) || url_has(url, CURLUPART_PASSWORD))
        rc = err_set(err, RC_REJECT, "base_url holds a user or password: use `credential`");
    else if (url_has(url, CURLUPART_QUERY) || url_has(url, CURLUPART_FRAGMENT))
        rc = err_set(err, RC_REJECT, "base_url holds a query or a fragment");
    curl_free(scheme);
    curl_url_cleanup(url);
    return rc;
}

static enum rc check_file(const char *path, struct err *err)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return err_set(err, RC_REJECT, "ca_file %s: %s", path, strerror(errno));
    fclose(file);
    return RC_OK;
}

static bool add_header(struct http_target *t, const char *line)
{
    struct curl_slist *grown = curl_slist_append(t->headers, line);
    if (grown)
        t->headers = grown;
    return grown != NULL;
}

static enum rc add_credential(struct http_target *t, const struct secret *credential,
                              struct err *err)
{
    struct span value = secret_value(credential);
    for (size_t i = 0; i < value.n; i++)
        if (iscntrl((unsigned char)value.p[i]))
            return err_set(err, RC_REJECT, "the credential holds control characters");
    size_t bytes = value.n + sizeof "Authorization: Bearer ";
    char *line = malloc(bytes);
    if (!line)
        return err_set(err, RC_NOMEM, "no memory for an endpoint");
    (void)snprintf(line, bytes, "Authorization: Bearer %s", value.p);
    bool added = add_header(t, line);
    explicit_bzero(line, bytes);
    free(line);
    return added ? RC_OK : err_set(err, RC_NOMEM, "no memory for an endpoint");
}

static enum rc fill_target(struct http_target *t, const struct http_target_conf *conf,
                           struct err *err)
{
    size_t n = strlen(conf->base_url);
    while (n > 0 && conf->base_url[n - 1] == '/')
        n--;
    t->base_url = strndup(conf->base_url, n);
    if (*conf->ca_file)
        t->ca_file = strdup(conf->ca_file);
    /* "Expect:" without a value takes the header out: no round trip before large bodies. */
    if (!t->base_url || (*conf->ca_file && !t->ca_file) || !add_header(t, "Expect:") ||
        !add_header(t, "Content-Type: application/json") ||
        !add_header(t, "Accept: application/json") || !add_header(t, "User-Agent: inferq"))
        return err_set(err, RC_NOMEM, "no memory for an endpoint");
    return conf->credential ? add_credential(t, conf->credential, err) : RC_OK;
}

enum rc http_target_new(struct http *h, const struct http_target_conf *conf,
                        struct http_target **ret_target, struct err *err)
{
    enum rc rc = check_url(conf->base_url, err);
    if (rc == RC_OK && *conf->ca_file)
        rc = check_file(conf->ca_file, err);
    if (rc != RC_OK)
        return rc;
    struct http_target *t = calloc(1, sizeof *t);
    if (!t)
        return err_set(err, RC_NOMEM, "no memory for an endpoint");
    t->serial = ++h->target_count;
    t->timeout_ms = (long)((conf->timeout_us + 999) / 1000);
    t->connect_timeout_ms = (long)((conf->connect_timeout_us + 999) / 1000);
    t->send_ids = conf->send_ids;
    t->idempotency_key = conf->idempotency_key;
    rc = fill_target(t, conf, err);
    if (rc != RC_OK) {
        http_target_free(t);
        return rc;
    }
    *ret_target = t;
    return RC_OK;
}

void http_target_free(struct http_target *t)
{
    if (!t)
        return;
    for (struct curl_slist *line = t->headers; line; line = line->next)
        explicit_bzero(line->data, strlen(line->data)); /* one holds the credential */
    curl_slist_free_all(t->headers);
    free(t->base_url);
    free(t->ca_file);
    free(t);
}

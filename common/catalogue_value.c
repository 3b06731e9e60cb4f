/*
 * catalogue_value.c - the catalogue's texts with a form of their own: URLs, credentials, ${NAME}.
 *
 * Failure: RC_REJECT with what is wrong and how to mend it. No message shows a value: people paste
 * keys where references belong, and into URLs.
 */
#include "common/catalogue_impl.h"

#include <stdlib.h>
#include <string.h>

#include "common/buf.h"

enum { EXPANDED_BYTES_MAX = 4096 };

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

/* Bytes of the variable's name that starts at p. */
static size_t variable_bytes(const char *p)
{
    size_t n = 0;
    while (is_alnum(p[n]) || p[n] == '_')
        n++;
    return *p >= '0' && *p <= '9' ? 0 : n;
}

/* ---- ${NAME} ------------------------------------------------------------------------------- */

/* p stands behind "${"; sets *ret_after behind "}". */
static enum rc add_variable(const char *p, struct buf *out, const char **ret_after, struct err *err)
{
    size_t n = variable_bytes(p);
    if (n == 0 || n > 255 || p[n] != '}')
        return err_set(err, RC_REJECT, "'${' must be followed by a variable's name and '}'");
    char name[256];
    memcpy(name, p, n);
    name[n] = '\0';
    const char *value = getenv(name);
    if (!value || !*value)
        return err_set(err, RC_REJECT, "the environment has no %s: set it, or write its value here",
                       name);
    if (!buf_add_text(out, value))
        return err_set(err, RC_REJECT, "too long with %s from the environment", name);
    *ret_after = p + n + 1;
    return RC_OK;
}

enum rc catalogue_expand(const char *text, char **ret_text, struct err *err)
{
    struct buf out;
    buf_init(&out, EXPANDED_BYTES_MAX);
    enum rc rc = RC_OK;
    while (rc == RC_OK && *text) {
        const char *dollar = strstr(text, "${");
        size_t plain = dollar ? (size_t)(dollar - text) : strlen(text);
        if (plain && !buf_add(&out, text, plain))
            rc = err_set(err, RC_REJECT, "too long");
        text += plain;
        if (rc == RC_OK && dollar)
            rc = add_variable(dollar + 2, &out, &text, err);
    }
    if (rc == RC_OK && !buf_add_byte(&out, '\0'))
        rc = err_set(err, RC_REJECT, "too long, or no memory");
    if (rc == RC_OK) {
        size_t n;
        *ret_text = buf_take(&out, &n);
    }
    buf_done(&out);
    return rc;
}

/* ---- URLs ---------------------------------------------------------------------------------- */

static bool port_ok(const char *p, const char *end)
{
    long port = 0;
    if (p == end || end - p > 5)
        return false;
    for (; p < end; p++) {
        if (*p < '0' || *p > '9')
            return false;
        port = port * 10 + (*p - '0');
    }
    return port >= 1 && port <= 65535;
}

/* "name", "1.2.3.4" or "[::1]"; returns its end, NULL when it is none. */
static const char *host_end(const char *p, const char *end)
{
    const char *from = p;
    if (p < end && *p == '[') {
        const char *close = memchr(p, ']', (size_t)(end - p));
        for (p++; close && p < close; p++)
            if (!is_alnum(*p) && *p != ':' && *p != '.' && *p != '%')
                return NULL;
        return close && close - from >= 3 ? close + 1 : NULL;
    }
    while (p < end && (is_alnum(*p) || *p == '.' || *p == '-' || *p == '_'))
        p++;
    return p > from && *from != '.' && *from != '-' ? p : NULL;
}

static const char *authority_wrong(const char *p, const char *end)
{
    if (memchr(p, '@', (size_t)(end - p)))
        return "a URL must not hold a user name or password: use `credential`";
    const char *host = host_end(p, end);
    if (!host || (host < end && *host != ':'))
        return "the URL's host is missing or misspelled";
    if (host < end && !port_ok(host + 1, end))
        return "the URL's port must be from 1 to 65535";
    return NULL;
}

enum rc catalogue_check_url(char *url, struct err *err)
{
    size_t scheme = strncmp(url, "https://", 8) == 0 ? 8 : strncmp(url, "http://", 7) == 0 ? 7 : 0;
    if (!scheme)
        return err_set(err, RC_REJECT, "a URL must start with http:// or https://");
    for (const char *p = url; *p; p++)
        if ((unsigned char)*p <= 0x20 || (unsigned char)*p >= 0x7f || strchr("\"<>\\^`{|}", *p))
            return err_set(err, RC_REJECT, "the URL holds a character that must be escaped");
    if (strpbrk(url, "?#"))
        return err_set(err, RC_REJECT,
                       "the URL must end before '?' or '#': only a path may follow "
                       "the host");
    const char *authority = url + scheme;
    const char *why = authority_wrong(authority, authority + strcspn(authority, "/"));
    if (why)
        return err_set(err, RC_REJECT, "%s", why);
    for (size_t n = strlen(url); n > scheme && url[n - 1] == '/'; n--)
        url[n - 1] = '\0';
    return RC_OK;
}

struct span catalogue_path_below(struct span base_url, struct span path)
{
    const struct span version = SPAN_LIT("/v1");
    size_t n = version.n;
    bool both = base_url.n > n && memcmp(base_url.p + base_url.n - n, version.p, n) == 0 &&
                path.n > n && memcmp(path.p, version.p, n) == 0 && path.p[n] == '/';
    return both ? (struct span){path.p + n, path.n - n} : path;
}

/* ---- credentials --------------------------------------------------------------------------- */

enum rc catalogue_check_credential(const char *text, struct err *err)
{
    if (!*text)
        return RC_OK;
    if (strncmp(text, "env:", 4) == 0) {
        size_t n = variable_bytes(text + 4);
        if (n > 0 && text[4 + n] == '\0')
            return RC_OK;
        return err_set(err, RC_REJECT,
                       "what follows env: must be the name of an environment "
                       "variable (not shown here)");
    }
    if (strncmp(text, "file:", 5) == 0 && text[5])
        return RC_OK;
    return err_set(err, RC_REJECT,
                   "a key is never written into the catalogue (and not shown here): put it into "
                   "an environment variable or a file, and write env:NAME or file:PATH");
}

/* ---- shares -------------------------------------------------------------------------------- */

enum rc catalogue_share_parse(const char *text, int *ret_permille, struct err *err)
{
    enum { WHOLE = 1000, PLACES = 3 };
    int permille = (text[0] - '0') * WHOLE, worth = WHOLE;
    bool good = (text[0] == '0' || text[0] == '1') && (!text[1] || (text[1] == '.' && text[2]));
    for (const char *p = text + 2; good && text[1] && *p; p++) {
        worth /= 10;
        good = *p >= '0' && *p <= '9' && p - text < 2 + PLACES;
        permille += (*p - '0') * worth;
    }
    if (!good || permille > WHOLE)
        return err_set(err, RC_REJECT,
                       "'%.40s' is no share from 0 to 1 with at most three decimals, such as 0.2",
                       text);
    *ret_permille = permille;
    return RC_OK;
}

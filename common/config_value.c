/*
 * config_value.c - what the types of settings look like, and what they may hold (pure).
 *
 * Happy path: a number, with a unit where the type has units, within the key's range. Failure:
 * RC_REJECT with the text as it was given (never a secret's), and what would have been right.
 */
#include "common/config_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct unit {
    const char *name;
    int64_t factor;
};

/* Ascending, so that the largest that divides a number writes it shortest. */
static const struct unit duration_units[] = {
    {"us", 1},
    {"ms", 1000},
    {"s", 1000000},
    {"m", INT64_C(60) * 1000000},
    {"h", INT64_C(3600) * 1000000},
    {"d", INT64_C(86400) * 1000000},
    {NULL, 0},
};
static const struct unit bytes_units[] = {
    {"", 1},
    {"KiB", INT64_C(1) << 10},
    {"MiB", INT64_C(1) << 20},
    {"GiB", INT64_C(1) << 30},
    {"TiB", INT64_C(1) << 40},
    {NULL, 0},
};
static const struct unit no_units[] = {{"", 1}, {NULL, 0}};

static const struct unit *units_of(enum config_type type)
{
    return type == CONFIG_DURATION ? duration_units : type == CONFIG_BYTES ? bytes_units : no_units;
}

const char *config_value_text(enum config_type type, int64_t num, char out[CONFIG_NUMBER_BYTES])
{
    const struct unit *units = units_of(type), *best = units;
    for (const struct unit *u = units; num != 0 && u->name; u++)
        if (num % u->factor == 0)
            best = u;
    snprintf(out, CONFIG_NUMBER_BYTES, "%" PRId64 "%s", num / best->factor, best->name);
    return out;
}

enum number { NUMBER_OK, NUMBER_BAD, NUMBER_TOO_BIG };

/* [-]digits, then one of the units. A plain 0 needs no unit. */
static enum number parse_number(const char *text, const struct unit *units, int64_t *ret_num)
{
    bool negative = *text == '-';
    const char *p = negative ? text + 1 : text;
    int64_t v = 0;
    bool over = false;
    const char *digits = p;
    for (; *p >= '0' && *p <= '9'; p++) {
        int digit = negative ? '0' - *p : *p - '0'; /* downwards, or INT64_MIN would not fit */
        over |= __builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, digit, &v);
    }
    if (p == digits)
        return NUMBER_BAD;
    const struct unit *u = units;
    while (u->name && strcmp(u->name, p) != 0)
        u++;
    if (!u->name && !(v == 0 && !over && *p == '\0'))
        return NUMBER_BAD;
    if (over || (u->name && __builtin_mul_overflow(v, u->factor, &v)))
        return NUMBER_TOO_BIG;
    *ret_num = v;
    return NUMBER_OK;
}

static enum rc parse_scaled(const struct config_key *key, const char *text, int64_t *ret_num,
                            struct err *err)
{
    int64_t v = 0;
    char low[CONFIG_NUMBER_BYTES], high[CONFIG_NUMBER_BYTES];
    enum number number = parse_number(text, units_of(key->type), &v);
    if (number == NUMBER_BAD) {
        const char *right = key->type == CONFIG_DURATION
                                ? "a duration such as 250ms, 3s, 5m, 2h or 7d"
                            : key->type == CONFIG_BYTES ? "a size such as 4096, 64KiB, 1MiB or 2GiB"
                                                        : "a whole number";
        return err_set(err, RC_REJECT, "'%.64s' is not %s", text, right);
    }
    bool ranged = key->min != 0 || key->max != 0;
    if (number == NUMBER_OK && (!ranged || (v >= key->min && v <= key->max))) {
        *ret_num = v;
        return RC_OK;
    }
    if (!ranged)
        return err_set(err, RC_REJECT, "%.64s is too large", text);
    return err_set(err, RC_REJECT, "%.64s is out of range: from %s to %s", text,
                   config_value_text(key->type, key->min, low),
                   config_value_text(key->type, key->max, high));
}

static enum rc parse_bool(const char *text, int64_t *ret_num, struct err *err)
{
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on", "0", "1"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcmp(text, words[i]) != 0)
            continue;
        *ret_num = i % 2;
        return RC_OK;
    }
    return err_set(err, RC_REJECT, "'%.64s' is neither true nor false", text);
}

static enum rc parse_choice(const char *choices, const char *text, int64_t *ret_num,
                            struct err *err)
{
    size_t n = strlen(text);
    const char *p = choices;
    for (int64_t i = 0; n > 0; i++) {
        size_t len = strcspn(p, "|");
        if (len == n && memcmp(p, text, n) == 0) {
            *ret_num = i;
            return RC_OK;
        }
        if (p[len] == '\0')
            break;
        p += len + 1;
    }
    return err_set(err, RC_REJECT, "'%.64s' is none of %s", text, choices);
}

static enum rc check_text(const struct config_key *key, const char *text, struct err *err)
{
    size_t n = strlen(text);
    if (n == 0 && (!key->deflt || *key->deflt == '\0')) /* absent; config_check asks for the rest */
        return RC_OK;
    if (key->secret && strncmp(text, "env:", 4) != 0 && strncmp(text, "file:", 5) != 0)
        return err_set(err, RC_REJECT,
                       "a secret is never written here: give env:NAME or file:PATH instead");
    bool ranged = key->min != 0 || key->max != 0;
    int64_t max = ranged && key->max < CONFIG_TEXT_MAX_BYTES ? key->max : CONFIG_TEXT_MAX_BYTES;
    int64_t min = ranged ? key->min : 0;
    if ((int64_t)n < min || (int64_t)n > max)
        return err_set(err, RC_REJECT,
                       "%zu bytes long: must be from %" PRId64 " to %" PRId64 " bytes", n, min,
                       max);
    return RC_OK;
}

enum rc config_value_parse(const struct config_key *key, const char *text, int64_t *ret_num,
                           struct err *err)
{
    for (const char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return err_set(err, RC_REJECT, "the value holds control characters");
    switch (key->type) {
    case CONFIG_TEXT:
        return check_text(key, text, err);
    case CONFIG_BOOL:
        return parse_bool(text, ret_num, err);
    case CONFIG_CHOICE:
        return parse_choice(key->choices, text, ret_num, err);
    case CONFIG_INT:
    case CONFIG_DURATION:
    case CONFIG_BYTES:
        break;
    }
    return parse_scaled(key, text, ret_num, err);
}

/* ---- the nearest name --------------------------------------------------------------------- */

enum { NEAR_BYTES = 64 };

/* Optimal string alignment: insert, delete, replace, swap neighbours; each costs 1. Both are at
 * most NEAR_BYTES long. */
static int distance(const char *a, size_t an, const char *b, size_t bn)
{
    int rows[3][NEAR_BYTES + 1];
    for (size_t j = 0; j <= bn; j++)
        rows[0][j] = (int)j;
    for (size_t i = 1; i <= an; i++) {
        int *row = rows[i % 3];
        const int *above = rows[(i + 2) % 3], *two_above = rows[(i + 1) % 3];
        row[0] = (int)i;
        for (size_t j = 1; j <= bn; j++) {
            int best = above[j - 1] + (a[i - 1] != b[j - 1]);
            best = above[j] + 1 < best ? above[j] + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                two_above[j - 2] + 1 < best)
                best = two_above[j - 2] + 1;
            row[j] = best;
        }
    }
    return rows[an % 3][bn];
}

const char *config_nearest(const struct config_key *keys, const char *name)
{
    size_t n = strlen(name);
    const char *near = NULL;
    int best = (int)(n / 3) + 1; /* a third of the name may be wrong, not more */
    for (const struct config_key *k = keys; n <= NEAR_BYTES && k->name; k++) {
        size_t key_n = strlen(k->name);
        if (key_n > NEAR_BYTES)
            continue;
        int d = distance(name, n, k->name, key_n);
        if (d > best || (near && d == best))
            continue;
        best = d;
        near = k->name;
    }
    return near;
}

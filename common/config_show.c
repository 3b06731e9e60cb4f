/*
 * config_show.c - the configuration for people: what holds now, and what may be set.
 *
 * Happy path: one walk over the table of keys per form. Failure: none of its own; the caller looks
 * at its FILE. Secrets appear as "(set)", and so do librdkafka's values that may be one.
 */
#include "common/config_impl.h"

#include <string.h>

static void print_line(FILE *out, const char *prefix, const char *key, const char *value,
                       const char *origin, bool hidden)
{
    fprintf(out, "# from: %s\n", origin);
    if (hidden)
        fprintf(out, "# %s%s = %s\n", prefix, key, "(set)");
    else
        fprintf(out, "%s%s = %s\n", prefix, key, value);
}

/* librdkafka's settings that hold credentials, and what does not fit a line. */
static bool hides_kafka(const char *name, const char *value)
{
    static const char *const marks[] = {
        "password", "secret", "pem", "token", "key", "jaas", "sasl.oauthbearer.config"};
    if (strpbrk(value, "\r\n"))
        return true;
    for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++)
        if (strstr(name, marks[i]))
            return true;
    return false;
}

/* What was set of "lane.NAME.weight"; its default is no line that would load. */
static void print_named(const struct config *c, size_t of, FILE *out)
{
    for (size_t i = 0; i < c->named_count; i++)
        if (c->named[i].of == of)
            print_line(out, "", c->named[i].key, c->named[i].value.text, c->named[i].value.origin,
                       false);
}

void config_print(const struct config *c, FILE *out)
{
    for (size_t i = 0; i < c->key_count; i++) {
        const struct config_key *k = &c->keys[i];
        const struct config_value *v = &c->values[i];
        if (config_is_pattern(k))
            print_named(c, i, out);
        else if (!v->text)
            fprintf(out, "# %s: required, not set\n", k->name);
        else
            print_line(out, "", k->name, v->text, v->origin, k->secret && *v->text);
    }
    for (size_t i = 0; i < c->kafka_count; i++) {
        const struct config_kafka *k = &c->kafka[i];
        print_line(out, "kafka.", k->name, k->value.text, k->value.origin,
                   hides_kafka(k->name, k->value.text));
    }
}

static const char *type_name(const struct config_key *k)
{
    switch (k->type) {
    case CONFIG_TEXT:
        return k->secret ? "secret" : "text";
    case CONFIG_INT:
        return "number";
    case CONFIG_BOOL:
        return "true or false";
    case CONFIG_DURATION:
        return "duration";
    case CONFIG_BYTES:
        return "size";
    case CONFIG_CHOICE:
        return "choice";
    }
    return "";
}

enum { RANGE_BYTES = 256 };

/* "1 to 4096 jobs", "off, require", "env:NAME or file:PATH", or "". Returns `out`. */
static const char *range_text(const struct config_key *k, char out[RANGE_BYTES])
{
    char low[CONFIG_NUMBER_BYTES], high[CONFIG_NUMBER_BYTES];
    const char *unit = k->type == CONFIG_TEXT ? "bytes" : k->type == CONFIG_INT ? k->unit : "";
    bool has_unit = unit && *unit;
    out[0] = '\0';
    if (k->secret) {
        snprintf(out, RANGE_BYTES, "env:NAME or file:PATH");
    } else if (k->type == CONFIG_CHOICE) {
        size_t n = 0;
        for (const char *p = k->choices; *p && n + 3 < RANGE_BYTES; p++) {
            out[n++] = *p == '|' ? ',' : *p;
            if (*p == '|')
                out[n++] = ' ';
            out[n] = '\0';
        }
    } else if (k->max == INT64_MAX) {
        snprintf(out, RANGE_BYTES, "at least %s%s%s", config_value_text(k->type, k->min, low),
                 has_unit ? " " : "", has_unit ? unit : "");
    } else if (k->min != 0 || k->max != 0) {
        snprintf(out, RANGE_BYTES, "%s to %s%s%s", config_value_text(k->type, k->min, low),
                 config_value_text(k->type, k->max, high), has_unit ? " " : "",
                 has_unit ? unit : "");
    } else if (has_unit && k->type == CONFIG_INT) {
        snprintf(out, RANGE_BYTES, "%s", unit);
    }
    return out;
}

void config_help(const struct config_key *keys, FILE *out)
{
    char range[RANGE_BYTES];
    for (const struct config_key *k = keys; k->name; k++) {
        fprintf(out, "  %s  (%s", k->name, type_name(k));
        if (*range_text(k, range))
            fprintf(out, ": %s", range);
        if (!k->deflt)
            fputs("; required", out);
        else if (*k->deflt)
            fprintf(out, "; default %s", k->deflt);
        fprintf(out, "%s)\n      %s\n", k->reloadable ? "; reloadable" : "",
                k->help ? k->help : "");
    }
    fputs("  kafka.*\n      Passed through to librdkafka under its own names.\n", out);
}

/* One cell of a table; within it, a bar would end it. */
static void put_cell(FILE *out, const char *text, bool code)
{
    fputs(code ? " `" : " ", out);
    for (; *text; text++) {
        if (*text == '|')
            fputc('\\', out);
        fputc(*text, out);
    }
    fputs(code ? "` |" : " |", out);
}

void config_markdown(const struct config_key *keys, FILE *out)
{
    char range[RANGE_BYTES];
    fputs("| Key | Type | Default | Range | Reload | Meaning |\n"
          "|---|---|---|---|---|---|\n",
          out);
    for (const struct config_key *k = keys; k->name; k++) {
        bool has_default = k->deflt && *k->deflt;
        fputc('|', out);
        put_cell(out, k->name, true);
        put_cell(out, type_name(k), false);
        put_cell(out, has_default ? k->deflt : k->deflt ? "none" : "required", has_default);
        put_cell(out, range_text(k, range), false);
        put_cell(out, k->reloadable ? "yes" : "no", false);
        put_cell(out, k->help ? k->help : "", false);
        fputc('\n', out);
    }
}

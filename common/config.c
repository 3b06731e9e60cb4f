/*
 * config.c - values by key: where they come from, which one stands.
 *
 * Happy path: config_new fills in the defaults; each source parses and checks its values and puts
 * them where the source outranks what stands; config_check asks for what is required; then the
 * program reads by key. Failure: RC_REJECT with the place (FILE:LINE, the variable, the flag) and
 * what would be right, from the first bad value on; nothing has connected to anything yet.
 *
 * config_value.c knows the types and what they look like; config_named.c the keys with a name in
 * them; config_show.c prints.
 */
#include "common/config.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/config_impl.h"

extern char **environ;

static const char kafka_prefix[] = "kafka.";
static const char env_prefix[] = "INFERQ_";
enum { ENV_NAME_BYTES = CONFIG_ENV_BYTES };

/* Where a value comes from, while it is being read. */
struct source {
    enum config_rank rank;
    int load; /* which call: a key may stand once in one file */
    const char *origin;
};

static size_t count_keys(const struct config_key *keys)
{
    size_t n = 0;
    while (keys[n].name)
        n++;
    return n;
}

static void value_done(struct config_value *v)
{
    free(v->text);
    free(v->origin);
}

static int find_key(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->key_count; i++)
        if (strcmp(c->keys[i].name, name) == 0)
            return (int)i;
    return -1;
}

/* Our own table must be sound. */
static void assert_sound(const struct config *c, size_t i)
{
    assert(find_key(c, c->keys[i].name) == (int)i);
    assert(c->keys[i].type != CONFIG_CHOICE || c->keys[i].choices);
    assert(!c->keys[i].secret || c->keys[i].type == CONFIG_TEXT);
    assert(!config_is_pattern(&c->keys[i]) ||
           (c->keys[i].reloadable && !c->keys[i].secret && c->keys[i].deflt));
    (void)c, (void)i;
}

struct config *config_new(const struct config_key *keys)
{
    struct config *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->keys = keys;
    c->key_count = count_keys(keys);
    c->values = calloc(c->key_count + 1, sizeof *c->values);
    if (!c->values)
        goto fail;
    for (size_t i = 0; i < c->key_count; i++) {
        struct config_value *v = &c->values[i];
        assert_sound(c, i);
        if (!keys[i].deflt)
            continue;
        struct err err = {0};
        enum rc rc = config_value_parse(&keys[i], keys[i].deflt, &v->num, &err);
        assert(rc == RC_OK);
        (void)rc;
        v->text = strdup(keys[i].deflt);
        v->origin = strdup("default");
        if (!v->text || !v->origin)
            goto fail;
    }
    return c;
fail:
    config_free(c);
    return NULL;
}

void config_free(struct config *c)
{
    if (!c)
        return;
    for (size_t i = 0; c->values && i < c->key_count; i++)
        value_done(&c->values[i]);
    for (size_t i = 0; i < c->kafka_count; i++) {
        free(c->kafka[i].name);
        value_done(&c->kafka[i].value);
    }
    free(c->kafka);
    config_named_free(c);
    free(c->values);
    free(c);
}

/* ---- one value ---------------------------------------------------------------------------- */

/* Puts a checked value where it belongs, unless a higher source has spoken. */
static enum rc take_value(struct config_value *v, const struct source *from, const char *text,
                          int64_t num, struct err *err)
{
    if (from->rank < v->rank)
        return RC_OK;
    if (from->rank == CONFIG_FROM_FILE && v->rank == from->rank && v->load == from->load)
        return err_set(err, RC_REJECT, "already set at %s: remove one of the two", v->origin);
    char *new_text = strdup(text);
    char *new_origin = strdup(from->origin);
    if (!new_text || !new_origin) {
        free(new_text);
        free(new_origin);
        return err_set(err, RC_NOMEM, "out of memory");
    }
    value_done(v);
    *v = (struct config_value){
        .text = new_text, .num = num, .origin = new_origin, .rank = from->rank, .load = from->load};
    return RC_OK;
}

/* Finds the pass-through key, or adds it with a value that every source outranks. */
static enum rc kafka_slot(struct config *c, const char *name, struct config_kafka **ret_slot,
                          struct err *err)
{
    for (size_t i = 0; i < c->kafka_count; i++) {
        if (strcmp(c->kafka[i].name, name) != 0)
            continue;
        *ret_slot = &c->kafka[i];
        return RC_OK;
    }
    if (c->kafka_count == CONFIG_KAFKA_MAX)
        return err_set(err, RC_REJECT, "more than %d kafka.* keys", CONFIG_KAFKA_MAX);
    struct config_kafka *all = realloc(c->kafka, (c->kafka_count + 1) * sizeof *all);
    if (all)
        c->kafka = all;
    struct config_kafka added = {.name = strdup(name), .value = {.text = strdup("")}};
    if (!all || !added.name || !added.value.text) {
        free(added.name);
        free(added.value.text);
        return err_set(err, RC_NOMEM, "out of memory");
    }
    c->kafka[c->kafka_count] = added;
    *ret_slot = &c->kafka[c->kafka_count++];
    return RC_OK;
}

/* librdkafka judges its own settings, names included, when the client is made. */
static enum rc set_kafka(struct config *c, const struct source *from, const char *name,
                         const char *text, struct err *err)
{
    struct config_kafka *slot = NULL;
    if (*name == '\0')
        return err_set(err, RC_REJECT, "'kafka.' needs librdkafka's name of the setting behind it");
    enum rc rc = kafka_slot(c, name, &slot, err);
    if (rc == RC_OK)
        rc = take_value(&slot->value, from, text, 0, err);
    return rc == RC_OK ? rc : err_prefix(err, rc, "kafka.%.64s", name);
}

static enum rc unknown_key(const struct config *c, const char *key, struct err *err)
{
    const char *near = config_nearest(c->keys, key);
    if (near)
        return err_set(err, RC_REJECT, "unknown key '%.64s': did you mean '%s'?", key, near);
    return err_set(err, RC_REJECT, "unknown key '%.64s': --help lists the keys", key);
}

static enum rc set_value(struct config *c, const struct source *from, const char *key,
                         const char *text, struct err *err)
{
    struct span name;
    int i = find_key(c, key);
    if (i < 0 && strncmp(key, kafka_prefix, sizeof kafka_prefix - 1) == 0)
        return set_kafka(c, from, key + sizeof kafka_prefix - 1, text, err);
    bool named = i < 0 && (i = config_pattern_of(c->keys, key, &name)) >= 0;
    if (i < 0 || (!named && config_is_pattern(&c->keys[i])))
        return unknown_key(c, key, err);
    int64_t num = 0;
    struct config_named *slot = NULL;
    enum rc rc = config_value_parse(&c->keys[i], text, &num, err);
    if (rc == RC_OK && named)
        rc = config_named_slot(c, (size_t)i, key, &slot, err);
    if (rc == RC_OK)
        rc = take_value(slot ? &slot->value : &c->values[i], from, text, num, err);
    return rc == RC_OK ? rc : err_prefix(err, rc, "%s", key);
}

/* Cuts blanks off both ends, in place. */
static char *trim(char *p)
{
    while (*p == ' ' || *p == '\t')
        p++;
    size_t n = strlen(p);
    while (n > 0 && strchr(" \t\r\n", p[n - 1]))
        n--;
    p[n] = '\0';
    return p;
}

/* Sets a value that the caller may not let us write to. */
static enum rc set_copy(struct config *c, const struct source *from, const char *key,
                        const char *value, struct err *err)
{
    char *copy = strdup(value);
    if (!copy)
        return err_set(err, RC_NOMEM, "out of memory");
    enum rc rc = set_value(c, from, key, trim(copy), err);
    free(copy);
    return rc;
}

/* ---- the file ----------------------------------------------------------------------------- */

/* Reads the whole file. returns owned, NUL-terminated */
static enum rc read_file(const char *path, char **ret_text, struct err *err)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return err_set(err, RC_REJECT, "%s: %s", path, strerror(errno));
    char *text = malloc(CONFIG_FILE_MAX_BYTES + 2);
    enum rc rc = RC_OK;
    if (!text) {
        rc = err_set(err, RC_NOMEM, "%s: out of memory", path);
        goto out;
    }
    size_t n = fread(text, 1, CONFIG_FILE_MAX_BYTES + 1, f);
    const char *wrong = ferror(f)                   ? strerror(errno)
                        : n > CONFIG_FILE_MAX_BYTES ? "larger than 1 MiB: not a configuration file"
                        : memchr(text, '\0', n)     ? "holds NUL bytes: not a configuration file"
                                                    : NULL;
    if (wrong) {
        rc = err_set(err, RC_REJECT, "%s: %s", path, wrong);
        goto out;
    }
    text[n] = '\0';
    *ret_text = text;
    text = NULL;
out:
    free(text);
    fclose(f);
    return rc;
}

static bool has_control(const char *p)
{
    for (; *p; p++)
        if (((unsigned char)*p < 0x20 && *p != '\t') || *p == 0x7f)
            return true;
    return false;
}

static enum rc load_line(struct config *c, const struct source *from, char *line, struct err *err)
{
    line = trim(line);
    if (*line == '\0' || *line == '#')
        return RC_OK;
    if (has_control(line))
        return err_set(err, RC_REJECT, "the line holds control characters");
    char *equals = strchr(line, '=');
    if (!equals)
        return err_set(err, RC_REJECT, "not of the form 'key = value'");
    *equals = '\0';
    char *key = trim(line);
    if (*key == '\0')
        return err_set(err, RC_REJECT, "no key before '='");
    return set_value(c, from, key, trim(equals + 1), err);
}

enum rc config_load_file(struct config *c, const char *path, struct err *err)
{
    char *text = NULL;
    enum rc rc = read_file(path, &text, err);
    if (rc != RC_OK)
        return rc;
    size_t origin_bytes = strlen(path) + 24;
    char *origin = malloc(origin_bytes);
    if (!origin)
        rc = err_set(err, RC_NOMEM, "%s: out of memory", path);

    struct source from = {.rank = CONFIG_FROM_FILE, .load = ++c->loads, .origin = origin};
    char *line = strncmp(text, "\xef\xbb\xbf", 3) == 0 ? text + 3 : text; /* a byte-order mark */
    for (int number = 1; rc == RC_OK && line; number++) {
        char *end = strchr(line, '\n');
        if (end)
            *end = '\0';
        snprintf(origin, origin_bytes, "%s:%d", path, number);
        rc = load_line(c, &from, line, err);
        if (rc != RC_OK)
            err_prefix(err, rc, "%s", origin);
        line = end ? end + 1 : NULL;
    }
    free(origin);
    free(text);
    return rc;
}

/* ---- environment and flags ---------------------------------------------------------------- */

/* "endpoint.max-in-flight" -> "INFERQ_ENDPOINT_MAX_IN_FLIGHT" */
static void env_name(const char *key, char out[ENV_NAME_BYTES])
{
    size_t n = sizeof env_prefix - 1;
    memcpy(out, env_prefix, n);
    for (; *key && n < ENV_NAME_BYTES - 1; key++)
        out[n++] = *key == '.' || *key == '-' ? '_' : (char)toupper((unsigned char)*key);
    assert(*key == '\0');
    out[n] = '\0';
}

static enum rc load_env_key(struct config *c, const char *key, struct err *err)
{
    char name[ENV_NAME_BYTES];
    env_name(key, name);
    const char *value = getenv(name);
    if (!value || *value == '\0')
        return RC_OK;
    const struct source from = {.rank = CONFIG_FROM_ENV, .origin = "environment"};
    enum rc rc = set_copy(c, &from, key, value, err);
    return rc == RC_OK ? rc : err_prefix(err, rc, "environment variable %s", name);
}

static bool is_known_env(const struct config *c, const char *entry, size_t name_n)
{
    char name[ENV_NAME_BYTES];
    for (size_t i = 0; i < c->key_count; i++) {
        if (config_is_pattern(&c->keys[i]))
            continue;
        env_name(c->keys[i].name, name);
        if (strlen(name) == name_n && memcmp(name, entry, name_n) == 0)
            return true;
    }
    return false;
}

/* "INFERQ_KAFKA_SSL_CA_LOCATION=..." -> kafka.ssl.ca.location */
static enum rc load_env_kafka(struct config *c, const char *entry, struct err *err)
{
    static const char prefix[] = "INFERQ_KAFKA_";
    const char *equals = strchr(entry, '=');
    if (!equals || equals[1] == '\0' || strncmp(entry, prefix, sizeof prefix - 1) != 0)
        return RC_OK;
    size_t name_n = (size_t)(equals - entry);
    if (is_known_env(c, entry, name_n))
        return RC_OK;
    char key[ENV_NAME_BYTES];
    size_t n = name_n - (sizeof env_prefix - 1);
    if (n >= sizeof key)
        return err_set(err, RC_REJECT, "environment variable %.64s...: the name is too long",
                       entry);
    for (size_t i = 0; i < n; i++) {
        unsigned char ch = (unsigned char)entry[sizeof env_prefix - 1 + i];
        key[i] = ch == '_' ? '.' : (char)tolower(ch);
    }
    key[n] = '\0';
    const struct source from = {.rank = CONFIG_FROM_ENV, .origin = "environment"};
    enum rc rc = set_value(c, &from, key, equals + 1, err);
    return rc == RC_OK ? rc : err_prefix(err, rc, "environment variable %.*s", (int)name_n, entry);
}

/* "INFERQ_LANE_NIGHTLY_WEIGHT=..." -> lane.nightly.weight */
static enum rc load_env_named(struct config *c, const char *entry, struct err *err)
{
    char key[ENV_NAME_BYTES];
    const char *equals = strchr(entry, '=');
    if (!equals || equals[1] == '\0' || strncmp(entry, env_prefix, sizeof env_prefix - 1) != 0)
        return RC_OK;
    struct span name = {entry, (size_t)(equals - entry)};
    if (is_known_env(c, entry, name.n) || !config_pattern_env(c->keys, name, key))
        return RC_OK;
    const struct source from = {.rank = CONFIG_FROM_ENV, .origin = "environment"};
    enum rc rc = set_copy(c, &from, key, equals + 1, err);
    return rc == RC_OK ? rc : err_prefix(err, rc, "environment variable %.*s", (int)name.n, entry);
}

enum rc config_load_env(struct config *c, struct err *err)
{
    const char *servers = getenv("KAFKA_BOOTSTRAP_SERVERS");
    if (servers && *servers) {
        const struct source from = {.rank = CONFIG_FROM_COMMON_ENV, .origin = "environment"};
        enum rc rc = set_copy(c, &from, "kafka.bootstrap.servers", servers, err);
        if (rc != RC_OK)
            return err_prefix(err, rc, "environment variable KAFKA_BOOTSTRAP_SERVERS");
    }
    for (size_t i = 0; i < c->key_count; i++) {
        enum rc rc = config_is_pattern(&c->keys[i]) ? RC_OK : load_env_key(c, c->keys[i].name, err);
        if (rc != RC_OK)
            return rc;
    }
    for (char **entry = environ; entry && *entry; entry++) {
        enum rc rc = load_env_kafka(c, *entry, err);
        if (rc == RC_OK)
            rc = load_env_named(c, *entry, err);
        if (rc != RC_OK)
            return rc;
    }
    return RC_OK;
}

enum rc config_set(struct config *c, const char *key, const char *value, struct err *err)
{
    const struct source from = {.rank = CONFIG_FROM_FLAG, .origin = "flag"};
    enum rc rc = set_copy(c, &from, key, value, err);
    return rc == RC_OK ? rc : err_prefix(err, rc, "command line");
}

/* ---- reading ------------------------------------------------------------------------------ */

enum rc config_check(const struct config *c, struct err *err)
{
    for (size_t i = 0; i < c->key_count; i++) {
        const struct config_key *k = &c->keys[i];
        if (k->deflt || (c->values[i].text && *c->values[i].text))
            continue;
        char name[ENV_NAME_BYTES];
        env_name(k->name, name);
        return err_set(err, RC_REJECT,
                       "%s is required: set it in the file, as %s, or as a flag (%s)", k->name,
                       name, k->help ? k->help : "");
    }
    return RC_OK;
}

static const struct config_value *value_of(const struct config *c, const char *key, int *ret_index)
{
    struct span name;
    int i = find_key(c, key);
    const struct config_named *named = i < 0 ? config_named_find(c, key) : NULL;
    if (i < 0)
        i = config_pattern_of(c->keys, key, &name);
    assert(i >= 0);
    *ret_index = i;
    return named ? &named->value : &c->values[i];
}

int64_t config_int(const struct config *c, const char *key)
{
    int i;
    const struct config_value *v = value_of(c, key, &i);
    assert(c->keys[i].type != CONFIG_TEXT);
    return v->num;
}

const char *config_text(const struct config *c, const char *key)
{
    int i;
    const struct config_value *v = value_of(c, key, &i);
    return v->text ? v->text : "";
}

const char *config_origin(const struct config *c, const char *key)
{
    int i;
    const struct config_value *v = value_of(c, key, &i);
    return v->origin ? v->origin : "default";
}

bool config_kafka_entry(const struct config *c, size_t i, const char **ret_name,
                        const char **ret_value)
{
    if (i >= c->kafka_count)
        return false;
    *ret_name = c->kafka[i].name;
    *ret_value = c->kafka[i].value.text;
    return true;
}

/* ---- another reading of the same keys ------------------------------------------------------- */

static bool same_value(const struct config_value *a, const struct config_value *b)
{
    if (!a->text || !b->text)
        return a->text == b->text;
    return strcmp(a->text, b->text) == 0;
}

bool config_value_same(enum config_type type, const struct config_value *a,
                       const struct config_value *b)
{
    if (type != CONFIG_TEXT) /* "1m" is "60s" */
        return a->num == b->num;
    return same_value(a, b);
}

bool config_same(const struct config *a, const struct config *b, const char *key)
{
    int i;
    assert(a->keys == b->keys);
    const struct config_value *value = value_of(a, key, &i), *other = value_of(b, key, &i);
    if (strcmp(a->keys[i].name, key) == 0 && config_is_pattern(&a->keys[i]))
        return config_named_same(a, b, (size_t)i);
    return config_value_same(a->keys[i].type, value, other);
}

static const struct config_value *kafka_value(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->kafka_count; i++)
        if (strcmp(c->kafka[i].name, name) == 0)
            return &c->kafka[i].value;
    return NULL;
}

bool config_same_kafka(const struct config *a, const struct config *b)
{
    if (a->kafka_count != b->kafka_count)
        return false;
    for (size_t i = 0; i < a->kafka_count; i++) {
        const struct config_value *other = kafka_value(b, a->kafka[i].name);
        if (!other || !same_value(&a->kafka[i].value, other))
            return false;
    }
    return true;
}

void config_take_reloadable(struct config *c, struct config *from)
{
    assert(c->keys == from->keys);
    for (size_t i = 0; i < c->key_count; i++) {
        struct config_value held = c->values[i];
        if (!c->keys[i].reloadable)
            continue;
        c->values[i] = from->values[i];
        from->values[i] = held;
    }
    struct config_named *named = c->named; /* all of them are reloadable */
    size_t named_count = c->named_count;
    c->named = from->named;
    c->named_count = from->named_count;
    from->named = named;
    from->named_count = named_count;
}

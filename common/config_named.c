/*
 * config_named.c - keys with a name in them: "lane.NAME.weight" stands for lane.nightly.weight and
 * all its like.
 *
 * Happy path: a key that the table does not have is held against the patterns; one that fits gets a
 * value of its own, and the pattern's default stands for all that got none. Which names make sense,
 * the program knows: config_named_entry tells it what was set. Failure: too many of them.
 */
#include "common/config_impl.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static const char env_prefix[] = "INFERQ_";

static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
}

static bool is_name(struct span name)
{
    if (name.n < 1 || name.n > CONFIG_NAME_MAX || name.p[0] == '-')
        return false;
    for (size_t i = 0; i < name.n; i++)
        if (!is_name_char(name.p[i]))
            return false;
    return true;
}

/* "lane." and ".weight" of "lane.NAME.weight". */
static bool split(const char *pattern, struct span *ret_before, struct span *ret_after)
{
    size_t from = strcspn(pattern, "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    size_t n = strspn(pattern + from, "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    *ret_before = (struct span){pattern, from};
    *ret_after = span_of(pattern + from + n);
    return n > 0;
}

bool config_is_pattern(const struct config_key *key)
{
    struct span before, after;
    return split(key->name, &before, &after);
}

/* What stands between the two in `text`; false: it does not begin and end so. */
static bool between(struct span text, struct span before, struct span after, struct span *ret)
{
    if (text.n <= before.n + after.n || memcmp(text.p, before.p, before.n) != 0 ||
        memcmp(text.p + text.n - after.n, after.p, after.n) != 0)
        return false;
    *ret = (struct span){text.p + before.n, text.n - before.n - after.n};
    return true;
}

int config_pattern_of(const struct config_key *keys, const char *key, struct span *ret_name)
{
    struct span before, after, name;
    for (int i = 0; keys[i].name; i++) {
        if (!split(keys[i].name, &before, &after) || !between(span_of(key), before, after, &name) ||
            !is_name(name))
            continue;
        *ret_name = name;
        return i;
    }
    return -1;
}

/* "lane." -> "LANE_", and the prefix before it if there is one. */
static struct span env_part(const char *prefix, struct span part, char out[CONFIG_ENV_BYTES])
{
    size_t n = 0;
    for (; *prefix && n < CONFIG_ENV_BYTES; prefix++)
        out[n++] = *prefix;
    for (size_t i = 0; i < part.n && n < CONFIG_ENV_BYTES; i++)
        out[n++] =
            part.p[i] == '.' || part.p[i] == '-' ? '_' : (char)toupper((unsigned char)part.p[i]);
    return (struct span){out, n};
}

/* "NIGHTLY_RUN" -> "nightly-run" */
static bool name_of_env(struct span env, char out[CONFIG_NAME_MAX])
{
    if (env.n > CONFIG_NAME_MAX)
        return false;
    for (size_t i = 0; i < env.n; i++) {
        if (islower((unsigned char)env.p[i]))
            return false;
        out[i] = env.p[i] == '_' ? '-' : (char)tolower((unsigned char)env.p[i]);
    }
    return is_name((struct span){out, env.n});
}

bool config_pattern_env(const struct config_key *keys, struct span env,
                        char ret_key[CONFIG_ENV_BYTES])
{
    struct span before, after, middle;
    char head[CONFIG_ENV_BYTES], tail[CONFIG_ENV_BYTES], name[CONFIG_NAME_MAX];
    for (int i = 0; keys[i].name; i++) {
        if (!split(keys[i].name, &before, &after) ||
            !between(env, env_part(env_prefix, before, head), env_part("", after, tail), &middle) ||
            !name_of_env(middle, name))
            continue;
        int n = snprintf(ret_key, CONFIG_ENV_BYTES, "%.*s%.*s%.*s", (int)before.n, before.p,
                         (int)middle.n, name, (int)after.n, after.p);
        return n > 0 && n < CONFIG_ENV_BYTES;
    }
    return false;
}

/* ---- values ------------------------------------------------------------------------------- */

struct config_named *config_named_find(const struct config *c, const char *key)
{
    for (size_t i = 0; i < c->named_count; i++)
        if (strcmp(c->named[i].key, key) == 0)
            return &c->named[i];
    return NULL;
}

enum rc config_named_slot(struct config *c, size_t of, const char *key,
                          struct config_named **ret_slot, struct err *err)
{
    *ret_slot = config_named_find(c, key);
    if (*ret_slot)
        return RC_OK;
    if (c->named_count == CONFIG_NAMED_MAX)
        return err_set(err, RC_REJECT, "more than %d keys of this kind", CONFIG_NAMED_MAX);
    struct config_named *all = realloc(c->named, (c->named_count + 1) * sizeof *all);
    if (all)
        c->named = all;
    const struct config_value *deflt = &c->values[of];
    struct config_named added = {
        .of = of, .key = strdup(key), .value = {.text = strdup(deflt->text), .num = deflt->num}};
    if (!all || !added.key || !added.value.text) {
        free(added.key);
        free(added.value.text);
        return err_set(err, RC_NOMEM, "out of memory");
    }
    c->named[c->named_count] = added;
    *ret_slot = &c->named[c->named_count++];
    return RC_OK;
}

void config_named_free(struct config *c)
{
    for (size_t i = 0; i < c->named_count; i++) {
        free(c->named[i].key);
        free(c->named[i].value.text);
        free(c->named[i].value.origin);
    }
    free(c->named);
}

bool config_named_entry(const struct config *c, size_t i, const char **ret_key,
                        struct span *ret_name)
{
    if (i >= c->named_count)
        return false;
    *ret_key = c->named[i].key;
    return config_pattern_of(c->keys, c->named[i].key, ret_name) >= 0;
}

/* Every value of `a` is one of `b`, where what was not set is the default. */
static bool all_in(const struct config *a, const struct config *b, size_t of)
{
    for (size_t i = 0; i < a->named_count; i++) {
        const struct config_named *mine = &a->named[i], *other = config_named_find(b, mine->key);
        if (mine->of == of && !config_value_same(a->keys[of].type, &mine->value,
                                                 other ? &other->value : &b->values[of]))
            return false;
    }
    return true;
}

bool config_named_same(const struct config *a, const struct config *b, size_t of)
{
    return all_in(a, b, of) && all_in(b, a, of);
}

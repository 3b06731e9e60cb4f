/*
 * json_walk.c - see json_walk.h. The text is known to be JSON, so a value ends where its brackets
 * balance, and the only traps are brackets and quotes inside strings. The end of the text is looked
 * at all the same: a wrong caller gets a short element, not a wild pointer.
 */
#include "worker/json_walk.h"

#include <string.h>

static bool is_between(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t' || c == ',';
}

/* Behind the string that starts at p: its end is the first quote that an even number of backslashes
 * precedes. */
static const char *pass_string(const char *p, const char *end)
{
    const char *from = p + 1;
    for (p = from; p < end; p++) {
        p = memchr(p, '"', (size_t)(end - p));
        if (!p)
            return end;
        size_t slashes = 0;
        while (p - slashes > from && p[-1 - (ptrdiff_t)slashes] == '\\')
            slashes++;
        if (slashes % 2 == 0)
            return p + 1;
    }
    return end;
}

/* Behind the list or object that starts at p. */
static const char *pass_nested(const char *p, const char *end)
{
    size_t depth = 0;
    while (p < end) {
        char c = *p;
        if (c == '"') {
            p = pass_string(p, end);
            continue;
        }
        p++;
        if (c == '{' || c == '[')
            depth++;
        else if ((c == '}' || c == ']') && --depth == 0)
            break;
    }
    return p;
}

static const char *pass_plain(const char *p, const char *end)
{
    while (p < end && !is_between(*p))
        p++;
    return p;
}

struct span json_walk_begin(const struct json_value *list)
{
    if (list->type != JSON_TYPE_ARRAY)
        return (struct span){NULL, 0};
    return (struct span){list->text.p + 1, list->text.n - 2};
}

bool json_walk_next(struct span *rest, struct json_value *ret)
{
    if (!rest->p)
        return false;
    const char *p = rest->p, *end = rest->p + rest->n;
    while (p < end && is_between(*p))
        p++;
    if (p == end)
        return false;
    const char *from = p;
    ret->type = json_type_of(*p);
    if (*p == '"')
        p = pass_string(p, end);
    else if (*p == '{' || *p == '[')
        p = pass_nested(p, end);
    else
        p = pass_plain(p, end);
    ret->text = (struct span){from, (size_t)(p - from)};
    *rest = (struct span){p, (size_t)(end - p)};
    return true;
}

struct span json_walk_text(const struct json_value *string, char *scratch, size_t scratch_bytes)
{
    struct span text = json_unquote(string->text, scratch, scratch_bytes);
    return text.p ? text : (struct span){string->text.p + 1, string->text.n - 2};
}

/*
 * error_body.c - see error_body.h. Nothing fails: what is not understood is kept as text.
 */
#include "worker/error_body.h"

#include <strings.h>

#include "worker/json_walk.h"
#include "worker/outcome.h"

enum { KEY_ERROR, KEY_DETAIL, KEY_MESSAGE, KEY_CODE, KEY_TYPE, KEY_COUNT };

static const char *const keys[KEY_COUNT] = {"error", "detail", "message", "code", "type"};

/* A string is unquoted; "null" and the like, which some servers write for null, count as absent. */
static void take_string(const struct json_value *v, char *out, size_t out_bytes)
{
    char scratch[ERROR_MESSAGE_BYTES * 2];
    out[0] = '\0';
    if (v->type != JSON_TYPE_STRING)
        return;
    outcome_text(json_walk_text(v, scratch, sizeof scratch), out, out_bytes);
    if (!strcasecmp(out, "null") || !strcasecmp(out, "none"))
        out[0] = '\0';
}

static void take_object(const struct json_value *values, struct error_body *ret)
{
    take_string(&values[KEY_MESSAGE], ret->message, sizeof ret->message);
    take_string(&values[KEY_CODE], ret->code, sizeof ret->code);
    take_string(&values[KEY_TYPE], ret->type, sizeof ret->type);
}

void error_body_read(struct span body, struct error_body *ret)
{
    struct json_value values[KEY_COUNT], inner[KEY_COUNT];
    *ret = (struct error_body){.message = ""};
    if (json_members(body, keys, KEY_COUNT, values, NULL) != RC_OK) {
        outcome_text(body, ret->message, sizeof ret->message);
        return;
    }
    const struct json_value *error = &values[KEY_ERROR], *detail = &values[KEY_DETAIL];
    take_object(values, ret);
    if (error->type == JSON_TYPE_OBJECT &&
        json_members(error->text, keys, KEY_COUNT, inner, NULL) == RC_OK)
        take_object(inner, ret);
    else if (error->type == JSON_TYPE_STRING)
        take_string(error, ret->message, sizeof ret->message);
    else if (detail->type == JSON_TYPE_STRING)
        take_string(detail, ret->message, sizeof ret->message);
    else if (detail->type != JSON_TYPE_ABSENT)
        outcome_text(detail->text, ret->message, sizeof ret->message);
    ret->is_list = detail->type == JSON_TYPE_ARRAY;
    if (!ret->message[0])
        outcome_text(body, ret->message, sizeof ret->message);
}

/*
 * policy.c - see policy.h. Nothing here can fail.
 */
#include "worker/policy.h"

#include <stddef.h>

bool policy_unknown(enum class class)
{
    return class == CLASS_AMBIGUOUS || class == CLASS_LOST || class == CLASS_ABORTED;
}

bool policy_pays(const struct cat_retry *retry)
{
    return retry->ambiguous == AMBIGUOUS_RETRY && retry->ambiguous_nusd_per_day >= 0;
}

static const enum class endings[] = {
    [AMBIGUOUS_RETRY] = CLASS_NONE,
    [AMBIGUOUS_HOLD] = CLASS_HELD,
    [AMBIGUOUS_GIVE_UP] = CLASS_GIVEN_UP,
};

enum class policy_ending(const struct cat_retry *retry, enum class class) {
    return policy_unknown(class) ? endings[retry->ambiguous] : CLASS_NONE;
}

const char *policy_reason(enum class ending)
{
    if (ending == CLASS_HELD)
        return "its route holds jobs for review when nobody knows what came of a call";
    if (ending == CLASS_GIVEN_UP)
        return "its route gives jobs up when nobody knows what came of a call";
    return NULL;
}

int policy_max_attempts(const struct cat_retry *retry, int of_job, int of_worker)
{
    int of_route = retry->max_attempts;
    if (of_job && of_route)
        return of_job < of_route ? of_job : of_route;
    return of_job ? of_job : of_route ? of_route : of_worker;
}

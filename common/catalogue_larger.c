/*
 * catalogue_larger.c - which version of a model takes what is too long for another.
 *
 * Happy path: every name is a version of the file, and from each the way leads over ever larger
 * contexts to an end. Failure: RC_REJECT "FILE:LINE: key 'larger_context': ...".
 */
#include <inttypes.h>
#include <string.h>

#include "common/catalogue_impl.h"

static bool is_served(const struct cat_model_version *mv)
{
    return mv->state != VERSION_RETIRED && mv->state != VERSION_BLOCKED;
}

/* Why `next` cannot take what is too long for `mv`; RC_OK: it can. */
static enum rc check_pair(const struct catalogue *cat, const struct cat_model_version *mv,
                          const struct cat_model_version *next, struct err *err)
{
    if (next == mv)
        return err_set(err, RC_REJECT, "'%s' is this version itself", mv->label);
    if (!is_served(next))
        return err_set(err, RC_REJECT, "'%s' is %s: nothing is called there", next->label,
                       next->state == VERSION_RETIRED ? "retired" : "blocked");
    if (cat->endpoints[next->endpoint].adapter != cat->endpoints[mv->endpoint].adapter)
        return err_set(err, RC_REJECT, "the endpoint of '%s' speaks another protocol", next->label);
    if (mv->context_tokens && next->context_tokens && next->context_tokens <= mv->context_tokens)
        return err_set(err, RC_REJECT, "'%s' takes %" PRId64 " tokens, and this one %" PRId64,
                       next->label, next->context_tokens, mv->context_tokens);
    return RC_OK;
}

static enum rc find(struct catalogue *cat, const char *label, struct cat_model_version *mv,
                    struct err *err)
{
    for (int i = 0; i < cat->version_count; i++) {
        if (strcmp(cat->versions[i].label, label) != 0)
            continue;
        mv->larger = i + 1;
        return check_pair(cat, mv, &cat->versions[i], err);
    }
    return err_set(err, RC_REJECT, "there is no version '%.150s' in this file: write model@version",
                   label);
}

/* More steps than there are versions never end. */
static enum rc check_way(const struct catalogue *cat, const struct cat_model_version *from,
                         struct err *err)
{
    const struct cat_model_version *mv = from;
    for (int steps = 0; mv->larger; steps++) {
        if (steps >= cat->version_count)
            return err_set(err, RC_REJECT, "the way from '%s' leads in a circle", from->label);
        mv = &cat->versions[mv->larger - 1];
    }
    return RC_OK;
}

enum rc catalogue_find_larger(struct catalogue *cat, const struct catalogue_larger *larger,
                              const char *file_name, struct err *err)
{
    enum rc rc = RC_OK;
    int at = 0;
    for (int i = 0; rc == RC_OK && i < cat->version_count; i++)
        if (*larger[at = i].text)
            rc = find(cat, larger[i].text, &cat->versions[i], err);
    for (int i = 0; rc == RC_OK && i < cat->version_count; i++)
        rc = check_way(cat, &cat->versions[at = i], err);
    if (rc == RC_OK)
        return rc;
    return err_prefix(err, rc, "%s:%d: key 'larger_context'", file_name, larger[at].line);
}

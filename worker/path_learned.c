/*
 * path_learned.c - what the path's endpoints have learned, to the store edge and from it.
 *
 * Happy path: the store edge asks what there is to say, sends it, and brings the rows of all
 * endpoints; each entry of the catalogue takes over its own. A row of an endpoint that this
 * catalogue has not is another's; an endpoint without a row is one that nobody has had trouble
 * with.
 */
#include <stdio.h>
#include <string.h>

#include "worker/path_internal.h"

static void name_of(const struct cat_endpoint *e, char out[LEARNED_KEY_BYTES])
{
    (void)snprintf(out, LEARNED_KEY_BYTES, "%s@%d", e->name, e->version);
}

static bool says(struct path *p, int i, int64_t now_us, struct learned_say *ret)
{
    if (lanes_waiting(p->lanes, -1, i) > 0) /* what limits hold back may go any moment */
        learned_wants(&p->learned[i], now_us);
    return learned_says(&p->learned[i], &p->endpoints[i], now_us, ret);
}

int path_learned_says(struct path *p, struct learned_say *ret, int most)
{
    int64_t now = p->edges.mono_us(p->edges.arg);
    int n = 0;
    for (int i = 0; i < p->conf.catalogue->endpoint_count && n < most; i++)
        if (says(p, i, now, &ret[n]))
            name_of(&p->conf.catalogue->endpoints[i], ret[n++].endpoint);
    return n;
}

void path_learned_sent(struct path *p, const struct learned_say *list, int n)
{
    int64_t now = p->edges.mono_us(p->edges.arg);
    char name[LEARNED_KEY_BYTES];
    for (int i = 0, at = 0; i < p->conf.catalogue->endpoint_count; i++) {
        name_of(&p->conf.catalogue->endpoints[i], name);
        bool in_it = at < n && strcmp(list[at].endpoint, name) == 0;
        learned_sent(&p->learned[i], &p->endpoints[i], in_it ? &list[at++] : NULL, now);
    }
}

void path_learned_heard(struct path *p, const struct learned_row *rows, int n, int64_t sent_us)
{
    int64_t now = p->edges.mono_us(p->edges.arg);
    char name[LEARNED_KEY_BYTES];
    for (int i = 0; i < p->conf.catalogue->endpoint_count; i++) {
        const struct learned_row *row = NULL;
        name_of(&p->conf.catalogue->endpoints[i], name);
        for (int k = 0; k < n && !row; k++)
            row = span_is(rows[k].endpoint, name) ? &rows[k] : NULL;
        learned_heard(&p->learned[i], &p->endpoints[i], row, sent_us, now);
    }
}

void path_learned_lost(struct path *p)
{
    for (int i = 0; i < p->conf.catalogue->endpoint_count; i++)
        learned_lost(&p->learned[i]);
}

void path_learned_forget_probe(struct path *p)
{
    for (int i = 0; i < p->conf.catalogue->endpoint_count; i++)
        learned_forget_probe(&p->learned[i], &p->endpoints[i]);
}

/* ---- what replies tell ----------------------------------------------------------------------- */

bool path_heed_rate_limits(struct path *p, const struct job *job, int64_t now)
{
    const struct http_call *http = &job->call->http;
    const struct usage *usage = &job->call->outcome.usage;
    const int64_t used[RATE_DIMENSIONS] = {1, usage->input, usage->output,
                                           usage->input + usage->output};
    struct rate_told told;
    if (!http->facts.rate.count && !endpoint_is_limited(&p->endpoints[job->endpoint]))
        return false;
    rate_headers_read(&http->facts.rate, http->facts.date, p->edges.wall_ms(p->edges.arg), &told);
    return endpoint_told(&p->endpoints[job->endpoint], &told, used,
                         http->done_us - http->started_us, now);
}

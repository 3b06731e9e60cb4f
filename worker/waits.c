/*
 * waits.c - see waits.h. Lists come from Postgres, where other builds may have written them: what
 * is wrong there costs what is told of one job's waiting, and no more.
 */
#include "worker/waits.h"

#include <inttypes.h>

void waits_add(struct waits *w, int32_t limit_id, int64_t us)
{
    if (us <= 0 || __builtin_add_overflow(w->us, us, &w->us))
        return;
    for (int i = 0; i < WAITS_MAX && limit_id > 0; i++) {
        if (w->all[i].limit_id && w->all[i].limit_id != limit_id)
            continue;
        w->all[i].limit_id = limit_id;
        w->all[i].us += us;
        return;
    }
}

int32_t waits_most(const struct waits *w)
{
    const struct wait *most = &w->all[0];
    for (int i = 1; i < WAITS_MAX; i++)
        most = w->all[i].us > most->us ? &w->all[i] : most;
    return most->limit_id;
}

void waits_pack(const struct waits *w, int least, struct buf *out)
{
    if (!w->all[least - 1].limit_id)
        return;
    for (int i = 0; i < WAITS_MAX && w->all[i].limit_id; i++)
        buf_addf(out, "%s\"%" PRId32 "\":%" PRId64, i ? "," : "{", w->all[i].limit_id,
                 w->all[i].us);
    buf_add_byte(out, '}');
}

/* The next number, past what is none; -1: there is none, or it is too large. */
static int64_t next_number(struct span *text)
{
    int64_t n = 0;
    while (text->n && (*text->p < '0' || *text->p > '9'))
        *text = (struct span){text->p + 1, text->n - 1};
    if (!text->n)
        return -1;
    for (; text->n && *text->p >= '0' && *text->p <= '9'; text->p++, text->n--)
        if (n < 0 || __builtin_mul_overflow(n, 10, &n) ||
            __builtin_add_overflow(n, *text->p - '0', &n))
            n = -1;
    return n;
}

void waits_unpack(struct span list, int64_t us, int32_t limit_id, struct waits *ret)
{
    *ret = (struct waits){0};
    while (list.n) {
        int64_t id = next_number(&list), of = next_number(&list);
        if (id > 0 && id <= INT32_MAX && of <= us - ret->us)
            waits_add(ret, (int32_t)id, of);
    }
    waits_add(ret, limit_id, us - ret->us);
}

/*
 * wants.c - see wants.h. Other builds of the fleet wrote some of it: what cannot be meant is taken
 * for nothing, and hurts nobody but the worker that wrote it.
 */
#include "worker/wants.h"

#include <endian.h>
#include <string.h>

int64_t wants_pack(const struct share_want *wants, size_t n, struct buf *out)
{
    int64_t all = 0;
    for (size_t i = 0; i < n; i++) {
        buf_add_u32be(out, wants[i].app);
        buf_add_u32be(out, (uint32_t)wants[i].lane);
        buf_add_u64be(out, (uint64_t)wants[i].units);
        if (__builtin_add_overflow(all, wants[i].units, &all))
            all = INT64_MAX;
    }
    return all;
}

size_t wants_count(struct span bytes)
{
    return bytes.n % WANTS_BYTES == 0 ? bytes.n / WANTS_BYTES : 0;
}

void wants_unpack(struct span bytes, struct share_want *ret, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t app, lane;
        uint64_t units;
        memcpy(&app, bytes.p + i * WANTS_BYTES, sizeof app);
        memcpy(&lane, bytes.p + i * WANTS_BYTES + 4, sizeof lane);
        memcpy(&units, bytes.p + i * WANTS_BYTES + 8, sizeof units);
        lane = be32toh(lane);
        units = be64toh(units);
        ret[i] = (struct share_want){
            .app = be32toh(app),
            .lane = lane > INT32_MAX ? 0 : (int)lane,
            .units = units > INT64_MAX ? 0 : (int64_t)units,
        };
    }
}

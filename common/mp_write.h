/*
 * mp_write.h - writes msgpack into a buf, each value in its shortest form.
 *
 * Like the buf's own appends: what does not fit marks the buf as failed, so many values are written
 * and the outcome is checked once (`b->failed`). A map's or an array's values follow its head; the
 * caller keeps the count.
 */
#ifndef INFERQ_COMMON_MP_WRITE_H
#define INFERQ_COMMON_MP_WRITE_H

#include <stdint.h>

#include "common/buf.h"
#include "common/span.h"

void mp_put_map(struct buf *b, uint32_t pairs);
void mp_put_array(struct buf *b, uint32_t elements);
void mp_put_str(struct buf *b, struct span s); /* past 4 GiB: failed, as msgpack cannot say it */
void mp_put_bin(struct buf *b, struct span s);
void mp_put_int(struct buf *b, int64_t v);

#endif

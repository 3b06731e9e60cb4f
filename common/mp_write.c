/*
 * mp_write.c - msgpack-c's packer over struct buf; the only file that knows the library.
 *
 * The packer calls back for each piece; the buf refuses what does not fit and remembers it, so the
 * packer's own return values say nothing more and are dropped.
 */
#include "common/mp_write.h"

#include <msgpack.h>

static int append(void *arg, const char *p, size_t n)
{
    return buf_add(arg, p, n) ? 0 : -1;
}

static msgpack_packer packer_of(struct buf *b)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, b, append);
    return packer;
}

void mp_put_map(struct buf *b, uint32_t pairs)
{
    msgpack_packer packer = packer_of(b);
    (void)msgpack_pack_map(&packer, pairs);
}

void mp_put_array(struct buf *b, uint32_t elements)
{
    msgpack_packer packer = packer_of(b);
    (void)msgpack_pack_array(&packer, elements);
}

void mp_put_str(struct buf *b, struct span s)
{
    if (s.n > UINT32_MAX) {
        b->failed = true;
        return;
    }
    msgpack_packer packer = packer_of(b);
    (void)msgpack_pack_str(&packer, s.n);
    (void)msgpack_pack_str_body(&packer, s.p, s.n);
}

void mp_put_bin(struct buf *b, struct span s)
{
    if (s.n > UINT32_MAX) {
        b->failed = true;
        return;
    }
    msgpack_packer packer = packer_of(b);
    (void)msgpack_pack_bin(&packer, s.n);
    (void)msgpack_pack_bin_body(&packer, s.p, s.n);
}

void mp_put_int(struct buf *b, int64_t v)
{
    msgpack_packer packer = packer_of(b);
    (void)msgpack_pack_int64(&packer, v);
}

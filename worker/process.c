/*
 * process.c - see process.h.
 */
#include "worker/process.h"

#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

enum { SPARE_DESCRIPTORS = 256 }; /* besides one per call in flight */

/* Refused early rather than found out under load. */
enum rc process_descriptors(int64_t calls, struct err *err)
{
    struct rlimit limit;
    rlim_t wanted = (rlim_t)calls + SPARE_DESCRIPTORS;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
        return RC_OK;
    limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < wanted)
        return err_set(err, RC_REJECT,
                       "max_in_flight needs %llu file descriptors and the limit is %llu: raise it "
                       "(ulimit -n) or lower max_in_flight",
                       (unsigned long long)wanted, (unsigned long long)limit.rlim_cur);
    return RC_OK;
}

/* xoroshiro128+ (Blackman and Vigna, 2018). */
uint64_t process_random(uint64_t state[2])
{
    uint64_t a = state[0], b = state[1], result = a + b;
    b ^= a;
    state[0] = ((a << 24) | (a >> 40)) ^ b ^ (b << 16);
    state[1] = (b << 37) | (b >> 27);
    return result;
}

void process_host(char *out, size_t out_bytes)
{
    if (gethostname(out, out_bytes) != 0)
        (void)snprintf(out, out_bytes, "unknown");
    out[out_bytes - 1] = '\0';
}

#include "tests/modelsim/jobs.h"

/*
 * Purpose: open-addressing table of job ids, 24 bytes each, at most half full.
 * Failure: no memory ends the process (base_die).
 */
#include "tests/modelsim/base.h"
#include "tests/modelsim/hash.h"

#include <stdlib.h>
#include <string.h>

static struct job_seen *find(struct job_seen *slots, size_t cap, const uint8_t id[16])
{
    uint64_t halves[2];
    memcpy(halves, id, sizeof halves);
    size_t at = hash_mix(halves[0] ^ hash_mix(halves[1])) & (cap - 1);
    while (slots[at].calls != 0 && memcmp(slots[at].id, id, 16) != 0)
        at = (at + 1) & (cap - 1);
    return &slots[at];
}

static void resize(struct jobs *jobs, size_t cap)
{
    struct job_seen *slots = base_calloc(cap, sizeof *slots);
    for (size_t i = 0; i < jobs->cap; i++)
        if (jobs->slots[i].calls != 0)
            *find(slots, cap, jobs->slots[i].id) = jobs->slots[i];
    free(jobs->slots);
    jobs->slots = slots;
    jobs->cap = cap;
}

bool jobs_begin(struct jobs *jobs, const uint8_t id[16])
{
    if ((jobs->count + 1) * 2 > jobs->cap)
        resize(jobs, jobs->cap == 0 ? 4096 : jobs->cap * 2);
    struct job_seen *job = find(jobs->slots, jobs->cap, id);
    if (job->calls == 0) {
        memcpy(job->id, id, 16);
        jobs->count++;
    }
    if (++job->calls == 2)
        jobs->repeated++;
    return job->in_flight++ > 0;
}

void jobs_end(struct jobs *jobs, const uint8_t id[16])
{
    struct job_seen *job = find(jobs->slots, jobs->cap, id);
    if (job->calls != 0 && job->in_flight > 0)
        job->in_flight--;
}

void jobs_reset(struct jobs *jobs)
{
    struct jobs old = *jobs;
    *jobs = (struct jobs){0};
    resize(jobs, 4096);
    for (size_t i = 0; i < old.cap; i++) {
        for (uint32_t k = 0; k < old.slots[i].in_flight; k++)
            (void)jobs_begin(jobs, old.slots[i].id);
    }
    free(old.slots);
}

void jobs_done(struct jobs *jobs)
{
    free(jobs->slots);
    *jobs = (struct jobs){0};
}

bool jobs_parse_id(const char *text, size_t len, uint8_t ret_id[16])
{
    uint8_t id[16] = {0};
    size_t nibble = 0;
    if (len != 36)
        return false;
    for (size_t i = 0; i < 36; i++) {
        char c = text[i];
        unsigned int digit;
        if (i == 8 || i == 13 || i == 18 || i == 23) {
            if (c != '-')
                return false;
            continue;
        }
        if (c >= '0' && c <= '9')
            digit = (unsigned int)(c - '0');
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            digit = (unsigned int)((c | 0x20) - 'a') + 10;
        else
            return false;
        id[nibble / 2] = (uint8_t)((unsigned int)id[nibble / 2] << 4 | digit);
        nibble++;
    }
    memcpy(ret_id, id, sizeof id);
    return true;
}

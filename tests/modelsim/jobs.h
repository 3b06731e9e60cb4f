#ifndef MODELSIM_JOBS_H
#define MODELSIM_JOBS_H
/*
 * Purpose: every job id that was ever seen, with how often and how many calls are in flight now:
 * the table that notices when one job is called twice at once.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct job_seen {
    uint8_t id[16];
    uint32_t calls; /* 0: a free slot */
    uint32_t in_flight;
};

struct jobs {
    struct job_seen *slots;
    size_t count;
    size_t cap;      /* a power of two */
    size_t repeated; /* jobs called more than once */
};

/* A call for this job begins. Returns true if another was in flight already (an overlap). */
bool jobs_begin(struct jobs *jobs, const uint8_t id[16]);
/* A call for this job has ended. */
void jobs_end(struct jobs *jobs, const uint8_t id[16]);
/* Forgets the history but not what is in flight. */
void jobs_reset(struct jobs *jobs);
void jobs_done(struct jobs *jobs);
/* Reads 36 characters of UUID text; false if it is none. */
bool jobs_parse_id(const char *text, size_t len, uint8_t ret_id[16]);

#endif

#ifndef MODELSIM_WITNESS_H
#define MODELSIM_WITNESS_H
/*
 * Purpose: the independent record of every request: two JSON lines each (begin, end), in a file
 * opened with O_APPEND, and counters. The caller flushes before any reply byte leaves, so whatever
 * a client has seen an answer to, and whatever it has sent a head of, is in the file even if client
 * or stand-in is killed at any later instant.
 */
#include "tests/modelsim/base.h"
#include "tests/modelsim/buf.h"
#include "tests/modelsim/jobs.h"
#include "tests/modelsim/jscan.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum outcome {
    OUTCOME_REPLIED,     /* the whole reply was handed to the kernel */
    OUTCOME_CUT,         /* the stand-in broke the connection on purpose */
    OUTCOME_CLIENT_GONE, /* the client left first */
    OUTCOME_SHUTDOWN,    /* the stand-in was stopped */
};
enum verdict {
    VERDICT_OFF,     /* no ledger check asked for */
    VERDICT_PENDING, /* the question is open */
    VERDICT_PRESENT,
    VERDICT_MISSING,
    VERDICT_UNATTRIBUTED, /* the request did not say which call it is */
};

/* One request, as the witness tells it. */
struct request {
    uint64_t n;        /* running number, from 1 */
    int64_t at_us;     /* Unix microseconds of the complete head */
    int64_t asked_us;  /* and of the complete body, which is when limits weigh it; 0: never */
    const char *path;  /* a constant text */
    const char *fault; /* a constant text, "" for none */
    bool has_job;
    uint8_t job[16];
    int32_t call; /* -1: not given */
    int status;   /* 0: nothing was answered */
    enum verdict verdict;
    char limited[48]; /* the limit that refused it; "": none */
    bool answered;    /* reached the answer: its tokens are real and priced */
    const char *usage_told;
    int64_t bytes_in;
    int64_t bytes_out;
    int64_t prompt_tokens;
    int64_t completion_tokens;
    int64_t price_pusd;
    char model[97];
};

struct witness;

/* Opens the file (NULL: count only). Returned owned in *ret_witness. */
MUST_CHECK enum rc witness_open(const char *path, struct witness **ret_witness, struct err *err);
void witness_free(struct witness *witness);
/* A request's head is complete: gives it its number, counts it, notes an overlap. */
void witness_begin(struct witness *witness, struct request *request);
/* It is over. */
void witness_end(struct witness *witness, const struct request *request, enum outcome outcome,
                 int64_t at_us);
/* The ledger has answered for request n: present or missing. late: after its reply had left. */
void witness_verdict(struct witness *witness, uint64_t n, const uint8_t job[16], int32_t call,
                     enum verdict verdict, bool late);
/* Bytes are waiting for witness_flush. */
bool witness_pending(const struct witness *witness);
/* Writes what is pending. A file that refuses ends the process: a witness may not lose lines. */
void witness_flush(struct witness *witness);
/* Appends the summary as one JSON object; unverified: lookups without an answer yet; limits: what
 * limits counted, as JSON. */
void witness_summary(const struct witness *witness, size_t unverified, struct span limits,
                     struct buf *out);
/* Sets the counters to zero; requests in flight stay in flight. The file only gets a line. */
void witness_reset(struct witness *witness);

#endif

#include "tests/modelsim/witness.h"

/*
 * Purpose: lines and counters. Happy path: begin and end append to one buffer that the loop writes
 * in one write(2) per turn. Failure: a short or refused write stops the process.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LISTED_MAX 100
#define STATUS_MAX 600

struct listed {
    uint8_t job[16];
    int32_t call;
};

struct list {
    struct listed rows[LISTED_MAX];
    size_t count;
};

struct counters {
    uint64_t requests;
    uint64_t without_job;
    uint64_t overlaps;
    uint64_t statuses[STATUS_MAX];
    uint64_t outcomes[4];
    uint64_t max_in_flight;
    int64_t prompt_tokens;
    int64_t completion_tokens;
    int64_t price_pusd;
    uint64_t ledger_checked;
    uint64_t ledger_missing;
    uint64_t ledger_late;
    uint64_t ledger_unattributed;
    struct list missing;
    struct list overlapping;
};

struct witness {
    int fd;
    struct buf lines;
    struct jobs jobs;
    uint64_t next;
    uint64_t in_flight;
    struct counters c;
};

enum rc witness_open(const char *path, struct witness **ret_witness, struct err *err)
{
    struct witness *witness = base_calloc(1, sizeof *witness);
    witness->fd = -1;
    if (path != NULL) {
        witness->fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
        if (witness->fd < 0) {
            err_set(err, "%.160s: %s", path, strerror(errno));
            free(witness);
            return RC_REJECT;
        }
    }
    *ret_witness = witness;
    return RC_OK;
}

void witness_free(struct witness *witness)
{
    if (witness == NULL)
        return;
    witness_flush(witness);
    if (witness->fd >= 0)
        (void)close(witness->fd);
    buf_done(&witness->lines);
    jobs_done(&witness->jobs);
    free(witness);
}

static void list_add(struct list *list, const uint8_t job[16], int32_t call)
{
    if (list->count == LISTED_MAX)
        return;
    struct listed *row = &list->rows[list->count++];
    memcpy(row->job, job, 16);
    row->call = call;
}

static void add_number(struct buf *b, const char *name, int64_t value)
{
    buf_add_text(b, name);
    buf_add_int(b, value);
}

static void add_word(struct buf *b, const char *name, const char *word)
{
    buf_add_text(b, name);
    buf_add_char(b, '"');
    buf_add_text(b, word);
    buf_add_char(b, '"');
}

/* `,"job":"...","call":1` with null for what was not given. */
static void add_call(struct buf *b, bool has_job, const uint8_t job[16], int32_t call)
{
    buf_add_text(b, ",\"job\":");
    if (has_job) {
        buf_add_char(b, '"');
        buf_add_uuid(b, job);
        buf_add_char(b, '"');
    } else {
        buf_add_text(b, "null");
    }
    buf_add_text(b, ",\"call\":");
    if (call >= 0)
        buf_add_int(b, call);
    else
        buf_add_text(b, "null");
}

void witness_begin(struct witness *witness, struct request *request)
{
    struct counters *c = &witness->c;
    request->n = ++witness->next;
    c->requests++;
    if (++witness->in_flight > c->max_in_flight)
        c->max_in_flight = witness->in_flight;
    bool overlap = request->has_job && jobs_begin(&witness->jobs, request->job);
    if (!request->has_job)
        c->without_job++;
    if (overlap) {
        c->overlaps++;
        list_add(&c->overlapping, request->job, request->call);
    }
    if (request->verdict == VERDICT_UNATTRIBUTED)
        c->ledger_unattributed++;
    if (witness->fd < 0)
        return;
    struct buf *b = &witness->lines;
    add_number(b, "{\"kind\":\"begin\",\"n\":", (int64_t)request->n);
    add_number(b, ",\"at_us\":", request->at_us);
    add_call(b, request->has_job, request->job, request->call);
    add_word(b, ",\"path\":", request->path);
    buf_add_text(b, overlap ? ",\"overlap\":true}\n" : "}\n");
}

static const char *outcome_name(enum outcome outcome)
{
    static const char *const names[] = {"replied", "cut", "client_gone", "shutdown"};
    return names[outcome];
}

static const char *verdict_name(enum verdict verdict)
{
    static const char *const names[] = {"off", "pending", "present", "missing", "unattributed"};
    return names[verdict];
}

static void end_line(struct buf *b, const struct request *r, enum outcome outcome, int64_t at_us)
{
    add_number(b, "{\"kind\":\"end\",\"n\":", (int64_t)r->n);
    add_number(b, ",\"at_us\":", at_us);
    add_call(b, r->has_job, r->job, r->call);
    buf_add_text(b, ",\"model\":");
    buf_add_json_string(b, r->model, strlen(r->model));
    add_number(b, ",\"bytes_in\":", r->bytes_in);
    add_number(b, ",\"bytes_out\":", r->bytes_out);
    add_word(b, ",\"outcome\":", outcome_name(outcome));
    add_number(b, ",\"status\":", r->status);
    add_word(b, ",\"fault\":", r->fault);
    add_number(b, ",\"prompt_tokens\":", r->prompt_tokens);
    add_number(b, ",\"completion_tokens\":", r->completion_tokens);
    add_word(b, ",\"usage_told\":", r->usage_told);
    add_number(b, ",\"asked_us\":", r->asked_us);
    buf_add_text(b, ",\"limited\":");
    buf_add_json_string(b, r->limited, strlen(r->limited));
    add_number(b, ",\"price_pusd\":", r->price_pusd);
    add_word(b, ",\"ledger\":", verdict_name(r->verdict));
    buf_add_text(b, "}\n");
}

void witness_end(struct witness *witness, const struct request *request, enum outcome outcome,
                 int64_t at_us)
{
    struct counters *c = &witness->c;
    witness->in_flight--;
    if (request->has_job)
        jobs_end(&witness->jobs, request->job);
    c->outcomes[outcome]++;
    if (request->status >= 0 && request->status < STATUS_MAX)
        c->statuses[request->status]++;
    c->prompt_tokens += request->prompt_tokens;
    c->completion_tokens += request->completion_tokens;
    c->price_pusd += request->price_pusd;
    if (witness->fd >= 0)
        end_line(&witness->lines, request, outcome, at_us);
}

void witness_verdict(struct witness *witness, uint64_t n, const uint8_t job[16], int32_t call,
                     enum verdict verdict, bool late)
{
    struct counters *c = &witness->c;
    c->ledger_checked++;
    if (late)
        c->ledger_late++;
    if (verdict == VERDICT_MISSING) {
        c->ledger_missing++;
        list_add(&c->missing, job, call);
    }
    if (witness->fd < 0 || (!late && verdict == VERDICT_PRESENT))
        return; /* the end line will say it */
    struct buf *b = &witness->lines;
    add_number(b, "{\"kind\":\"ledger\",\"n\":", (int64_t)n);
    add_call(b, true, job, call);
    add_word(b, ",\"ledger\":", verdict_name(verdict));
    buf_add_text(b, late ? ",\"late\":true}\n" : ",\"late\":false}\n");
}

bool witness_pending(const struct witness *witness)
{
    return witness->lines.len > 0;
}

void witness_flush(struct witness *witness)
{
    size_t done = 0;
    while (done < witness->lines.len) {
        ssize_t n = write(witness->fd, witness->lines.data + done, witness->lines.len - done);
        if (n < 0 && errno != EINTR)
            base_die("the witness file cannot be written");
        done += n > 0 ? (size_t)n : 0;
    }
    witness->lines.len = 0;
}

static void add_list(struct buf *b, const char *name, const struct list *list)
{
    buf_add_text(b, name);
    for (size_t i = 0; i < list->count; i++) {
        buf_add_text(b, i == 0 ? "{\"job\":\"" : ",{\"job\":\"");
        buf_add_uuid(b, list->rows[i].job);
        buf_add_text(b, "\",\"call\":");
        if (list->rows[i].call >= 0)
            buf_add_int(b, list->rows[i].call);
        else
            buf_add_text(b, "null");
        buf_add_char(b, '}');
    }
    buf_add_char(b, ']');
}

static void add_statuses(struct buf *b, const struct counters *c)
{
    bool first = true;
    buf_add_text(b, ",\"statuses\":{");
    for (int status = 0; status < STATUS_MAX; status++) {
        if (c->statuses[status] == 0)
            continue;
        buf_printf(b, "%s\"%d\":%llu", first ? "" : ",", status,
                   (unsigned long long)c->statuses[status]);
        first = false;
    }
    buf_add_text(b, "},\"outcomes\":{");
    for (int i = 0; i < 4; i++)
        buf_printf(b, "%s\"%s\":%llu", i == 0 ? "" : ",", outcome_name((enum outcome)i),
                   (unsigned long long)c->outcomes[i]);
    buf_add_char(b, '}');
}

void witness_summary(const struct witness *witness, size_t unverified, struct span limits,
                     struct buf *out)
{
    const struct counters *c = &witness->c;
    add_number(out, "{\"requests\":", (int64_t)c->requests);
    add_number(out, ",\"without_job\":", (int64_t)c->without_job);
    add_number(out, ",\"jobs\":", (int64_t)witness->jobs.count);
    add_number(out, ",\"jobs_repeated\":", (int64_t)witness->jobs.repeated);
    add_number(out, ",\"overlaps\":", (int64_t)c->overlaps);
    add_number(out, ",\"in_flight\":", (int64_t)witness->in_flight);
    add_number(out, ",\"max_in_flight\":", (int64_t)c->max_in_flight);
    add_statuses(out, c);
    add_number(out, ",\"prompt_tokens\":", c->prompt_tokens);
    add_number(out, ",\"completion_tokens\":", c->completion_tokens);
    add_number(out, ",\"price_pusd\":", c->price_pusd);
    add_number(out, ",\"ledger_checked\":", (int64_t)c->ledger_checked);
    add_number(out, ",\"ledger_missing\":", (int64_t)c->ledger_missing);
    add_number(out, ",\"ledger_late\":", (int64_t)c->ledger_late);
    add_number(out, ",\"ledger_unverified\":", (int64_t)unverified);
    add_number(out, ",\"ledger_unattributed\":", (int64_t)c->ledger_unattributed);
    add_list(out, ",\"missing\":[", &c->missing);
    add_list(out, ",\"overlapping\":[", &c->overlapping);
    buf_add_text(out, ",\"limits\":");
    buf_add(out, limits.at, limits.len);
    buf_add_text(out, "}\n");
}

void witness_reset(struct witness *witness)
{
    witness->c = (struct counters){.max_in_flight = witness->in_flight};
    jobs_reset(&witness->jobs);
    if (witness->fd >= 0)
        buf_add_text(&witness->lines, "{\"kind\":\"reset\"}\n");
}

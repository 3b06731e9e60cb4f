/*
 * bench-gen: fills a topic with signed jobs as inferq-submit would send them, as fast as Kafka
 * takes them: chat requests whose bodies have exactly so many bytes, each with a text of its own.
 *
 * Happy path: body, message, id, signature, Kafka, --jobs times; then all delivery reports are
 * waited for, and the number written is printed. With --pace.us one job goes at a time, that long
 * after the broker acknowledged the one before, and a line `JOB-ID ACKNOWLEDGED-AT` (Unix us) is
 * printed for each before the number. What goes wrong: anything at all is a message and status 1
 * (2 for the command line).
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/codes.h"
#include "common/config.h"
#include "common/job_msg.h"
#include "common/kafka_producer.h"
#include "common/secret.h"
#include "common/sign.h"

enum { BODY_BYTES_MIN = 256, NAME_BYTES = 48, FLUSH_MS = 60000, POLL_MS = 50, POLL_EVERY = 256 };

static const struct config_key keys[] = {
    {"topic", CONFIG_TEXT, NULL, 1, 200, NULL, false, false, "", "where the jobs go"},
    {"jobs", CONFIG_INT, NULL, 1, 1000000000, NULL, false, false, "jobs", "how many"},
    {"body.bytes", CONFIG_INT, "1024", BODY_BYTES_MIN, 1 << 20, NULL, false, false, "bytes",
     "size of a request body"},
    {"max.tokens", CONFIG_INT, "32", 1, 100000, NULL, false, false, "tokens",
     "max_tokens of the requests"},
    {"model", CONFIG_TEXT, "small", 1, 100, NULL, false, false, "", "model of the requests"},
    {"app", CONFIG_TEXT, "bench", 1, JOB_NAME_BYTES_MAX, NULL, false, false, "", "who submits"},
    {"batch", CONFIG_TEXT, "bench", 1, JOB_TEXT_BYTES_MAX, NULL, false, false, "",
     "the batch's name"},
    {"created.ms", CONFIG_INT, "0", 0, INT64_C(1) << 47, NULL, false, false, "ms",
     "the batch's creation, as Unix time; 0: now"},
    {"pace.us", CONFIG_INT, "0", 0, 60000000, NULL, false, false, "us",
     "mean pause between jobs, drawn from half of it to one and a half; 0: none"},
    {"signing.key", CONFIG_TEXT, NULL, 1, 4096, NULL, false, true, "",
     "env:NAME or file:PATH of the key that signs"},
    {0},
};

struct gen {
    struct config *config;
    struct kafka_producer *producer;
    struct sign_key key;
    struct job_msg msg; /* what all jobs share, and the last one's own */
    struct buf body, value;
    int64_t written;
    int64_t acked_us; /* when the last delivery report came */
    bool failed;
    char why[256];
};

static int64_t wall_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void delivered(void *arg, void *opaque, enum rc rc, const char *why)
{
    struct gen *g = arg;
    (void)opaque;
    if (rc == RC_OK) {
        g->written++;
        g->acked_us = wall_us();
    } else if (!g->failed) {
        g->failed = true;
        snprintf(g->why, sizeof g->why, "%s", why);
    }
}

/* A text of its own, then words up to the size. */
static void write_body(struct gen *g, const char *name)
{
    static const char words[] = "the quick brown fox jumps over the lazy dog and runs on ";
    static const char tail[] = "\"}]}";
    size_t bytes = (size_t)config_int(g->config, "body.bytes");
    buf_reset(&g->body);
    buf_addf(&g->body,
             "{\"model\":\"%s\",\"max_tokens\":%d,\"messages\":[{\"role\":\"user\","
             "\"content\":\"Summarise document %s. ",
             config_text(g->config, "model"), (int)config_int(g->config, "max.tokens"), name);
    while (g->body.n + sizeof tail - 1 < bytes) {
        size_t room = bytes - (g->body.n + sizeof tail - 1);
        buf_add(&g->body, words, room < sizeof words - 1 ? room : sizeof words - 1);
    }
    buf_add(&g->body, tail, sizeof tail - 1);
}

static enum rc send_record(struct gen *g, struct err *err)
{
    char signature[SIGN_HEADER_BYTES];
    struct span value = buf_span(&g->value);
    size_t signature_bytes = sign_header(&g->key, value, signature);
    const struct kafka_header headers[] = {
        {"inferq-schema", SPAN_LIT("job/1")},
        {"inferq-app", g->msg.app},
        {"inferq-signature", {signature, signature_bytes}},
    };
    const struct kafka_out out = {
        .topic = config_text(g->config, "topic"),
        .key = {(const char *)g->msg.job_id.b, ID_BYTES},
        .value = value,
        .headers = headers,
        .header_count = sizeof headers / sizeof headers[0],
    };
    enum rc rc;
    while ((rc = kafka_producer_send(g->producer, &out, err)) == RC_FULL && !g->failed)
        (void)kafka_producer_poll(g->producer, POLL_MS);
    return rc;
}

static enum rc make_job(struct gen *g, int64_t i, struct err *err)
{
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "%" PRId64, i);
    write_body(g, name);
    g->msg.custom_id = span_of(name);
    g->msg.body = buf_span(&g->body);
    g->msg.job_id = jobid_make(g->msg.created_at_ms, g->msg.app, g->msg.batch, g->msg.custom_id,
                               g->msg.generation);
    buf_reset(&g->value);
    enum rc rc = job_msg_encode(&g->msg, &g->value, err);
    return rc == RC_OK ? send_record(g, err) : rc;
}

/* Waits for the acknowledgement of the job just sent, says when it came, and pauses. The pause
 * varies, so that it falls into step with no timer of those that are measured. */
static void pace(struct gen *g, int64_t sent)
{
    char id[ID_TEXT_BYTES];
    int64_t mean_us = config_int(g->config, "pace.us");
    while (g->written < sent && !g->failed)
        (void)kafka_producer_poll(g->producer, POLL_MS);
    if (g->failed)
        return;
    jobid_text(&g->msg.job_id, id);
    printf("%s %" PRId64 "\n", id, g->acked_us);
    (void)usleep((useconds_t)(mean_us / 2 + random() % mean_us));
}

static enum rc make_jobs(struct gen *g, struct err *err)
{
    int64_t jobs = config_int(g->config, "jobs");
    bool paced = config_int(g->config, "pace.us") > 0;
    enum rc rc = RC_OK;
    for (int64_t i = 0; i < jobs && rc == RC_OK && !g->failed; i++) {
        rc = make_job(g, i, err);
        if (paced && rc == RC_OK)
            pace(g, i + 1);
        else if (i % POLL_EVERY == 0)
            (void)kafka_producer_poll(g->producer, 0);
    }
    if (rc == RC_OK)
        rc = kafka_producer_flush(g->producer, FLUSH_MS, err);
    if (g->failed)
        rc = err_set(err, RC_RETRY, "a record was not written: %s", g->why);
    return rc;
}

static enum rc load_key(struct gen *g, struct err *err)
{
    struct secret *text = NULL;
    enum rc rc = secret_load(config_text(g->config, "signing.key"), &text, err);
    if (rc == RC_OK)
        rc = sign_key_parse(secret_value(text), &g->key, err);
    secret_free(text);
    return rc;
}

static enum rc set_up(struct gen *g, struct err *err)
{
    enum rc rc = load_key(g, err);
    if (rc == RC_OK)
        rc = kafka_producer_new(g->config, "bench-gen", delivered, g, &g->producer, err);
    if (rc != RC_OK)
        return rc;
    buf_init(&g->body, JOB_MSG_BYTES_MAX);
    buf_init(&g->value, JOB_MSG_BYTES_MAX);
    int64_t created_ms = config_int(g->config, "created.ms");
    g->msg = (struct job_msg){
        .app = span_of(config_text(g->config, "app")),
        .batch = span_of(config_text(g->config, "batch")),
        .task = SPAN_LIT("summarise"),
        .team = SPAN_LIT("bench"),
        .priority = PRIORITY_NORMAL,
        .url = SPAN_LIT("/v1/chat/completions"),
        .output_kind = OUTPUT_TEXT,
        .created_at_ms = created_ms ? created_ms : clock_wall_ms(),
        .max_cost_nusd = -1,
    };
    g->msg.batch_id = batchid_make(g->msg.created_at_ms, g->msg.app, g->msg.batch);
    return RC_OK;
}

static enum rc read_flags(struct gen *g, int argc, char **argv, struct err *err)
{
    enum rc rc = RC_OK;
    for (int i = 1; i < argc && rc == RC_OK; i += 2)
        rc = strncmp(argv[i], "--", 2) == 0 && i + 1 < argc
                 ? config_set(g->config, argv[i] + 2, argv[i + 1], err)
                 : err_set(err, RC_REJECT, "%s: a flag with a value is expected", argv[i]);
    if (rc == RC_OK)
        rc = config_load_env(g->config, err);
    return rc == RC_OK ? config_check(g->config, err) : rc;
}

int main(int argc, char **argv)
{
    struct gen g = {.config = config_new(keys)};
    struct err err = {0};
    int code = 1;
    if (!g.config)
        return code;
    if (read_flags(&g, argc, argv, &err) != RC_OK) {
        code = 2;
        config_help(keys, stderr);
    } else if (set_up(&g, &err) == RC_OK && make_jobs(&g, &err) == RC_OK) {
        code = 0;
        printf("%" PRId64 "\n", g.written);
    }
    if (code)
        fprintf(stderr, "bench-gen: %s\n", err.text);
    kafka_producer_free(g.producer, 0);
    sign_key_wipe(&g.key);
    buf_done(&g.body);
    buf_done(&g.value);
    config_free(g.config);
    return code;
}

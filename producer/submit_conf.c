/*
 * submit_conf.c - options, checked one after the other.
 *
 * Happy path: `steps` in order, each reading its options into the conf. Failure: the first step
 * that refuses; its message names the option. Nothing has been connected by then; the only files
 * read are the ones that options name (prompt, schema, signing key).
 */
#include "producer/submit_conf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/codes.h"
#include "common/hash.h"
#include "common/hex.h"
#include "common/lane_set.h"
#include "common/outspec.h"
#include "common/price.h"
#include "common/secret.h"
#include "common/utf8.h"
#include "producer/digest.h"
#include "producer/encode.h"

enum { FILE_BYTES_MAX = 1 << 20, NAME_HASH_BYTES = 6, NAME_STEM_BYTES = 64 };

static struct span or_absent(const char *text)
{
    return text && *text ? span_of(text) : (struct span){0};
}

static enum rc check_text(const char *option, struct span text, size_t max, struct err *err)
{
    if (text.n > max)
        return err_set(err, RC_REJECT, "--%s has %zu bytes; at most %zu are taken", option, text.n,
                       max);
    return utf8_text(text) ? RC_OK : err_set(err, RC_REJECT, "--%s is not UTF-8 text", option);
}

static enum rc read_names(struct submit_conf *conf, struct err *err)
{
    const struct submit_args *args = conf->args;
    conf->app = or_absent(args->app ? args->app : config_text(conf->config, "app"));
    conf->team = or_absent(args->team ? args->team : config_text(conf->config, "team"));
    conf->task = or_absent(args->task);
    conf->batch = or_absent(args->batch);
    conf->context_version = or_absent(args->context_version);
    if (!conf->app.p)
        return err_set(err, RC_REJECT, "who submits? Give --app NAME, or set INFERQ_APP");
    if (args->batch && !conf->batch.p)
        return err_set(err, RC_REJECT, "--batch is empty");
    enum rc rc = check_text("app", conf->app, JOB_NAME_BYTES_MAX, err);
    if (rc == RC_OK)
        rc = check_text("team", conf->team, JOB_NAME_BYTES_MAX, err);
    if (rc == RC_OK)
        rc = check_text("task", conf->task, JOB_NAME_BYTES_MAX, err);
    if (rc == RC_OK)
        rc = check_text("batch", conf->batch, JOB_TEXT_BYTES_MAX, err);
    if (rc == RC_OK)
        rc = check_text("context-version", conf->context_version, JOB_TEXT_BYTES_MAX, err);
    return rc;
}

static enum rc read_number(const char *option, const char *text, int64_t max, int64_t *ret,
                           struct err *err)
{
    char *end;
    if (!text)
        return RC_OK;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno != 0 || v < 1 || v > max)
        return err_set(err, RC_REJECT, "--%s: '%.32s' is not a whole number from 1 to %lld", option,
                       text, (long long)max);
    *ret = v;
    return RC_OK;
}

static enum rc read_limits(struct submit_conf *conf, struct err *err)
{
    const struct submit_args *args = conf->args;
    int64_t attempts = 0, pusd;
    enum rc rc = read_number("max-output-tokens", args->max_output_tokens, 100000000,
                             &conf->max_output_tokens, err);
    if (rc == RC_OK)
        rc = read_number("max-attempts", args->max_attempts, JOB_ATTEMPTS_MAX, &attempts, err);
    conf->max_attempts = (int)attempts;
    conf->max_cost_nusd = -1;
    if (rc == RC_OK && args->max_cost) {
        rc = price_parse_pusd(args->max_cost, 1, &pusd, err);
        if (rc != RC_OK)
            return err_prefix(err, rc, "--max-cost");
        conf->max_cost_nusd = pusd / 1000;
    }
    return rc;
}

static enum rc read_kinds(struct submit_conf *conf, struct err *err)
{
    const struct submit_args *args = conf->args;
    conf->priority = args->priority ? priority_parse(args->priority) : PRIORITY_NORMAL;
    if (conf->priority < 0)
        return err_set(err, RC_REJECT, "--priority is high, normal or low, not '%.32s'",
                       args->priority);
    const char *lane = args->lane ? args->lane : config_text(conf->config, "lane");
    conf->lane = or_absent(lane);
    if ((args->lane || conf->lane.p) && !lane_name_ok(conf->lane))
        return err_set(err, RC_REJECT,
                       "--lane '%.64s' is no name of a lane: lower-case letters, digits and '-', "
                       "32 at most",
                       lane);
    conf->skips = args->on_error && strcmp(args->on_error, "skip") == 0;
    if (args->on_error && !conf->skips && strcmp(args->on_error, "stop") != 0)
        return err_set(err, RC_REJECT, "--on-error is stop or skip, not '%.32s'", args->on_error);
    conf->model = or_absent(args->model);
    if (args->model && !conf->model.p)
        return err_set(err, RC_REJECT, "--model is empty");
    conf->url = args->url ? span_of(args->url) : SPAN_LIT("/v1/chat/completions");
    int64_t ms;
    return submit_conf_deadline(conf, clock_wall_ms(), &ms, err);
}

/* The whole file, byte for byte. */
static enum rc read_file(const char *path, struct buf *out, struct err *err)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return err_set(err, RC_REJECT, "%s: %s", path, strerror(errno));
    char *room = buf_room(out, FILE_BYTES_MAX + 1);
    size_t n = room ? fread(room, 1, FILE_BYTES_MAX + 1, f) : 0;
    enum rc rc = RC_OK;
    if (!room)
        rc = err_set(err, RC_NOMEM, "%s: no memory", path);
    else if (ferror(f))
        rc = err_set(err, RC_REJECT, "%s: %s", path, strerror(errno));
    else if (n > FILE_BYTES_MAX)
        rc = err_set(err, RC_REJECT, "%s: larger than %d bytes", path, FILE_BYTES_MAX);
    else
        out->n += n;
    fclose(f);
    return rc;
}

static enum rc read_prompt(struct submit_conf *conf, struct err *err)
{
    const struct submit_args *args = conf->args;
    uint8_t hash[HASH_BYTES];
    if (args->prompt && args->prompt_file)
        return err_set(err, RC_REJECT, "--prompt and --prompt-file exclude each other");
    if (!args->prompt && !args->prompt_file)
        return RC_OK;
    if (args->prompt_file) {
        enum rc rc = read_file(args->prompt_file, &conf->prompt_text, err);
        if (rc != RC_OK)
            return err_prefix(err, rc, "--prompt-file");
        conf->prompt = buf_span(&conf->prompt_text);
    } else {
        conf->prompt = span_of(args->prompt);
    }
    hash_sha256(&conf->prompt, 1, hash);
    *hex_encode(hash, sizeof hash, conf->prompt_version) = '\0';
    return RC_OK;
}

/* ---- --output ----------------------------------------------------------------------------- */

static struct span trim(struct span text)
{
    while (text.n > 0 && (*text.p == ' ' || *text.p == '\t')) {
        text.p++;
        text.n--;
    }
    while (text.n > 0 && (text.p[text.n - 1] == ' ' || text.p[text.n - 1] == '\t'))
        text.n--;
    return text;
}

static enum rc read_labels(struct submit_conf *conf, const char *list, struct err *err)
{
    struct span labels[OUTSPEC_LABELS_MAX];
    struct outspec *spec = NULL;
    uint32_t count = 0;
    for (;;) {
        size_t n = strcspn(list, ",");
        if (count == OUTSPEC_LABELS_MAX)
            return err_set(err, RC_REJECT, "--output: more than %d labels", OUTSPEC_LABELS_MAX);
        labels[count++] = trim((struct span){list, n});
        if (list[n] == '\0')
            break;
        list += n + 1;
    }
    enum rc rc = outspec_labels(labels, count, &spec, err);
    outspec_free(spec);
    if (rc == RC_OK)
        rc = job_msg_labels_encode(labels, count, &conf->labels, err);
    conf->label_count = count;
    conf->output_kind = OUTPUT_LABEL;
    return rc == RC_OK ? rc : err_prefix(err, rc, "--output label");
}

static enum rc read_schema(struct submit_conf *conf, const char *schema, struct err *err)
{
    struct outspec *spec = NULL;
    enum rc rc = RC_OK;
    if (*schema == '{')
        rc = buf_add_text(&conf->schema_text, schema) ? RC_OK : err_set(err, RC_NOMEM, "no memory");
    else
        rc = read_file(schema, &conf->schema_text, err);
    if (rc == RC_OK)
        rc = outspec_json(buf_span(&conf->schema_text), &spec, err);
    outspec_free(spec);
    conf->output_kind = OUTPUT_JSON;
    return rc == RC_OK ? rc : err_prefix(err, rc, "--output json");
}

static enum rc read_output(struct submit_conf *conf, struct err *err)
{
    const char *output = conf->args->output ? conf->args->output : "text";
    conf->output_kind = OUTPUT_TEXT;
    if (strcmp(output, "text") == 0)
        return RC_OK;
    if (strncmp(output, "label:", 6) == 0)
        return read_labels(conf, output + 6, err);
    if (strncmp(output, "json:", 5) == 0)
        return read_schema(conf, output + 5, err);
    return err_set(err, RC_REJECT, "--output is text, json:SCHEMA or label:A,B,C, not '%.64s'",
                   output);
}

/* ---- the rest ----------------------------------------------------------------------------- */

static enum rc read_format(struct submit_conf *conf, struct err *err)
{
    static const struct {
        const char *name;
        enum input_format format;
    } formats[] = {{"documents", INPUT_DOCUMENTS},
                   {"lines", INPUT_LINES},
                   {"jsonl", INPUT_JSONL},
                   {"openai", INPUT_OPENAI}};
    const char *name = conf->args->format;
    conf->format = conf->prompt.p ? INPUT_DOCUMENTS : INPUT_REQUESTS;
    if (!name || strcmp(name, "auto") == 0)
        return RC_OK;
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        if (strcmp(name, formats[i].name) != 0)
            continue;
        conf->format = formats[i].format;
        if (conf->prompt.p && conf->format != INPUT_DOCUMENTS && conf->format != INPUT_LINES)
            return err_set(err, RC_REJECT,
                           "--prompt is for documents; lines of --format %s are ready requests",
                           name);
        return RC_OK;
    }
    return err_set(err, RC_REJECT,
                   "--format is auto, documents, lines, jsonl or openai, not '%.32s'", name);
}

void submit_conf_topic(struct submit_conf *conf, const char *lane)
{
    snprintf(conf->topic, sizeof conf->topic, "%s.jobs.%s", config_text(conf->config, "prefix"),
             lane);
}

/* Kafka's rule for names. */
static enum rc read_topic(struct submit_conf *conf, struct err *err)
{
    const char *prefix = config_text(conf->config, "prefix");
    size_t good =
        strspn(prefix, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
    if (prefix[good])
        return err_set(err, RC_REJECT, "prefix: only letters, digits, '.', '_' and '-'");
    submit_conf_topic(conf, conf->lane.p ? conf->lane.p : priority_name(conf->priority));
    conf->record_bytes_max = (size_t)config_int(conf->config, "max_message_bytes");
    return RC_OK;
}

static enum rc read_key(struct submit_conf *conf, struct err *err)
{
    const char *ref = config_text(conf->config, "signing.key");
    struct secret *secret = NULL;
    if (*ref == '\0' && conf->args->dry_run)
        return RC_OK;
    if (*ref == '\0')
        return err_set(err, RC_REJECT,
                       "no signing key: every job is signed. Make one with `openssl rand -hex 32 "
                       ">inferq.key && chmod 600 inferq.key` and set "
                       "INFERQ_SIGNING_KEY=file:inferq.key (or signing.key in the --config file)");
    enum rc rc = secret_load(ref, &secret, err);
    if (rc == RC_OK)
        rc = sign_key_parse(secret_value(secret), &conf->key, err);
    secret_free(secret);
    conf->has_key = rc == RC_OK;
    return rc == RC_OK ? rc : err_prefix(err, rc, "signing.key");
}

/* Connection strings are shown by --print-config and in error messages: no passwords in them. */
static enum rc check_postgres(struct submit_conf *conf, struct err *err)
{
    const char *conninfo = config_text(conf->config, "postgres");
    const char *slashes = strstr(conninfo, "://"), *at = slashes ? strchr(slashes, '@') : NULL;
    const char *colon = at ? memchr(slashes + 3, ':', (size_t)(at - slashes - 3)) : NULL;
    if (strstr(conninfo, "password") || colon)
        return err_set(err, RC_REJECT,
                       "postgres: put the password into PGPASSWORD or a PGPASSFILE, not into the "
                       "connection string");
    return RC_OK;
}

enum rc submit_conf_make(const struct submit_args *args, const struct config *config,
                         struct submit_conf *ret_conf, struct err *err)
{
    static enum rc (*const steps[])(struct submit_conf *, struct err *) = {
        read_names,  read_limits, read_kinds, read_prompt,    read_output,
        read_format, read_topic,  read_key,   check_postgres,
    };
    *ret_conf = (struct submit_conf){.args = args, .config = config};
    buf_init(&ret_conf->prompt_text, FILE_BYTES_MAX + 1);
    buf_init(&ret_conf->schema_text, FILE_BYTES_MAX + 1);
    buf_init(&ret_conf->labels, FILE_BYTES_MAX);
    enum rc rc = RC_OK;
    for (size_t i = 0; rc == RC_OK && i < sizeof steps / sizeof steps[0]; i++)
        rc = steps[i](ret_conf, err);
    return rc;
}

void submit_conf_done(struct submit_conf *conf)
{
    buf_done(&conf->prompt_text);
    buf_done(&conf->schema_text);
    buf_done(&conf->labels);
    sign_key_wipe(&conf->key);
}

/* The last part of the path as far as it makes a good name. */
static void stem_of(const char *path, char out[NAME_STEM_BYTES])
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    size_t n = 0;
    for (; *name && n + 1 < NAME_STEM_BYTES; name++) {
        char c = *name;
        bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                    c == '.' || c == '_';
        out[n++] = good ? c : '-';
    }
    out[n] = '\0';
    if (n == 0)
        snprintf(out, NAME_STEM_BYTES, "root");
}

enum rc submit_conf_batch_name(const struct submit_conf *conf, const struct input *input, char *out,
                               size_t out_bytes, struct err *err)
{
    char stem[NAME_STEM_BYTES], hex[2 * NAME_HASH_BYTES + 1];
    const char *path;
    struct digest digest;
    digest_init(&digest);
    digest_add(&digest,
               (const struct span[]){conf->task, conf->model, conf->url, conf->prompt,
                                     span_of(conf->args->output)},
               5);
    for (int i = 0; (path = input_path(input, i)); i++) {
        if (strcmp(path, "-") == 0)
            return err_set(err, RC_REJECT,
                           "standard input needs a --batch NAME, so that submitting it again is "
                           "known to be the same");
        const struct span field = span_of(path);
        digest_add(&digest, &field, 1);
    }
    stem_of(input_path(input, 0), stem);
    *hex_encode(digest.sum, NAME_HASH_BYTES, hex) = '\0';
    snprintf(out, out_bytes, "%s-%s", stem, hex);
    return RC_OK;
}

enum rc submit_conf_deadline(const struct submit_conf *conf, int64_t now_ms, int64_t *ret_ms,
                             struct err *err)
{
    const char *text = conf->args->deadline;
    int64_t ms = text ? clock_parse(text, now_ms) : 0;
    if (ms < 0)
        return err_set(err, RC_REJECT,
                       "--deadline: '%.64s' is neither a time like 2026-12-31T08:00:00Z nor a span "
                       "like +24h",
                       text);
    if (text && ms <= now_ms)
        return err_set(err, RC_REJECT, "--deadline: %.64s is past", text);
    *ret_ms = ms;
    return RC_OK;
}

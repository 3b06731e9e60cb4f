/*
 * submit.c - the flow: check everything, register the batch, send, seal.
 *
 * Happy path: the input is walked once to check it (nothing is sent before the last record was
 * found good), the batch's row is made in Postgres, the input is walked again and sent, every
 * delivery is confirmed, and the batch is sealed with its total and the digest of what was sent.
 * Input that can be read only once (a pipe) is checked and sent in one walk.
 *
 * Again and again: ids follow from the batch's row, so sending twice makes no job twice. Where the
 * process dies, the row (if it stands) is unsealed; the next run with the same input and name finds
 * the row, sends everything with the same ids and seals. A sealed batch is only compared. Another
 * input under the same name is refused, before anything is sent wherever that can be known.
 *
 * Failure: bad input and refusals of the servers end with status 2, servers that are away with 3;
 * the message says what was done and how to go on.
 */
#include "producer/submit.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/catalogue.h"
#include "common/clock.h"
#include "common/lane_set.h"
#include "common/pg.h"
#include "producer/batch_db.h"
#include "producer/pass.h"
#include "producer/say.h"
#include "producer/stopper.h"
#include "producer/submit_conf.h"
#include "producer/wait.h"

enum {
    DELIVERY_SLICE_MS = 100,
    INTERRUPTED_FLUSH_US = 10 * 1000 * 1000,
    SEAL_RETRIES = 30,
    SEAL_RETRY_MS = 1000,
    BATCH_NAME_BYTES = 128,
};

struct submit {
    struct submit_conf conf;
    struct span batch; /* its name */
    char made_name[BATCH_NAME_BYTES];
    struct progress progress;
    struct encoder encoder;
    struct pass pass; /* holds, and owns, the tools of a walk */
    struct pgc *conn;
    int lane;             /* its code, once the lanes are known */
    struct batch_row row; /* the batch as it stands in Postgres, once it does */
    bool rewinds;         /* the input can be read twice */
    int signal;           /* what interrupted, 0: nothing */
};

/* ---- hints ------------------------------------------------------------------------------- */

static const char *shown_batch(const struct submit *s, char out[BATCH_SHOWN_BYTES])
{
    return batchid_shown(&s->row.id, s->conf.app, s->batch, out);
}

/* ---- set-up ------------------------------------------------------------------------------- */

static enum rc open_input(struct submit *s, struct err *err)
{
    const struct input_conf conf = {
        .paths = s->conf.args->inputs,
        .path_count = s->conf.args->input_count,
        .format = s->conf.format,
        .glob = s->conf.args->include,
        .doc_bytes_max = s->conf.record_bytes_max + (64 << 10), /* what is around a body */
        .stop_fd = s->pass.stop_fd,
    };
    enum rc rc = input_new(&conf, &s->pass.input, err);
    if (rc != RC_OK)
        return rc;
    s->rewinds = input_can_rewind(s->pass.input);
    s->batch = s->conf.batch;
    if (s->batch.p)
        return RC_OK;
    rc = submit_conf_batch_name(&s->conf, s->pass.input, s->made_name, sizeof s->made_name, err);
    s->batch = span_of(s->made_name);
    return rc;
}

/* What all jobs of the batch say. */
static void share(struct submit *s)
{
    const struct submit_conf *conf = &s->conf;
    struct job_msg *msg = &s->encoder.msg;
    *msg = (struct job_msg){
        .batch = s->batch,
        .app = conf->app,
        .task = conf->task,
        .team = conf->team,
        .priority = conf->priority,
        .output_kind = conf->output_kind,
        .context_version = conf->context_version,
        .max_attempts = conf->max_attempts,
        .max_cost_nusd = conf->max_cost_nusd,
    };
    if (conf->output_kind == OUTPUT_JSON)
        msg->output_schema = buf_span(&conf->schema_text);
    if (conf->output_kind == OUTPUT_LABEL) {
        msg->output_labels = buf_span(&conf->labels);
        msg->output_label_count = conf->label_count;
    }
    if (conf->prompt.p)
        msg->prompt_version = span_of(conf->prompt_version);
}

/* From here on jobs have this batch's id and times. Before it is registered, a stand-in of the same
 * size lets the checks see the messages' true lengths. */
static void adopt(struct submit *s, const struct jobid *id, int64_t created_ms, int64_t deadline_ms)
{
    s->encoder.msg.batch_id = *id;
    s->encoder.msg.created_at_ms = created_ms;
    s->encoder.msg.deadline_ms = deadline_ms;
}

static enum rc adopt_stand_in(struct submit *s, struct err *err)
{
    int64_t now_ms = clock_wall_ms(), deadline_ms;
    struct jobid id = batchid_make(now_ms, s->conf.app, s->batch);
    enum rc rc = submit_conf_deadline(&s->conf, now_ms, &deadline_ms, err);
    if (rc == RC_OK)
        adopt(s, &id, now_ms, deadline_ms);
    return rc;
}

static bool renders(const struct submit_conf *conf)
{
    return conf->format == INPUT_DOCUMENTS || conf->format == INPUT_LINES;
}

static enum rc make_tools(struct submit *s, struct err *err)
{
    const struct submit_conf *conf = &s->conf;
    const struct prepare_conf prepare_conf = {
        .prompt = conf->prompt,
        .model = conf->model,
        .max_output_tokens = conf->max_output_tokens,
        .url = conf->url,
        .body_bytes_max = JOB_MSG_BYTES_MAX,
        .renders = renders(conf),
    };
    enum rc rc = open_input(s, err);
    if (rc == RC_OK)
        rc = preparer_new(&prepare_conf, &s->pass.preparer, err);
    if (rc != RC_OK)
        return rc;
    encoder_init(&s->encoder, conf->record_bytes_max);
    share(s);
    s->pass.encoder = &s->encoder;
    s->pass.progress = &s->progress;
    s->pass.skips = conf->skips;
    s->pass.total = -1;
    s->pass.ids = idset_new((size_t)config_int(conf->config, "custom_ids_bytes"));
    if (!s->pass.ids)
        return err_set(err, RC_NOMEM, "no memory");
    return adopt_stand_in(s, err);
}

static void submit_done(struct submit *s)
{
    progress_clear(&s->progress);
    outbox_free(s->pass.outbox);
    estimate_free(s->pass.estimate);
    idset_free(s->pass.ids);
    preparer_free(s->pass.preparer);
    encoder_done(&s->encoder);
    input_free(s->pass.input);
    pgc_close(s->conn);
    submit_conf_done(&s->conf);
}

/* ---- walks -------------------------------------------------------------------------------- */

static enum rc check_pass(struct submit *s, struct pass_result *ret_result, struct err *err)
{
    struct outbox *outbox = s->pass.outbox;
    s->pass.outbox = NULL;
    enum rc rc = pass_run(&s->pass, ret_result, err);
    s->pass.outbox = outbox;
    s->signal = ret_result->signal;
    progress_clear(&s->progress);
    if (rc == RC_OK && ret_result->accepted == 0)
        rc = err_set(err, RC_REJECT, "nothing to submit: the input holds no good record");
    return rc;
}

/* Until every record's fate is known; a signal leaves ten seconds for that. */
static enum rc deliver(struct submit *s, int64_t total, struct err *err)
{
    enum rc rc = RC_OK;
    int64_t until_us = INT64_MAX;
    while (outbox_pending(s->pass.outbox) > 0 && clock_mono_us() < until_us) {
        enum rc served = outbox_serve(s->pass.outbox, DELIVERY_SLICE_MS, err);
        if (served != RC_OK)
            rc = served;
        if (s->signal == 0)
            s->signal = stopper_signal(s->pass.stop_fd, 0);
        if ((s->signal != 0 || rc != RC_OK) && until_us == INT64_MAX)
            until_us = clock_mono_us() + INTERRUPTED_FLUSH_US;
        progress_show(&s->progress, clock_mono_us(), "written", outbox_written(s->pass.outbox),
                      total, 0);
    }
    progress_clear(&s->progress);
    if (rc == RC_OK && s->signal != 0)
        rc = err_set(err, RC_RETRY, "interrupted");
    return rc;
}

/* Sends all there is and waits for the reports. The batch stays unsealed on any failure. */
static enum rc send_pass(struct submit *s, int64_t total, struct pass_result *ret_result,
                         struct err *err)
{
    struct err ignored;
    outbox_begin(s->pass.outbox, &s->row.id);
    adopt(s, &s->row.id, s->row.created_ms, s->row.deadline_ms);
    s->pass.total = total;
    s->pass.quiet = total >= 0;
    enum rc rc = pass_run(&s->pass, ret_result, err);
    s->signal = ret_result->signal;
    if (rc == RC_OK)
        rc = deliver(s, total, err);
    else
        (void)deliver(s, total, &ignored);
    if (rc == RC_OK)
        return RC_OK;
    int64_t written = outbox_written(s->pass.outbox);
    if (written > 0 || s->signal != 0)
        say("%" PRId64 " jobs of batch %.*s were sent, and it is not sealed. Nothing is lost: %s "
            "and run the same command again%s%.*s; no job is done twice",
            written, (int)s->batch.n, s->batch.p,
            rc == RC_REJECT ? "mend what is wrong" : "wait for what is away",
            s->conf.batch.p ? "" : " with --batch ", s->conf.batch.p ? 0 : (int)s->batch.n,
            s->batch.p);
    return rc;
}

/* ---- the catalogue ------------------------------------------------------------------------ */

/* A word before thousands of jobs die of a typing error. It is no refusal: a worker that starts
 * before they are read may bring the model. What cannot be asked is not said. */
static void warn_of_model(struct submit *s)
{
    struct err err;
    struct span model = s->conf.model;
    struct batch_model unused;
    bool has = false, found = false;
    if (!model.p && !renders(&s->conf))
        return; /* each body names its own */
    if (batch_db_has_catalogue(s->conn, &has, &err) != RC_OK || !has ||
        batch_db_model(s->conn, model, s->conf.app, s->conf.task, &found, &unused, &err) != RC_OK ||
        found)
        return;
    if (model.p)
        say("warning: the catalogue has no model %.*s: unless a worker starts first with one that "
            "has, these jobs end dead",
            (int)model.n, model.p);
    else
        say("warning: no --model is given, and the catalogue has no default for this app and task: "
            "unless a worker starts first with one that has, these jobs end dead");
}

/* ---- the batch's row ---------------------------------------------------------------------- */

static const char *shown_time(int64_t ms, char out[CLOCK_RFC3339_BYTES])
{
    clock_rfc3339(ms, out, CLOCK_RFC3339_BYTES);
    return out;
}

/* May jobs still be added to it? */
static enum rc check_row(struct submit *s, int64_t oldest_ms, struct err *err)
{
    char time[CLOCK_RFC3339_BYTES];
    if (s->row.cancelled)
        return err_set(err, RC_REJECT,
                       "batch %.200s was cancelled: to run these jobs, give another --batch name",
                       s->batch.p);
    if (s->row.created_ms < oldest_ms && s->row.total < 0)
        return err_set(err, RC_REJECT,
                       "batch %.200s was begun at %s, and results of that time are no longer kept, "
                       "so nobody could tell which of its jobs ran: give another --batch name",
                       s->batch.p, shown_time(s->row.created_ms, time));
    return RC_OK;
}

/* The row stands and holds a digest: is it this input's? */
static enum rc compare(const struct submit *s, const struct pass_result *result, struct err *err)
{
    if (s->row.has_digest && memcmp(s->row.digest, result->sum, HASH_BYTES) == 0)
        return RC_OK;
    if (!s->row.has_digest)
        return err_set(err, RC_REJECT,
                       "batch %.200s was sealed by hand, so what it holds cannot be compared with "
                       "this input: give another --batch name",
                       s->batch.p);
    return err_set(err, RC_REJECT,
                   "batch %.200s was %s with another input (or other options for its output): give "
                   "a new --batch name, or the input that it had",
                   s->batch.p, s->row.total >= 0 ? "submitted" : "begun");
}

/* --lane; what was begun goes on in its lane, unless the command says otherwise; the rule that fits
 * app and task; the priority's. RC_REJECT: there is no such lane. */
static enum rc choose_lane(struct submit *s, const struct lane_set *lanes, bool begun,
                           struct err *err)
{
    const struct submit_conf *conf = &s->conf;
    const struct lane_entry *lane = NULL;
    if (conf->lane.p) {
        lane = lane_set_find(lanes, conf->lane);
        if (!lane)
            return err_prefix(err, lane_set_unknown(lanes, conf->lane, err), "--lane");
    }
    if (!lane && begun && !conf->args->priority)
        lane = lane_set_code(lanes, s->row.lane);
    if (!lane)
        lane = lane_set_rule(lanes, conf->app, conf->task);
    if (!lane)
        lane = lane_set_code(lanes, conf->priority);
    if (!lane) /* the table's own checks do not let it go */
        return err_set(err, RC_REJECT, "the table inferq.lane lacks the lane of the priority");
    s->lane = lane->code;
    submit_conf_topic(&s->conf, lane->name);
    return RC_OK;
}

static enum rc connect_servers(struct submit *s, bool *ret_found, struct err *err)
{
    int64_t now_ms, oldest_ms;
    struct lane_set lanes;
    const struct outbox_conf outbox_conf = {.config = s->conf.config,
                                            .key = &s->conf.key,
                                            .app = s->conf.app,
                                            .topic = s->conf.topic,
                                            .record_bytes_max = s->conf.record_bytes_max};
    enum rc rc = pgc_open(config_text(s->conf.config, "postgres"), "inferq-submit", &s->conn, err);
    if (rc == RC_OK)
        rc = batch_db_clock(s->conn, &now_ms, &oldest_ms, err);
    if (rc == RC_OK)
        rc = batch_db_find(s->conn, s->conf.app, s->batch, ret_found, &s->row, err);
    if (rc == RC_OK && *ret_found)
        rc = check_row(s, oldest_ms, err);
    if (rc == RC_OK)
        rc = batch_db_lanes(s->conn, &lanes, err);
    if (rc == RC_OK)
        rc = choose_lane(s, &lanes, *ret_found, err);
    if (rc == RC_OK && !(*ret_found && s->row.total >= 0))
        rc = outbox_new(&outbox_conf, &s->pass.outbox, err);
    return rc;
}

static enum rc register_batch(struct submit *s, const uint8_t *sum, struct err *err)
{
    int64_t now_ms, oldest_ms, deadline_ms = 0;
    enum rc rc = batch_db_clock(s->conn, &now_ms, &oldest_ms, err);
    if (rc == RC_OK)
        rc = submit_conf_deadline(&s->conf, now_ms, &deadline_ms, err);
    if (rc != RC_OK)
        return rc;
    const struct batch_want want = {
        .app = s->conf.app,
        .name = s->batch,
        .task = s->conf.task,
        .team = s->conf.team,
        .lane = s->lane,
        .deadline_ms = deadline_ms,
        .digest = sum,
    };
    rc = batch_db_register(s->conn, &want, now_ms, &s->row, err);
    if (rc == RC_OK && s->conf.prompt.p)
        rc = batch_db_add_prompt(s->conn, span_of(s->conf.prompt_version), s->conf.prompt, err);
    return rc == RC_OK ? check_row(s, oldest_ms, err) : rc;
}

/* The connection may have died while millions of records were sent, and Postgres may be starting
 * anew: half a minute is given to it, for what was sent would else be sent again. */
static enum rc seal_patiently(struct submit *s, const struct pass_result *sent, bool *ret_sealed,
                              struct err *err)
{
    const char *conninfo = config_text(s->conf.config, "postgres");
    enum rc rc = batch_db_seal(s->conn, &s->row.id, sent->accepted, sent->sum, ret_sealed, err);
    for (int i = 0; rc == RC_RETRY && i < SEAL_RETRIES; i++) {
        if (i > 0 && (s->signal = stopper_signal(s->pass.stop_fd, SEAL_RETRY_MS)) != 0)
            break;
        pgc_close(s->conn);
        s->conn = NULL;
        rc = pgc_open(conninfo, "inferq-submit", &s->conn, err);
        if (rc == RC_OK)
            rc = batch_db_seal(s->conn, &s->row.id, sent->accepted, sent->sum, ret_sealed, err);
    }
    return rc;
}

static enum rc seal(struct submit *s, const struct pass_result *sent, struct err *err)
{
    bool sealed = false, found = false;
    enum rc rc = seal_patiently(s, sent, &sealed, err);
    if (rc == RC_RETRY)
        say("all %" PRId64
            " jobs of batch %.*s were sent, but it could not be sealed: run the same "
            "command again; no job is done twice",
            sent->accepted, (int)s->batch.n, s->batch.p);
    if (rc != RC_OK || sealed)
        return rc;
    /* Sealed meanwhile: by this very statement, whose answer was lost, or by another submit. */
    rc = batch_db_find(s->conn, s->conf.app, s->batch, &found, &s->row, err);
    return rc == RC_OK && found ? compare(s, sent, err) : rc;
}

/* ---- the ways through --------------------------------------------------------------------- */

/* Checked, sent, sealed; or already so. */
static enum rc submit_batch(struct submit *s, struct pass_result *ret_result, struct err *err)
{
    struct pass_result checked = {.accepted = -1};
    bool found = false;
    enum rc rc = connect_servers(s, &found, err);
    bool was_sealed = rc == RC_OK && found && s->row.total >= 0;
    if (rc == RC_OK && (s->rewinds || was_sealed)) {
        rc = check_pass(s, &checked, err);
        if (rc == RC_OK && found && (s->row.has_digest || was_sealed))
            rc = compare(s, &checked, err);
        *ret_result = checked;
    }
    if (rc != RC_OK || was_sealed)
        return rc;
    warn_of_model(s);
    rc = register_batch(s, s->rewinds ? checked.sum : NULL, err);
    if (rc == RC_OK && s->rewinds) {
        if (s->row.has_digest)
            rc = compare(s, &checked, err); /* another submit may have been quicker */
        input_rewind(s->pass.input);
    }
    if (rc == RC_OK)
        rc = send_pass(s, checked.accepted, ret_result, err);
    if (rc == RC_OK && ret_result->accepted == 0)
        rc = err_set(err, RC_REJECT, "nothing to submit: the input holds no good record");
    if (rc == RC_OK && s->rewinds && memcmp(checked.sum, ret_result->sum, HASH_BYTES) != 0)
        rc = err_set(err, RC_REJECT,
                     "the input changed while it was read, so batch %.200s stays unsealed: submit "
                     "the input under another --batch name once it rests",
                     s->batch.p);
    if (rc == RC_OK && s->row.has_digest && !s->rewinds)
        rc = compare(s, ret_result, err); /* begun from a file, gone on with from a pipe */
    return rc == RC_OK ? seal(s, ret_result, err) : rc;
}

static enum rc wait_for_end(struct submit *s, int *ret_status, struct err *err)
{
    struct batch_counts counts;
    const struct wait_conf conf = {.conninfo = config_text(s->conf.config, "postgres"),
                                   .stop_fd = s->pass.stop_fd,
                                   .progress = &s->progress};
    outbox_free(s->pass.outbox); /* its threads have nothing more to do */
    s->pass.outbox = NULL;
    char shown[BATCH_SHOWN_BYTES];
    enum rc rc = wait_batch(&s->conn, &s->row.id, &conf, &counts, &s->signal, err);
    progress_clear(&s->progress);
    if (s->signal != 0)
        return err_set(
            err, rc, "no longer waiting; the jobs go on, and `inferq batch watch %s` follows them",
            shown_batch(s, shown));
    if (rc != RC_OK)
        return rc;
    /* A dead job that was requeued is judged by its new generation, not by its old end; one whose
     * answer a reviewer accepted has an answer. */
    int64_t jobs = counts.accepted - counts.requeued;
    int64_t failed = jobs - counts.succeeded - counts.dead_accepted;
    if (failed <= 0)
        return RC_OK;
    say("%" PRId64 " of %" PRId64 " jobs did not succeed (%" PRId64 " dead, %" PRId64
        " cancelled, %" PRId64 " expired): `inferq dead list --batch %s` says why, `inferq results "
        "%s --failed` gives their requests",
        failed, jobs, counts.dead - counts.requeued - counts.dead_accepted, counts.cancelled,
        counts.expired, shown_batch(s, shown), shown);
    *ret_status = 1;
    return RC_OK;
}

static void say_sent(const struct submit *s, int64_t jobs)
{
    char shown[BATCH_SHOWN_BYTES];
    if (s->conf.args->wait)
        say("batch %.*s: %" PRId64 " jobs sent to %s", (int)s->batch.n, s->batch.p, jobs,
            s->conf.topic);
    else
        say("batch %.*s: %" PRId64 " jobs sent to %s; `inferq batch watch %s` follows them",
            (int)s->batch.n, s->batch.p, jobs, s->conf.topic, shown_batch(s, shown));
}

static enum rc run_batch(struct submit *s, int *ret_status, struct err *err)
{
    struct pass_result result = {0};
    char id[ID_TEXT_BYTES];
    enum rc rc = submit_batch(s, &result, err);
    if (rc != RC_OK)
        return rc;
    progress_clear(&s->progress);
    if (!s->pass.outbox && s->progress.on)
        say("batch %.*s was submitted before, with the same %" PRId64 " jobs: nothing was sent",
            (int)s->batch.n, s->batch.p, s->row.total);
    else if (s->progress.on)
        say_sent(s, result.accepted);
    if (result.left_out > 0)
        say("%" PRId64 " records were left out", result.left_out);
    *ret_status = result.left_out > 0 ? 1 : 0;
    jobid_text(&s->row.id, id);
    printf("%s\n", id);
    (void)fflush(stdout); /* a reader that went away is no failure */
    return s->conf.args->wait ? wait_for_end(s, ret_status, err) : RC_OK;
}

/* ---- the dry run -------------------------------------------------------------------------- */

struct prices {
    struct catalogue *catalogue; /* NULL: Postgres is asked */
    struct submit *s;
    struct err why; /* Postgres could not be asked */
    bool lanes_known;
};

static enum rc look_up_in_file(const struct prices *p, struct span model, bool *ret_found,
                               struct batch_model *ret_model)
{
    const struct cat_model_version *mv =
        catalogue_route(p->catalogue, model, p->s->conf.app, p->s->conf.task);
    *ret_found = mv != NULL;
    if (!mv)
        return RC_OK;
    const struct cat_price *price = catalogue_price(mv, clock_wall_ms());
    *ret_model =
        (struct batch_model){.max_output_tokens = mv->max_output_tokens, .priced = price != NULL};
    snprintf(ret_model->label, sizeof ret_model->label, "%s", mv->label);
    if (price)
        ret_model->price = price->price;
    return RC_OK;
}

static enum rc look_up(void *arg, struct span model, bool *ret_found, struct batch_model *ret_model,
                       struct err *err)
{
    struct prices *p = arg;
    if (p->catalogue)
        return look_up_in_file(p, model, ret_found, ret_model);
    if (!p->s->conn) {
        *err = p->why;
        return RC_RETRY;
    }
    return batch_db_model(p->s->conn, model, p->s->conf.app, p->s->conf.task, ret_found, ret_model,
                          err);
}

/* Postgres, where it can be asked, knows prices and lanes; a lane that it does not have is said. */
static enum rc ask_lanes(struct prices *p, struct err *err)
{
    struct submit *s = p->s;
    struct lane_set lanes;
    struct err why;
    if (p->catalogue)
        return RC_OK;
    if (pgc_open(config_text(s->conf.config, "postgres"), "inferq-submit", &s->conn, &p->why) !=
        RC_OK)
        return (void)err_prefix(&p->why, RC_RETRY, "no --catalogue FILE, and"), RC_OK;
    p->lanes_known = batch_db_lanes(s->conn, &lanes, &why) == RC_OK;
    return p->lanes_known ? choose_lane(s, &lanes, false, err) : RC_OK;
}

static enum rc dry_run(struct submit *s, int *ret_status, struct err *err)
{
    struct prices prices = {.s = s};
    struct pass_result result;
    enum rc rc = RC_OK;
    const char *file = s->conf.args->catalogue;
    s->pass.estimate = estimate_new();
    if (!s->pass.estimate)
        return err_set(err, RC_NOMEM, "no memory");
    if (file)
        rc = catalogue_load(file, &prices.catalogue, err);
    if (rc == RC_OK)
        rc = ask_lanes(&prices, err);
    if (rc == RC_OK)
        rc = check_pass(s, &result, err);
    if (rc == RC_OK) {
        printf("batch: %.*s, app %.*s, topic %s%s\n", (int)s->batch.n, s->batch.p,
               (int)s->conf.app.n, s->conf.app.p, s->conf.topic,
               prices.lanes_known ? ""
                                  : " (Postgres was not asked: a lane's rule may say otherwise)");
        if (result.left_out > 0)
            printf("left out: %" PRId64 " records\n", result.left_out);
        estimate_print(s->pass.estimate, look_up, &prices, stdout);
        (void)fflush(stdout);
        *ret_status = result.left_out > 0 ? 1 : 0;
    }
    catalogue_free(prices.catalogue);
    return rc;
}

static int status_of(enum rc rc)
{
    switch (rc) {
    case RC_OK:
        return 0;
    case RC_RETRY:
    case RC_NOMEM:
    case RC_FATAL:
        return 3;
    case RC_REJECT:
    case RC_FULL:
        break;
    }
    return 2;
}

int submit_run(const struct submit_args *args, const struct config *config, int stop_fd)
{
    struct submit s = {.pass = {.stop_fd = stop_fd}};
    struct err err = {0};
    int status = 0;
    progress_init(&s.progress, stderr);
    enum rc rc = submit_conf_make(args, config, &s.conf, &err);
    if (rc == RC_OK)
        rc = make_tools(&s, &err);
    if (rc == RC_OK)
        rc = args->dry_run ? dry_run(&s, &status, &err) : run_batch(&s, &status, &err);
    progress_clear(&s.progress);
    if (rc != RC_OK) {
        say("%s", err.text);
        status = s.signal != 0 ? 128 + s.signal : status_of(rc);
    }
    submit_done(&s);
    return status;
}

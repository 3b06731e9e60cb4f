/*
 * bench-floor: what the machine and the libraries allow. A bare loop that guarantees nothing:
 * consume job records, post their bodies to the model, insert the replies in batches. No claim, no
 * fence, no check, no cost, no retry, no careful offset. The worker is measured beside it.
 *
 * Happy path: records out of librdkafka while calls are free (take_records), their bodies posted in
 * place by libcurl (several multi handles on one epoll), the replies collected in batches that go
 * out as two arrays to one prepared statement, one batch under way at a time. After --jobs replies
 * are stored it prints one line of JSON and ends.
 *
 * What goes wrong: any failed call, any status but 200, any refusal by Postgres or Kafka ends the
 * program with a message and status 1: a benchmark with failures measures something else.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <curl/curl.h>
#include <libpq-fe.h>
#include <librdkafka/rdkafka.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/jobid.h"
#include "common/metrics.h"
#include "common/mp_read.h"

enum {
    CALLS_PER_POOL = 256, /* a multi handle searches its connections one by one */
    ROWS_PER_BATCH = 500,
    BATCHES_WAITING = 4, /* beyond them no new calls begin */
    BATCH_BYTES_MAX = 256 << 20,
    REPLY_BYTES_MAX = 1 << 20,
    RECEIVE_BYTES = 2 << 10, /* as the worker does, so that memory can be compared */
    SEND_BYTES = 16 << 10,
    DESCRIPTORS_SPARE = 256,
    EVENTS = 512,
    IDLE_WAIT_MS = 500,
    BUCKETS_MAX = 32,
    UUID_OID = 2950,
    BYTEA_OID = 17,
};

static const char create_sql[] =
    "CREATE SCHEMA IF NOT EXISTS bench;"
    "CREATE TABLE IF NOT EXISTS bench.result (job_id uuid, body bytea, at timestamptz)";
static const char insert_sql[] =
    "INSERT INTO bench.result (job_id, body, at)"
    " SELECT u.job_id, u.body, now() FROM unnest($1::uuid[], $2::bytea[]) u (job_id, body)";

struct options {
    const char *brokers, *topic, *group, *url, *conninfo;
    int64_t jobs, in_flight;
};

struct pool {
    CURLM *multi;
    int64_t due_us; /* when libcurl wants to be called without an event; INT64_MAX: not at all */
    int in_flight;
};

/* One call: an easy handle, used over and over, and the record whose body it posts. */
struct call {
    struct call *next; /* in `idle` */
    struct floor *floor;
    CURL *easy;
    struct pool *pool;
    rd_kafka_message_t *record;
    struct jobid id;
    struct buf reply;
};

/* Two arrays in Postgres's binary form; the counts in their heads are filled in when it is sent. */
struct batch {
    struct buf ids, bodies;
    int rows;
};

/* What stands behind a descriptor: a pool's connection, or one of the two below. */
struct watch {
    struct pool *pool;
    uint32_t events; /* as epoll has it; 0: not there */
};

struct floor {
    struct options o;
    int epoll_fd, wake_read_fd, wake_write_fd;
    struct watch *watches; /* by descriptor */
    int watch_count;

    rd_kafka_t *kafka;
    rd_kafka_queue_t *queue;
    bool more; /* records may lie in librdkafka's queue */

    struct pool *pools;
    int pool_count;
    struct call *calls, *idle;
    struct curl_slist *headers;

    PGconn *pg;
    struct batch *batches; /* a ring: `first` goes out next, `last` takes results */
    int batch_count, first, last;
    bool under_way, pg_wants_write;

    int64_t taken, called, stored;
    int64_t first_us, last_us;  /* CLOCK_MONOTONIC: first record taken, last batch answered */
    int64_t turns[BUCKETS_MAX]; /* by how long they took, up to metric_seconds_buckets[i] */
};

static _Noreturn void die(const char *fmt, ...) PRINTF_LIKE(1, 2);
static void die(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fputs("bench-floor: ", stderr);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

static void *must(void *p)
{
    if (!p)
        die("no memory");
    return p;
}

/* ---- descriptors ---------------------------------------------------------------------------- */

static void watch_fd(struct floor *f, int fd, uint32_t events, struct pool *pool)
{
    if (fd >= f->watch_count)
        die("descriptor %d is out of range", fd);
    struct watch *w = &f->watches[fd];
    struct epoll_event event = {.events = events, .data.fd = fd};
    w->pool = pool;
    if (w->events == events)
        return;
    if (epoll_ctl(f->epoll_fd, w->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) != 0)
        die("epoll_ctl: %s", strerror(errno));
    w->events = events;
}

static void forget_fd(struct floor *f, int fd)
{
    struct watch *w = &f->watches[fd];
    if (w->events)
        (void)epoll_ctl(f->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
    *w = (struct watch){0};
}

/* ---- results -------------------------------------------------------------------------------- */

static void array_begin(struct buf *b, uint32_t oid)
{
    buf_reset(b);
    buf_add_u32be(b, 1);   /* dimensions */
    buf_add_u32be(b, 0);   /* no NULLs */
    buf_add_u32be(b, oid); /* of an element */
    buf_add_u32be(b, 0);   /* elements: see array_end */
    buf_add_u32be(b, 1);   /* lower bound */
}

static void array_end(struct buf *b, int rows)
{
    uint32_t n = (uint32_t)rows;
    char *at = b->p + 12;
    for (int i = 0; i < 4; i++)
        at[i] = (char)(n >> (24 - 8 * i));
}

static void batch_begin(struct batch *b)
{
    array_begin(&b->ids, UUID_OID);
    array_begin(&b->bodies, BYTEA_OID);
    b->rows = 0;
}

static int next_batch(const struct floor *f, int i)
{
    return (i + 1) % f->batch_count;
}

static bool has_room(const struct floor *f)
{
    return (f->last - f->first + f->batch_count) % f->batch_count < BATCHES_WAITING;
}

static void add_result(struct floor *f, const struct call *call)
{
    struct batch *b = &f->batches[f->last];
    if (b->rows == ROWS_PER_BATCH || (f->under_way && f->last == f->first)) {
        f->last = next_batch(f, f->last);
        assert(f->last != f->first);
        b = &f->batches[f->last];
        batch_begin(b);
    }
    buf_add_u32be(&b->ids, ID_BYTES);
    buf_add(&b->ids, call->id.b, ID_BYTES);
    buf_add_u32be(&b->bodies, (uint32_t)call->reply.n);
    buf_add_span(&b->bodies, buf_span(&call->reply));
    if (b->ids.failed || b->bodies.failed)
        die("no memory for results");
    b->rows++;
}

static void pg_push(struct floor *f)
{
    int left = PQflush(f->pg);
    if (left < 0)
        die("Postgres: %s", PQerrorMessage(f->pg));
    f->pg_wants_write = left > 0;
    watch_fd(f, PQsocket(f->pg), EPOLLIN | (left > 0 ? EPOLLOUT : 0), NULL);
}

static void flush_results(struct floor *f)
{
    struct batch *b = &f->batches[f->first];
    if (f->under_way || b->rows == 0)
        return;
    array_end(&b->ids, b->rows);
    array_end(&b->bodies, b->rows);
    const char *values[] = {b->ids.p, b->bodies.p};
    const int lengths[] = {(int)b->ids.n, (int)b->bodies.n}, formats[] = {1, 1};
    if (!PQsendQueryPrepared(f->pg, "insert", 2, values, lengths, formats, 1) ||
        !PQpipelineSync(f->pg))
        die("Postgres: %s", PQerrorMessage(f->pg));
    f->under_way = true;
    pg_push(f);
}

static void batch_stored(struct floor *f)
{
    struct batch *b = &f->batches[f->first];
    f->stored += b->rows;
    f->last_us = clock_mono_us();
    f->under_way = false;
    if (f->first == f->last)
        batch_begin(b);
    else
        f->first = next_batch(f, f->first);
}

static void on_postgres(struct floor *f)
{
    if (!PQconsumeInput(f->pg))
        die("Postgres: %s", PQerrorMessage(f->pg));
    if (f->pg_wants_write)
        pg_push(f);
    while (f->under_way && !PQisBusy(f->pg)) {
        PGresult *result = PQgetResult(f->pg);
        ExecStatusType status = result ? PQresultStatus(result) : PGRES_COMMAND_OK;
        if (status == PGRES_PIPELINE_SYNC)
            batch_stored(f);
        else if (status != PGRES_COMMAND_OK)
            die("Postgres: %s", PQresultErrorMessage(result));
        PQclear(result);
    }
}

static void connect_postgres(struct floor *f)
{
    f->pg = PQconnectdb(f->o.conninfo);
    if (PQstatus(f->pg) != CONNECTION_OK)
        die("Postgres: %s", PQerrorMessage(f->pg));
    PGresult *result = PQexec(f->pg, create_sql);
    if (PQresultStatus(result) != PGRES_COMMAND_OK)
        die("Postgres: %s", PQresultErrorMessage(result));
    PQclear(result);
    result = PQprepare(f->pg, "insert", insert_sql, 0, NULL);
    if (PQresultStatus(result) != PGRES_COMMAND_OK)
        die("Postgres: %s", PQresultErrorMessage(result));
    PQclear(result);
    if (PQsetnonblocking(f->pg, 1) != 0 || !PQenterPipelineMode(f->pg))
        die("Postgres: no pipeline mode");
    watch_fd(f, PQsocket(f->pg), EPOLLIN, NULL);
    /* Those that may wait, one under way, and all that is in flight when the last call begins. */
    f->batch_count = BATCHES_WAITING + 3 + (int)(f->o.in_flight / ROWS_PER_BATCH);
    f->batches = must(calloc((size_t)f->batch_count, sizeof *f->batches));
    for (int i = 0; i < f->batch_count; i++) {
        buf_init(&f->batches[i].ids, BATCH_BYTES_MAX);
        buf_init(&f->batches[i].bodies, BATCH_BYTES_MAX);
        batch_begin(&f->batches[i]);
    }
}

/* ---- calls ---------------------------------------------------------------------------------- */

static size_t on_reply(char *from, size_t size, size_t count, void *arg)
{
    struct call *call = arg;
    return buf_add(&call->reply, from, size * count) ? size * count : 0;
}

/* An idle connection stays in epoll: most are used again at once. */
static int on_interest(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
    struct pool *pool = arg;
    struct call *call = NULL;
    (void)socket_arg;
    (void)curl_easy_getinfo(easy, CURLINFO_PRIVATE, &call);
    if (what != CURL_POLL_REMOVE && call)
        watch_fd(call->floor, fd,
                 (what & CURL_POLL_IN ? EPOLLIN : 0U) | (what & CURL_POLL_OUT ? EPOLLOUT : 0U),
                 pool);
    return 0;
}

static int on_close_socket(void *arg, curl_socket_t fd)
{
    forget_fd(arg, fd);
    return close(fd);
}

static int on_timeout(CURLM *multi, long timeout_ms, void *arg)
{
    struct pool *pool = arg;
    (void)multi;
    pool->due_us = timeout_ms < 0 ? INT64_MAX : clock_mono_us() + (int64_t)timeout_ms * 1000;
    return 0;
}

static void end_call(struct floor *f, struct call *call, CURLcode code)
{
    long status = 0;
    (void)curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
    if (code != CURLE_OK || status != 200)
        die("a call failed: %s, status %ld", curl_easy_strerror(code), status);
    curl_multi_remove_handle(call->pool->multi, call->easy);
    call->pool->in_flight--;
    f->called++;
    add_result(f, call);
    rd_kafka_message_destroy(call->record);
    call->next = f->idle;
    f->idle = call;
}

static void reap(struct floor *f, struct pool *pool)
{
    CURLMsg *message;
    int left = 0;
    while ((message = curl_multi_info_read(pool->multi, &left)) != NULL) {
        struct call *call = NULL;
        (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &call);
        end_call(f, call, message->data.result);
    }
}

static void drive(struct floor *f, struct pool *pool, int fd, int mask)
{
    int running = 0;
    (void)curl_multi_socket_action(pool->multi, fd, mask, &running);
    reap(f, pool);
}

static void drive_due(struct floor *f)
{
    int64_t now = clock_mono_us();
    for (int i = 0; i < f->pool_count; i++)
        if (f->pools[i].due_us <= now) {
            f->pools[i].due_us = INT64_MAX;
            drive(f, &f->pools[i], CURL_SOCKET_TIMEOUT, 0);
        }
}

static struct pool *least_loaded(const struct floor *f)
{
    struct pool *least = &f->pools[0];
    for (int i = 1; i < f->pool_count && least->in_flight > 0; i++)
        if (f->pools[i].in_flight < least->in_flight)
            least = &f->pools[i];
    return least;
}

static void start_call(struct floor *f, rd_kafka_message_t *record, struct jobid id,
                       struct span body)
{
    struct call *call = f->idle;
    f->idle = call->next;
    call->record = record;
    call->id = id;
    call->pool = least_loaded(f);
    buf_reset(&call->reply);
    curl_easy_setopt(call->easy, CURLOPT_POSTFIELDS, body.p);
    curl_easy_setopt(call->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.n);
    if (curl_multi_add_handle(call->pool->multi, call->easy) != CURLM_OK)
        die("libcurl takes no more requests");
    call->pool->in_flight++;
}

static void make_call(struct floor *f, struct call *call)
{
    CURL *easy = call->easy = must(curl_easy_init());
    call->floor = f;
    buf_init(&call->reply, REPLY_BYTES_MAX);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, call);
    curl_easy_setopt(easy, CURLOPT_URL, f->o.url);
    curl_easy_setopt(easy, CURLOPT_POST, 1L);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, f->headers);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)RECEIVE_BYTES);
    curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, (long)SEND_BYTES);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_reply);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, call);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, on_close_socket);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, f);
    call->next = f->idle;
    f->idle = call;
}

static void make_http(struct floor *f)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
    f->headers = must(curl_slist_append(NULL, "Expect:"));
    f->headers = must(curl_slist_append(f->headers, "Content-Type: application/json"));
    f->pool_count = (int)((f->o.in_flight + CALLS_PER_POOL - 1) / CALLS_PER_POOL);
    f->pools = must(calloc((size_t)f->pool_count, sizeof *f->pools));
    long share = (long)f->o.in_flight / f->pool_count + 1;
    for (int i = 0; i < f->pool_count; i++) {
        struct pool *pool = &f->pools[i];
        pool->due_us = INT64_MAX;
        pool->multi = must(curl_multi_init());
        curl_multi_setopt(pool->multi, CURLMOPT_MAXCONNECTS, share + share / 4 + 8);
        curl_multi_setopt(pool->multi, CURLMOPT_SOCKETFUNCTION, on_interest);
        curl_multi_setopt(pool->multi, CURLMOPT_SOCKETDATA, pool);
        curl_multi_setopt(pool->multi, CURLMOPT_TIMERFUNCTION, on_timeout);
        curl_multi_setopt(pool->multi, CURLMOPT_TIMERDATA, pool);
    }
    f->calls = must(calloc((size_t)f->o.in_flight, sizeof *f->calls));
    for (int64_t i = 0; i < f->o.in_flight; i++)
        make_call(f, &f->calls[i]);
}

/* ---- records -------------------------------------------------------------------------------- */

/* Just enough of the message: its id and its body. */
static bool read_record(const rd_kafka_message_t *record, struct jobid *ret_id,
                        struct span *ret_body)
{
    struct mp_cursor c = mp_cursor_of((struct span){record->payload, record->len});
    struct mp_token map, key, value;
    bool has_id = false, has_body = false;
    if (mp_next(&c, &map) != MP_OK || map.type != MP_MAP)
        return false;
    for (uint64_t i = 0; i < map.u && !(has_id && has_body); i++) {
        if (mp_next(&c, &key) != MP_OK)
            return false;
        bool is_id = span_is(key.bytes, "job_id"), is_body = span_is(key.bytes, "body");
        if (!is_id && !is_body) {
            if (mp_skip(&c) != MP_OK)
                return false;
            continue;
        }
        if (mp_next(&c, &value) != MP_OK || value.type != MP_BIN)
            return false;
        if (is_id && value.bytes.n == ID_BYTES) {
            memcpy(ret_id->b, value.bytes.p, ID_BYTES);
            has_id = true;
        } else if (is_body) {
            *ret_body = value.bytes;
            has_body = true;
        }
    }
    return has_id && has_body;
}

static void take_records(struct floor *f)
{
    while (f->more && f->idle && f->taken < f->o.jobs && has_room(f)) {
        rd_kafka_message_t *record = rd_kafka_consumer_poll(f->kafka, 0);
        if (!record) {
            f->more = false;
            return;
        }
        if (record->err)
            die("Kafka: %s", rd_kafka_message_errstr(record));
        struct jobid id = {0};
        struct span body = {0};
        if (!read_record(record, &id, &body))
            die("a record that is no job");
        if (f->taken++ == 0)
            f->first_us = clock_mono_us();
        start_call(f, record, id, body);
    }
}

static void on_wake(struct floor *f)
{
    char bytes[64];
    while (read(f->wake_read_fd, bytes, sizeof bytes) > 0)
        ;
    f->more = true;
}

static void set_kafka(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char why[256];
    if (rd_kafka_conf_set(conf, name, value, why, sizeof why) != RD_KAFKA_CONF_OK)
        die("Kafka: %s: %s", name, why);
}

static void connect_kafka(struct floor *f)
{
    char why[256];
    int pipe_fds[2];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set_kafka(conf, "bootstrap.servers", f->o.brokers);
    set_kafka(conf, "group.id", f->o.group);
    set_kafka(conf, "auto.offset.reset", "earliest");
    f->kafka = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof why);
    if (!f->kafka)
        die("Kafka: %s", why);
    rd_kafka_poll_set_consumer(f->kafka);
    f->queue = must(rd_kafka_queue_get_consumer(f->kafka));
    if (pipe2(pipe_fds, O_NONBLOCK | O_CLOEXEC) != 0)
        die("pipe: %s", strerror(errno));
    f->wake_read_fd = pipe_fds[0];
    f->wake_write_fd = pipe_fds[1];
    rd_kafka_queue_io_event_enable(f->queue, f->wake_write_fd, "1", 1);
    watch_fd(f, f->wake_read_fd, EPOLLIN, NULL);
    rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(topics, f->o.topic, RD_KAFKA_PARTITION_UA);
    rd_kafka_resp_err_t code = rd_kafka_subscribe(f->kafka, topics);
    rd_kafka_topic_partition_list_destroy(topics);
    if (code)
        die("Kafka: %s", rd_kafka_err2str(code));
}

/* ---- the loop ------------------------------------------------------------------------------- */

static void on_event(struct floor *f, const struct epoll_event *event)
{
    int fd = event->data.fd;
    const struct watch *w = &f->watches[fd];
    if (!w->events)
        return; /* closed earlier in this turn */
    if (fd == f->wake_read_fd)
        on_wake(f);
    else if (fd == PQsocket(f->pg))
        on_postgres(f);
    else
        drive(f, w->pool, fd,
              (event->events & EPOLLIN ? CURL_CSELECT_IN : 0) |
                  (event->events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
                  (event->events & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0));
}

static int wait_ms(const struct floor *f)
{
    int64_t next = INT64_MAX, now = clock_mono_us();
    for (int i = 0; i < f->pool_count; i++)
        if (f->pools[i].due_us < next)
            next = f->pools[i].due_us;
    if (next <= now)
        return 0;
    int64_t ms = next == INT64_MAX ? IDLE_WAIT_MS : (next - now + 999) / 1000;
    return ms < IDLE_WAIT_MS ? (int)ms : IDLE_WAIT_MS;
}

/* The same buckets as the worker's inferq_loop_turn_seconds; the last one has no bound. */
static void note_turn(struct floor *f, int64_t took_us)
{
    int i = 0;
    while (metric_seconds_buckets[i] > 0 && (double)took_us / 1e6 > metric_seconds_buckets[i])
        i++;
    assert(i < BUCKETS_MAX);
    f->turns[i]++;
}

static void run(struct floor *f)
{
    struct epoll_event events[EVENTS];
    int64_t woken_us = clock_mono_us();
    while (f->stored < f->o.jobs) {
        take_records(f);
        drive_due(f);
        flush_results(f);
        int ms = wait_ms(f);
        note_turn(f, clock_mono_us() - woken_us);
        int n = epoll_wait(f->epoll_fd, events, EVENTS, ms);
        woken_us = clock_mono_us();
        if (n < 0 && errno != EINTR)
            die("epoll_wait: %s", strerror(errno));
        if (n == 0)
            f->more = true; /* librdkafka wants to be asked now and then */
        for (int i = 0; i < n; i++)
            on_event(f, &events[i]);
    }
}

static void make_loop(struct floor *f)
{
    struct rlimit limit;
    rlim_t wanted = (rlim_t)f->o.in_flight + DESCRIPTORS_SPARE;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_max < wanted)
        die("%" PRId64 " calls in flight need %llu descriptors (ulimit -n)", f->o.in_flight,
            (unsigned long long)wanted);
    if (limit.rlim_cur < wanted) {
        limit.rlim_cur = wanted;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
    /* Descriptors are given from below; connections change hands, so some more than calls. */
    f->watch_count = (int)wanted * 2;
    f->watches = must(calloc((size_t)f->watch_count, sizeof *f->watches));
    f->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (f->epoll_fd < 0)
        die("epoll: %s", strerror(errno));
}

static void unmake(struct floor *f)
{
    for (int64_t i = 0; i < f->o.in_flight; i++) {
        curl_easy_cleanup(f->calls[i].easy);
        buf_done(&f->calls[i].reply);
    }
    for (int i = 0; i < f->pool_count; i++)
        curl_multi_cleanup(f->pools[i].multi);
    for (int i = 0; i < f->batch_count; i++) {
        buf_done(&f->batches[i].ids);
        buf_done(&f->batches[i].bodies);
    }
    PQfinish(f->pg);
    rd_kafka_queue_destroy(f->queue);
    rd_kafka_consumer_close(f->kafka);
    rd_kafka_destroy(f->kafka);
    curl_slist_free_all(f->headers);
    free(f->batches);
    free(f->calls);
    free(f->pools);
    free(f->watches);
}

/* `turns`: pairs of a bucket's upper bound in seconds (null: none) and how many fell into it. */
static void print_figures(const struct floor *f)
{
    printf("{\"jobs\": %" PRId64 ", \"seconds\": %.6f, \"turns\": [", f->stored,
           (double)(f->last_us - f->first_us) / 1e6);
    for (int i = 0; metric_seconds_buckets[i] > 0; i++)
        printf("[%g, %" PRId64 "], ", metric_seconds_buckets[i], f->turns[i]);
    int last = 0;
    while (metric_seconds_buckets[last] > 0)
        last++;
    printf("[null, %" PRId64 "]]}\n", f->turns[last]);
}

/* ---- command line --------------------------------------------------------------------------- */

static int64_t number(const char *name, const char *text, int64_t max)
{
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (end == text || *end || errno || v < 1 || v > max)
        die("%s: '%s' is not a number from 1 to %lld", name, text, (long long)max);
    return v;
}

static void read_option(struct options *o, const char *name, const char *value)
{
    if (strcmp(name, "--jobs") == 0)
        o->jobs = number(name, value, INT64_C(1) << 40);
    else if (strcmp(name, "--in-flight") == 0)
        o->in_flight = number(name, value, 100000);
    else if (strcmp(name, "--topic") == 0)
        o->topic = value;
    else if (strcmp(name, "--group") == 0)
        o->group = value;
    else if (strcmp(name, "--url") == 0)
        o->url = value;
    else if (strcmp(name, "--postgres") == 0)
        o->conninfo = value;
    else
        die("unknown option %s", name);
}

int main(int argc, char **argv)
{
    struct floor f = {.o = {.conninfo = "", .group = "bench-floor", .jobs = 1, .in_flight = 256}};
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc)
            die("usage: bench-floor --topic T --url URL [--group G] [--postgres CONNINFO]"
                " [--jobs N] [--in-flight N]; brokers: KAFKA_BOOTSTRAP_SERVERS");
        read_option(&f.o, argv[i], argv[i + 1]);
    }
    f.o.brokers = getenv("KAFKA_BOOTSTRAP_SERVERS");
    if (!f.o.brokers || !f.o.topic || !f.o.url)
        die("--topic, --url and KAFKA_BOOTSTRAP_SERVERS are needed");
    make_loop(&f);
    connect_postgres(&f);
    make_http(&f);
    connect_kafka(&f);
    run(&f);
    print_figures(&f);
    unmake(&f);
    return fflush(stdout) == 0 ? 0 : 1;
}

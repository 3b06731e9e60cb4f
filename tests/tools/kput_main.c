/*
 * kput: writes any bytes to Kafka, for tests that play a foreign, careless or hostile producer.
 *
 * Happy path: reads JSON lines {"topic", "value", "key"?, "partition"?, "timestamp"?, "headers"?}
 * from standard input (value, key and the values of headers in hex), produces them in order, and
 * prints {"partition", "offset"} for each once all were delivered. Brokers:
 * KAFKA_BOOTSTRAP_SERVERS. What goes wrong: a line that cannot be read, or a record that was not
 * delivered: a message and exit 1; nothing is printed for what was not delivered.
 *
 * It shares no code with the programs under test.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <librdkafka/rdkafka.h>

enum { FLUSH_MS = 30000, POLL_MS = 100, WHY_BYTES = 256 };

/* Where a record came to lie; its address is the record's opaque. */
struct placed {
    struct placed *next;
    int32_t partition;
    int64_t offset;
};

struct bytes {
    void *p; /* owned */
    size_t n;
};

static _Noreturn void die(const char *what, const char *why)
{
    fprintf(stderr, "kput: %s: %s\n", what, why);
    exit(1);
}

static void delivered(rd_kafka_t *rk, const rd_kafka_message_t *message, void *arg)
{
    struct placed *placed = message->_private;
    (void)rk;
    (void)arg;
    if (message->err)
        die("not delivered", rd_kafka_err2str(message->err));
    placed->partition = message->partition;
    placed->offset = message->offset;
}

static rd_kafka_t *connect_producer(void)
{
    char why[WHY_BYTES];
    const char *servers = getenv("KAFKA_BOOTSTRAP_SERVERS");
    const char *const settings[][2] = {{"bootstrap.servers", servers ? servers : ""},
                                       {"enable.idempotence", "true"},
                                       {"partitioner", "murmur2_random"},
                                       {"message.max.bytes", "16777216"},
                                       {"linger.ms", "1"}};
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
        if (rd_kafka_conf_set(conf, settings[i][0], settings[i][1], why, sizeof why) !=
            RD_KAFKA_CONF_OK)
            die(settings[i][0], why);
    rd_kafka_conf_set_dr_msg_cb(conf, delivered);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    if (!rk)
        die("no producer", why);
    return rk;
}

static int nibble(char c)
{
    const char *digits = "0123456789abcdef", *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

static struct bytes from_hex(const json_t *text)
{
    const char *hex = json_string_value(text);
    struct bytes out = {NULL, hex ? strlen(hex) / 2 : 0};
    if (!hex)
        return out;
    unsigned char *bytes = malloc(out.n + 1);
    if (!bytes)
        die("no memory", hex);
    for (size_t i = 0; i < out.n; i++) {
        int high = nibble(hex[2 * i]), low = nibble(hex[2 * i + 1]);
        if (high < 0 || low < 0)
            die("not hex", hex);
        bytes[i] = (unsigned char)(high << 4 | low);
    }
    out.p = bytes;
    return out;
}

static rd_kafka_headers_t *read_headers(json_t *object)
{
    rd_kafka_headers_t *headers = rd_kafka_headers_new(json_object_size(object));
    const char *name;
    json_t *text;
    json_object_foreach(object, name, text)
    {
        struct bytes value = from_hex(text);
        if (rd_kafka_header_add(headers, name, -1, value.p, (ssize_t)value.n))
            die("header not taken", name);
        free(value.p);
    }
    return headers;
}

static void put(rd_kafka_t *rk, json_t *line, struct placed *placed)
{
    const char *topic_name = json_string_value(json_object_get(line, "topic"));
    json_t *partition = json_object_get(line, "partition");
    struct bytes key = from_hex(json_object_get(line, "key"));
    struct bytes value = from_hex(json_object_get(line, "value"));
    rd_kafka_headers_t *headers = read_headers(json_object_get(line, "headers"));
    rd_kafka_resp_err_t code;
    do {
        code = rd_kafka_producev(
            rk, RD_KAFKA_V_TOPIC(topic_name ? topic_name : ""),
            RD_KAFKA_V_PARTITION(partition ? (int32_t)json_integer_value(partition)
                                           : RD_KAFKA_PARTITION_UA),
            RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_KEY(key.p, key.n),
            RD_KAFKA_V_VALUE(value.p, value.n), RD_KAFKA_V_HEADERS(headers),
            RD_KAFKA_V_TIMESTAMP(json_integer_value(json_object_get(line, "timestamp"))),
            RD_KAFKA_V_OPAQUE(placed), RD_KAFKA_V_END);
        rd_kafka_poll(rk, code == RD_KAFKA_RESP_ERR__QUEUE_FULL ? POLL_MS : 0);
    } while (code == RD_KAFKA_RESP_ERR__QUEUE_FULL);
    if (code)
        die("not sent", rd_kafka_err2str(code));
    free(key.p);
    free(value.p);
}

int main(void)
{
    rd_kafka_t *rk = connect_producer();
    struct placed *first = NULL, **last = &first;
    char *text = NULL;
    size_t room = 0;
    while (getline(&text, &room, stdin) > 0) {
        json_error_t why;
        json_t *line = json_loads(text, 0, &why);
        if (!line)
            die("no JSON", why.text);
        struct placed *placed = calloc(1, sizeof *placed);
        if (!placed)
            die("no memory", strerror(errno));
        *last = placed;
        last = &placed->next;
        put(rk, line, placed);
        json_decref(line);
    }
    free(text);
    if (rd_kafka_flush(rk, FLUSH_MS))
        die("not delivered", "no answer in time");
    rd_kafka_destroy(rk);
    for (struct placed *next; first; first = next) {
        next = first->next;
        printf("{\"partition\": %" PRId32 ", \"offset\": %" PRId64 "}\n", first->partition,
               first->offset);
        free(first);
    }
    return fflush(stdout) == 0 ? 0 : 1;
}

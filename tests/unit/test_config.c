/*
 * test_config.c - each type's good and bad texts, which source stands, what errors say, and that
 * what is printed loads again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <unistd.h>

#include "common/config.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define S INT64_C(1000000)

static const struct config_key keys[] = {
    {"endpoint.url", CONFIG_TEXT, NULL, 1, 20, NULL, false, false, "", "Where the model listens."},
    {"endpoint.max-in-flight", CONFIG_INT, "64", 1, 4096, NULL, true, false, "calls", "At once."},
    {"endpoint.key", CONFIG_TEXT, "", 0, 0, NULL, false, true, "", "The credential."},
    {"signature", CONFIG_CHOICE, "off", 0, 0, "off|require", false, false, "", "Checked?"},
    {"drain", CONFIG_DURATION, "30s", S, 600 * S, NULL, true, false, "", "How long a|b."},
    {"budget", CONFIG_BYTES, "64MiB", 4096, INT64_C(1) << 40, NULL, false, false, "", "Memory."},
    {"keepalive", CONFIG_BOOL, "true", 0, 0, NULL, false, false, "", "Reuse connections."},
    {"note", CONFIG_TEXT, "", 0, 0, NULL, false, false, "", "Free text."},
    {"level", CONFIG_INT, "0", 0, 0, NULL, false, false, "", "Any number."},
    {"kafka.prefix", CONFIG_TEXT, "inferq", 0, 0, NULL, false, false, "",
     "Ours, not librdkafka's."},
    {"rate", CONFIG_INT, "5", 1, INT64_MAX, NULL, false, false, "jobs", "No upper end."},
    {0},
};

static char path[] = "/tmp/inferq-test-config-XXXXXX";

static int make_file(void **state)
{
    (void)state;
    int fd = mkstemp(path);
    unsetenv("KAFKA_BOOTSTRAP_SERVERS");
    return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

static void write_file(const char *p, size_t n)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static enum rc load(struct config *c, const char *text, struct err *err)
{
    write_file(text, strlen(text));
    return config_load_file(c, path, err);
}

static void test_defaults(void **state)
{
    (void)state;
    struct config *c = config_new(keys);
    struct err err = {0};
    const char *name, *value;
    assert_int_equal(config_int(c, "endpoint.max-in-flight"), 64);
    assert_int_equal(config_int(c, "signature"), 0);
    assert_int_equal(config_int(c, "drain"), 30 * S);
    assert_int_equal(config_int(c, "budget"), 64 << 20);
    assert_int_equal(config_int(c, "keepalive"), 1);
    assert_string_equal(config_text(c, "endpoint.url"), "");
    assert_string_equal(config_text(c, "note"), "");
    assert_string_equal(config_text(c, "drain"), "30s");
    assert_string_equal(config_origin(c, "drain"), "default");
    assert_false(config_kafka_entry(c, 0, &name, &value));
    assert_int_equal(config_check(c, &err), RC_REJECT);
    assert_string_equal(err.text, "endpoint.url is required: set it in the file, as "
                                  "INFERQ_ENDPOINT_URL, or as a flag (Where the model listens.)");
    assert_int_equal(config_set(c, "endpoint.url", "", &err), RC_OK); /* still not there */
    assert_int_equal(config_check(c, &err), RC_REJECT);
    assert_int_equal(config_set(c, "endpoint.url", "http://x", &err), RC_OK);
    assert_int_equal(config_check(c, &err), RC_OK);
    config_free(c);
    config_free(NULL);
}

static void test_values(void **state)
{
    (void)state;
    static const struct {
        const char *key, *text;
        int64_t num;
    } rows[] = {
        {"endpoint.max-in-flight", "1", 1},
        {"endpoint.max-in-flight", "4096", 4096},
        {"endpoint.max-in-flight", " 0012\t", 12},
        {"level", "-5", -5},
        {"level", "9223372036854775807", INT64_MAX},
        {"level", "-9223372036854775808", INT64_MIN},
        {"drain", "1000000us", S},
        {"drain", "1000ms", S},
        {"drain", "3s", 3 * S},
        {"drain", "5m", 300 * S},
        {"drain", "10m", 600 * S},
        {"budget", "4096", 4096},
        {"budget", "64KiB", 65536},
        {"budget", "1MiB", 1 << 20},
        {"budget", "2GiB", INT64_C(2) << 30},
        {"budget", "1TiB", INT64_C(1) << 40},
        {"signature", "off", 0},
        {"signature", "require", 1},
        {"keepalive", "true", 1},
        {"keepalive", "yes", 1},
        {"keepalive", "on", 1},
        {"keepalive", "1", 1},
        {"keepalive", "false", 0},
        {"keepalive", "no", 0},
        {"keepalive", "off", 0},
        {"keepalive", "0", 0},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct config *c = config_new(keys);
        struct err err = {0};
        if (config_set(c, rows[i].key, rows[i].text, &err) != RC_OK)
            fail_msg("%s: %s", rows[i].text, err.text);
        assert_int_equal(config_int(c, rows[i].key), rows[i].num);
        assert_string_equal(config_origin(c, rows[i].key), "flag");
        config_free(c);
    }
}

static void test_bad_values(void **state)
{
    (void)state;
    static const struct {
        const char *key, *text, *says;
    } rows[] = {
        {"endpoint.max-in-flight", "0", "0 is out of range: from 1 to 4096"},
        {"endpoint.max-in-flight", "4097", "4097 is out of range: from 1 to 4096"},
        {"endpoint.max-in-flight", "-1", "out of range"},
        {"endpoint.max-in-flight", "99999999999999999999", "out of range"},
        {"endpoint.max-in-flight", "", "'' is not a whole number"},
        {"endpoint.max-in-flight", "+5", "not a whole number"},
        {"endpoint.max-in-flight", "5 # calls", "not a whole number"},
        {"endpoint.max-in-flight", "0x10", "not a whole number"},
        {"endpoint.max-in-flight", "1e3", "not a whole number"},
        {"level", "9223372036854775808", "too large"},
        {"level", "-9223372036854775809", "too large"},
        {"level", "-", "not a whole number"},
        {"drain", "30", "'30' is not a duration such as 250ms, 3s, 5m, 2h or 7d"},
        {"drain", "30 s", "not a duration"},
        {"drain", "1.5s", "not a duration"},
        {"drain", "1m30s", "not a duration"},
        {"drain", "s", "not a duration"},
        {"drain", "30S", "not a duration"},
        {"drain", "999ms", "999ms is out of range: from 1s to 10m"},
        {"drain", "11m", "out of range"},
        {"drain", "0", "out of range"},
        {"drain", "9223372036854775807d", "out of range"},
        {"budget", "64KB", "'64KB' is not a size such as 4096, 64KiB, 1MiB or 2GiB"},
        {"budget", "64k", "not a size"},
        {"budget", "4095", "from 4KiB to 1TiB"},
        {"budget", "2TiB", "out of range"},
        {"budget", "9223372036854775807GiB", "out of range"},
        {"signature", "", "'' is none of off|require"},
        {"signature", "of", "none of"},
        {"signature", "off|require", "none of"},
        {"signature", "Off", "none of"},
        {"keepalive", "", "neither true nor false"},
        {"keepalive", "True", "neither true nor false"},
        {"endpoint.url", "123456789012345678901", "21 bytes long: must be from 1 to 20 bytes"},
        {"note", "a\x1b[31m", "control characters"},
        {"note", "a\nb", "control characters"},
        {"endpoint.key", "sk-verysecret", "never written here"},
        {"nonsense", "verysecret", "unknown key 'nonsense': --help lists the keys"},
        {"", "x", "unknown key ''"},
        {"drian", "3s", "unknown key 'drian': did you mean 'drain'?"},
        {"endpoint.max_in_flight", "3", "did you mean 'endpoint.max-in-flight'?"},
        {"endpont.url", "x", "did you mean 'endpoint.url'?"},
        {"Drain", "3s", "did you mean 'drain'?"},
        {"kafka.", "x", "librdkafka's name"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct config *c = config_new(keys);
        struct err err = {0};
        assert_int_equal(config_set(c, rows[i].key, rows[i].text, &err), RC_REJECT);
        if (!strstr(err.text, rows[i].says))
            fail_msg("%s = %s: %s", rows[i].key, rows[i].text, err.text);
        assert_memory_equal(err.text, "command line: ", 14);
        assert_null(strstr(err.text, "verysecret"));
        config_free(c);
    }
    char longest[CONFIG_TEXT_MAX_BYTES + 2];
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    struct config *c = config_new(keys);
    assert_int_equal(config_set(c, "note", longest, NULL), RC_REJECT);
    assert_int_equal(config_set(c, longest, "x", NULL), RC_REJECT);
    assert_int_equal(config_set(c, "note", longest + 1, NULL), RC_OK);
    config_free(c);
}

static void test_file(void **state)
{
    (void)state;
    struct config *c = config_new(keys);
    struct err err = {0};
    const char *name, *value;
    char origin[80];
    assert_int_equal(load(c,
                          "\xef\xbb\xbf# a comment\r\n\n  \t \r\n"
                          "endpoint.url = http://a=b#c\r\n"
                          "  drain=5s\n"
                          "note =\n"
                          "endpoint.key = env:KEY\n"
                          "kafka.prefix = mine\n"
                          "kafka.bootstrap.servers = h:1,g:2\n"
                          "kafka.client.id = x y",
                          &err),
                     RC_OK);
    assert_string_equal(config_text(c, "endpoint.url"), "http://a=b#c");
    assert_int_equal(config_int(c, "drain"), 5 * S);
    assert_string_equal(config_text(c, "note"), "");
    assert_string_equal(config_text(c, "endpoint.key"), "env:KEY");
    assert_string_equal(config_text(c, "kafka.prefix"), "mine");
    snprintf(origin, sizeof origin, "%s:5", path);
    assert_string_equal(config_origin(c, "drain"), origin);
    assert_true(config_kafka_entry(c, 0, &name, &value));
    assert_string_equal(name, "bootstrap.servers");
    assert_string_equal(value, "h:1,g:2");
    assert_true(config_kafka_entry(c, 1, &name, &value));
    assert_string_equal(name, "client.id");
    assert_string_equal(value, "x y");
    assert_false(config_kafka_entry(c, 2, &name, &value));
    config_free(c);
}

static void test_bad_files(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says; /* behind the path */
    } rows[] = {
        {"drain = 5s\ndrian = 5s\n", ":2: unknown key 'drian': did you mean 'drain'?"},
        {"\n\ndrain = 5\n", ":3: drain: '5' is not a duration"},
        {"drain\n", ":1: not of the form 'key = value'"},
        {"[section]\n", ":1: not of the form"},
        {"= 5s\n", ":1: no key before '='"},
        {"drain = 5s\n#\nkafka.a = 1\ndrain = 6s\n", ":4: drain: already set at "},
        {"kafka.a = 1\nkafka.a = 2", ":2: kafka.a: already set at "},
        {"no\x1bte = 5\n", ":1: the line holds control characters"},
        {"endpoint.key = verysecret\n", ":1: endpoint.key: a secret is never written here"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct config *c = config_new(keys);
        struct err err = {0};
        assert_int_equal(load(c, rows[i].text, &err), RC_REJECT);
        assert_memory_equal(err.text, path, strlen(path));
        if (strncmp(err.text + strlen(path), rows[i].says, strlen(rows[i].says)) != 0)
            fail_msg("%s", err.text);
        assert_null(strstr(err.text, "verysecret"));
        config_free(c);
    }
    struct config *c = config_new(keys);
    struct err err = {0};
    assert_int_equal(config_load_file(c, "/nowhere/at/all", &err), RC_REJECT);
    assert_string_equal(err.text, "/nowhere/at/all: No such file or directory");
    assert_int_equal(config_load_file(c, "/tmp", &err), RC_REJECT);
    write_file("drain = 5s\0\n", 12);
    assert_int_equal(config_load_file(c, path, &err), RC_REJECT);
    assert_non_null(strstr(err.text, "NUL bytes"));
    char *big = malloc(CONFIG_FILE_MAX_BYTES + 1);
    memset(big, '\n', CONFIG_FILE_MAX_BYTES + 1);
    write_file(big, CONFIG_FILE_MAX_BYTES + 1);
    assert_int_equal(config_load_file(c, path, &err), RC_REJECT);
    assert_non_null(strstr(err.text, "larger than 1 MiB"));
    write_file(big, CONFIG_FILE_MAX_BYTES);
    assert_int_equal(config_load_file(c, path, &err), RC_OK);
    free(big);
    config_free(c);
}

/* The pass-through keys are bounded too. */
static void test_kafka_cap(void **state)
{
    (void)state;
    struct config *c = config_new(keys);
    struct err err = {0};
    char key[32];
    for (int i = 0; i < CONFIG_KAFKA_MAX; i++) {
        snprintf(key, sizeof key, "kafka.k%d", i);
        assert_int_equal(config_set(c, key, "v", &err), RC_OK);
    }
    assert_int_equal(config_set(c, "kafka.one.more", "v", &err), RC_REJECT);
    assert_int_equal(config_set(c, "kafka.k7", "again", &err), RC_OK);
    config_free(c);
}

static const char *kafka_value(const struct config *c, const char *want)
{
    const char *name, *value;
    for (size_t i = 0; config_kafka_entry(c, i, &name, &value); i++)
        if (strcmp(name, want) == 0)
            return value;
    return NULL;
}

static void test_environment(void **state)
{
    (void)state;
    struct config *c = config_new(keys);
    struct err err = {0};
    setenv("INFERQ_ENDPOINT_MAX_IN_FLIGHT", " 7 ", 1);
    setenv("INFERQ_DRAIN", "", 1); /* empty: not set */
    setenv("INFERQ_KAFKA_SSL_CA_LOCATION", "/ca.pem", 1);
    setenv("INFERQ_KAFKA_CLIENT_ID", "", 1);
    setenv("INFERQ_KAFKA_PREFIX", "mine", 1); /* a key of ours */
    setenv("INFERQ_OF_ANOTHER_PROGRAM", "x", 1);
    setenv("KAFKA_BOOTSTRAP_SERVERS", "common:1", 1);
    assert_int_equal(config_load_env(c, &err), RC_OK);
    assert_int_equal(config_int(c, "endpoint.max-in-flight"), 7);
    assert_string_equal(config_origin(c, "endpoint.max-in-flight"), "environment");
    assert_int_equal(config_int(c, "drain"), 30 * S);
    assert_string_equal(kafka_value(c, "ssl.ca.location"), "/ca.pem");
    assert_string_equal(kafka_value(c, "bootstrap.servers"), "common:1");
    assert_null(kafka_value(c, "client.id"));
    assert_null(kafka_value(c, "prefix"));
    assert_string_equal(config_text(c, "kafka.prefix"), "mine");
    setenv("INFERQ_KAFKA_BOOTSTRAP_SERVERS", "own:1", 1);
    assert_int_equal(config_load_env(c, &err), RC_OK);
    assert_string_equal(kafka_value(c, "bootstrap.servers"), "own:1");
    setenv("INFERQ_DRAIN", "soon", 1);
    assert_int_equal(config_load_env(c, &err), RC_REJECT);
    assert_memory_equal(err.text, "environment variable INFERQ_DRAIN: drain: 'soon' is not", 55);
    unsetenv("INFERQ_ENDPOINT_MAX_IN_FLIGHT");
    unsetenv("INFERQ_DRAIN");
    unsetenv("INFERQ_KAFKA_SSL_CA_LOCATION");
    unsetenv("INFERQ_KAFKA_CLIENT_ID");
    unsetenv("INFERQ_KAFKA_PREFIX");
    unsetenv("INFERQ_KAFKA_BOOTSTRAP_SERVERS");
    unsetenv("INFERQ_OF_ANOTHER_PROGRAM");
    unsetenv("KAFKA_BOOTSTRAP_SERVERS");
    config_free(c);
}

/* Whatever the order of the calls: flag over environment over file over default. */
static void test_precedence(void **state)
{
    (void)state;
    static const char *const orders[] = {"fes", "fse", "efs", "esf", "sfe", "sef"};
    setenv("INFERQ_LEVEL", "2", 1);
    setenv("INFERQ_BUDGET", "2MiB", 1);
    setenv("KAFKA_BOOTSTRAP_SERVERS", "common:1", 1);
    for (size_t i = 0; i < COUNT(orders); i++) {
        struct config *c = config_new(keys);
        struct err err = {0};
        for (const char *p = orders[i]; *p; p++) {
            enum rc rc = *p == 'e'   ? config_load_env(c, &err)
                         : *p == 's' ? config_set(c, "level", "3", &err)
                                     : load(c,
                                            "level = 1\nbudget = 1MiB\ndrain = 1s\n"
                                            "kafka.bootstrap.servers = file:1\n",
                                            &err);
            assert_int_equal(rc, RC_OK);
        }
        assert_int_equal(config_int(c, "level"), 3);
        assert_int_equal(config_int(c, "budget"), 2 << 20);
        assert_int_equal(config_int(c, "drain"), S);
        assert_string_equal(kafka_value(c, "bootstrap.servers"), "common:1");
        assert_int_equal(load(c, "drain = 2s\n", &err), RC_OK); /* a later file */
        assert_int_equal(config_int(c, "drain"), 2 * S);
        config_free(c);
    }
    unsetenv("INFERQ_LEVEL");
    unsetenv("INFERQ_BUDGET");
    unsetenv("KAFKA_BOOTSTRAP_SERVERS");
}

static char *printed(const struct config *c)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    assert_non_null(f);
    config_print(c, f);
    fclose(f);
    return text;
}

/* A second reading of the same table: what differs, and the reloadable keys change sides. */
static void test_reload(void **state)
{
    (void)state;
    struct config *a = config_new(keys), *b = config_new(keys);
    assert_int_equal(config_set(a, "endpoint.url", "http://a", NULL), RC_OK);
    assert_int_equal(config_set(b, "endpoint.url", "http://b", NULL), RC_OK);
    assert_int_equal(config_set(a, "drain", "60s", NULL), RC_OK);
    assert_int_equal(config_set(b, "drain", "1m", NULL), RC_OK);
    assert_int_equal(config_set(b, "endpoint.max-in-flight", "7", NULL), RC_OK);
    assert_false(config_same(a, b, "endpoint.url"));
    assert_true(config_same(a, b, "drain")); /* the same time, written otherwise */
    assert_true(config_same(a, b, "note"));
    assert_false(config_same(a, b, "endpoint.max-in-flight"));

    assert_true(config_same_kafka(a, b));
    assert_int_equal(config_set(a, "kafka.client.id", "x", NULL), RC_OK);
    assert_false(config_same_kafka(a, b));
    assert_int_equal(config_set(b, "kafka.group.id", "x", NULL), RC_OK);
    assert_false(config_same_kafka(a, b));
    assert_int_equal(config_set(a, "kafka.group.id", "x", NULL), RC_OK);
    assert_int_equal(config_set(b, "kafka.client.id", "y", NULL), RC_OK);
    assert_false(config_same_kafka(a, b));
    assert_int_equal(config_set(b, "kafka.client.id", "x", NULL), RC_OK);
    assert_true(config_same_kafka(a, b));

    const char *url = config_text(a, "endpoint.url");
    config_take_reloadable(a, b);
    assert_int_equal(config_int(a, "endpoint.max-in-flight"), 7);
    assert_string_equal(config_origin(a, "endpoint.max-in-flight"), "flag");
    assert_int_equal(config_int(b, "endpoint.max-in-flight"), 64);
    assert_ptr_equal(config_text(a, "endpoint.url"), url); /* others may hold on to it */
    config_free(b);
    assert_string_equal(url, "http://a");
    config_free(a);
}

static void test_print(void **state)
{
    (void)state;
    struct config *c = config_new(keys), *again = config_new(keys);
    struct err err = {0};
    char *text = printed(c);
    assert_non_null(strstr(text, "# endpoint.url: required, not set\n"));
    free(text);
    assert_int_equal(load(c,
                          "endpoint.url = u\nendpoint.key = env:VERYSECRET\ndrain = 90s\n"
                          "kafka.sasl.password = VERYSECRET\nkafka.client.id = me\n",
                          &err),
                     RC_OK);
    assert_int_equal(config_set(c, "level", "-3", &err), RC_OK);
    text = printed(c);
    assert_null(strstr(text, "VERYSECRET"));
    assert_non_null(strstr(text, "\n# endpoint.key = (set)\n"));
    assert_non_null(strstr(text, "\n# kafka.sasl.password = (set)\n"));
    assert_non_null(strstr(text, "# from: flag\nlevel = -3\n"));
    if (load(again, text, &err) != RC_OK)
        fail_msg("%s", err.text);
    for (const struct config_key *k = keys; k->name; k++)
        if (!k->secret)
            assert_string_equal(config_text(again, k->name), config_text(c, k->name));
    assert_string_equal(kafka_value(again, "client.id"), "me");
    free(text);
    config_free(c);
    config_free(again);
}

static void test_reference(void **state)
{
    (void)state;
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    config_markdown(keys, f);
    fclose(f);
    static const char want[] =
        "| Key | Type | Default | Range | Reload | Meaning |\n"
        "|---|---|---|---|---|---|\n"
        "| `endpoint.url` | text | required | 1 to 20 bytes | no | Where the model listens. |\n"
        "| `endpoint.max-in-flight` | number | `64` | 1 to 4096 calls | yes | At once. |\n"
        "| `endpoint.key` | secret | none | env:NAME or file:PATH | no | The credential. |\n"
        "| `signature` | choice | `off` | off, require | no | Checked? |\n"
        "| `drain` | duration | `30s` | 1s to 10m | yes | How long a\\|b. |\n"
        "| `budget` | size | `64MiB` | 4KiB to 1TiB | no | Memory. |\n"
        "| `keepalive` | true or false | `true` |  | no | Reuse connections. |\n"
        "| `note` | text | none |  | no | Free text. |\n"
        "| `level` | number | `0` |  | no | Any number. |\n"
        "| `kafka.prefix` | text | `inferq` |  | no | Ours, not librdkafka's. |\n"
        "| `rate` | number | `5` | at least 1 jobs | no | No upper end. |\n";
    assert_string_equal(text, want);
    free(text);
    f = open_memstream(&text, &n);
    config_help(keys, f);
    fclose(f);
    assert_non_null(strstr(text, "  endpoint.url  (text: 1 to 20 bytes; required)\n"
                                 "      Where the model listens.\n"
                                 "  endpoint.max-in-flight  (number: 1 to 4096 calls; default 64; "
                                 "reloadable)\n"));
    for (const struct config_key *k = keys; k->name; k++)
        assert_non_null(strstr(text, k->name));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),    cmocka_unit_test(test_values),
        cmocka_unit_test(test_bad_values),  cmocka_unit_test(test_file),
        cmocka_unit_test(test_bad_files),   cmocka_unit_test(test_kafka_cap),
        cmocka_unit_test(test_environment), cmocka_unit_test(test_precedence),
        cmocka_unit_test(test_reload),      cmocka_unit_test(test_print),
        cmocka_unit_test(test_reference),
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}

/*
 * kafka_setting.c - see kafka_setting.h. librdkafka quotes a refused value in its complaint, so for
 * names that may hold a secret the complaint is left out.
 */
#include "common/kafka_setting.h"

#include <stdbool.h>
#include <string.h>

static bool is_secret(const char *name)
{
    static const char *const parts[] = {"password", "secret", "pem", "oauthbearer", "jaas"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (strstr(name, parts[i]))
            return true;
    return false;
}

enum rc kafka_setting(rd_kafka_conf_t *conf, const char *name, const char *value, struct err *err)
{
    char why[256];
    if (rd_kafka_conf_set(conf, name, value, why, sizeof why) == RD_KAFKA_CONF_OK)
        return RC_OK;
    return err_set(err, RC_REJECT, "kafka.%s: %s", name,
                   is_secret(name) ? "librdkafka refuses this value" : why);
}

/*
 * sqldump: prints the worker's statements and the settings of its connections as JSON, so that a
 * test can EXPLAIN exactly what runs: {"sync": [SET...], "keep": [SET...], "statements":
 * [{"connection", "name", "sql"}...]}.
 */
#include <stdio.h>

#include <jansson.h>

#include "worker/store_sql.h"

static json_t *settings(const char *const *texts)
{
    json_t *list = json_array();
    for (; *texts; texts++)
        json_array_append_new(list, json_string(*texts));
    return list;
}

static void add_statements(json_t *list, const char *connection, const struct pg_stmt *statements)
{
    for (const struct pg_stmt *s = statements; s->name; s++)
        json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "connection", connection, "name",
                                              s->name, "sql", s->sql));
}

int main(void)
{
    json_t *list = json_array();
    add_statements(list, "claim", store_sql_claim);
    add_statements(list, "store", store_sql_store);
    add_statements(list, "keep", store_sql_keep);
    json_t *all = json_pack("{s:o, s:o, s:o}", "sync", settings(store_settings_sync), "keep",
                            settings(store_settings_keep), "statements", list);
    int failed = !all || json_dumpf(all, stdout, JSON_INDENT(1)) != 0;
    json_decref(all);
    return failed || fflush(stdout) != 0 ? 1 : 0;
}

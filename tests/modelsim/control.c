#include "tests/modelsim/server.h"

/*
 * Purpose: what tests ask and order at run time. Never delayed, never spoilt, not witnessed.
 * Failure: an unknown path is 404, a script that does not parse is 400 with the line at fault.
 */
#include <string.h>

static void answer(struct conn *conn, int status, const char *type, const struct buf *b)
{
    reply_plain(status, type, b->data == NULL ? "" : b->data, b->len, conn->keep_alive,
                &conn->reply);
}

static void load(struct server *server, struct conn *conn, const char *body, size_t len)
{
    struct buf b = {0};
    struct err err;
    struct span text = {body, len};
    enum rc rc = conn->change
                     ? script_change(server->script, text, &err)
                     : script_load(server->script, text, conn->append, server->now_us, &err);
    if (rc == RC_OK) {
        buf_printf(&b, "{\"rules\":%zu}\n", script_count(server->script));
    } else {
        buf_add_text(&b, "{\"error\":");
        buf_add_json_string(&b, err.text, strlen(err.text));
        buf_add_text(&b, "}\n");
    }
    answer(conn, rc == RC_OK ? 200 : 400, "application/json", &b);
    buf_done(&b);
}

void control_answer(struct server *server, struct conn *conn, const char *body, size_t len)
{
    struct buf b = {0};
    const char *path = conn->target;
    bool get = conn->method == METHOD_GET;
    bool post = conn->method == METHOD_POST;
    if (post && strcmp(path, "/control") == 0) {
        load(server, conn, body, len);
    } else if (get && strcmp(path, "/control") == 0) {
        struct span text = script_text(server->script);
        reply_plain(200, "text/plain", text.at, text.len, conn->keep_alive, &conn->reply);
    } else if (get && strcmp(path, "/healthz") == 0) {
        buf_printf(&b, "{\"status\":\"ok\",\"connections\":%zu}\n", server->connections);
        answer(conn, 200, "application/json", &b);
    } else if (get && strcmp(path, "/witness") == 0) {
        size_t unverified = server->ledger == NULL ? 0 : ledger_open(server->ledger);
        struct buf limits = {0};
        script_summary(server->script, &limits);
        witness_summary(server->witness, unverified, (struct span){limits.data, limits.len}, &b);
        buf_done(&limits);
        answer(conn, 200, "application/json", &b);
    } else if (post && strcmp(path, "/witness/reset") == 0) {
        witness_reset(server->witness);
        script_reset_summary(server->script);
        buf_add_text(&b, "{}\n");
        answer(conn, 200, "application/json", &b);
    } else {
        buf_add_text(&b, "{\"error\":\"wrong method\"}\n");
        answer(conn, 405, "application/json", &b);
    }
    buf_done(&b);
}

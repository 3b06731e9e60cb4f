/*
 * audit.c - writes the audit log's rows.
 */
#include "admin/audit.h"

enum rc audit(struct ctx *ctx, const char *action, const char *subject, const char *detail,
              struct err *err)
{
    char actor[ACTOR_BYTES];
    struct pg_params *p = pg_params_new();
    enum rc rc = cmd_have(p, err);
    if (rc != RC_OK)
        return rc;
    pg_add_text(p, span_of(ctx_actor(ctx, actor)));
    pg_add_text(p, span_of(action));
    pg_add_text(p, span_of(subject));
    pg_add_text(p, span_of(detail));
    rc = ctx_exec(ctx,
                  "INSERT INTO audit_log (actor, action, subject, detail) VALUES ($1, $2, $3, $4)",
                  p, NULL, err);
    pg_params_free(p);
    return rc;
}

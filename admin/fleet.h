/*
 * fleet.h - pieces of SQL that commands about workers and endpoints share.
 */
#ifndef INFERQ_ADMIN_FLEET_H
#define INFERQ_ADMIN_FLEET_H

/* Of `worker w`. A silent one's lease is over and nobody has fenced it yet; a fenced one's jobs
 * are others', and if its process lives it goes on under a new id. */
#define WORKER_STATE                                                                 \
    "CASE WHEN w.stopped_at IS NOT NULL THEN 'stopped' WHEN w.fenced THEN 'fenced' " \
    "WHEN w.lease_until < now() THEN 'silent' "                                      \
    "WHEN w.drain_requested_at IS NOT NULL THEN 'draining' ELSE 'alive' END"

/* No call that can still be in flight was claimed before: an endpoint's timeout bounds each. It
 * keeps what is read of the ledger to its youngest part. */
#define CALLS_LIVE_SINCE                                                                    \
    "now() - (SELECT greatest(coalesce(max(timeout_ms), 0), 60000) + 60000 FROM endpoint) " \
    "* interval '1 millisecond'"

/* Of `call c`: it ended within the last minute and gave its job's result. */
#define CALL_GAVE_RESULT                                                        \
    "c.done_at > now() - interval '1 minute' AND EXISTS (SELECT FROM result r " \
    "WHERE r.job_id = c.job_id AND r.call_number = c.number)"

#endif

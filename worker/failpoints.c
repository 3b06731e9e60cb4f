/*
 * failpoints.c - see failpoints.h. Empty in release builds. test_failpoints.c holds this table
 * against the sources: each place stands once in its file, none is missing here, and the arrows are
 * those of the path.
 */
#include "worker/failpoints.h"

#ifdef INFERQ_FAILPOINTS

#include <stdio.h>
#include <stdlib.h>

#include "common/failpoint.h"

/* An arrow of the path: passed when a job goes from the one state to the other, before it does. */
#define ARROW(from, to)                                     \
    {                                                       \
        "path." #from ">" #to, "worker/path_state.c", false \
    }

const struct failpoint_place worker_failpoints[] = {
    {"record.taken", "worker/consumer.c", false},
    {"record.decode", "worker/path.c", false},
    {"assign.take", "worker/consumer.c", false},
    {"revoke.taken", "worker/consumer.c", false},
    {"revoke.commit", "worker/consumer.c", false},
    {"revoke.committed", "worker/consumer.c", false},
    {"offset.stored", "worker/consumer.c", false},
    {"claim.skip", "worker/store_claim.c", true},
    {"claim.sent", "worker/store_claim.c", false},
    {"claim.answered", "worker/store_claim.c", false},
    {"facts.sent", "worker/store_claim.c", false},
    {"facts.answered", "worker/store_claim.c", false},
    {"take.sent", "worker/store_claim.c", false},
    {"take.answered", "worker/store_claim.c", false},
    {"park.sent", "worker/store_claim.c", false},
    {"park.answered", "worker/store_claim.c", false},
    {"pull.sent", "worker/store_claim.c", false},
    {"pull.answered", "worker/store_claim.c", false},
    {"bury.sent", "worker/store_claim.c", false},
    {"bury.answered", "worker/store_claim.c", false},
    {"call.start", "worker/worker_edges.c", true},
    {"gate.ask", "worker/worker_edges.c", true},
    {"gate.passed", "worker/http_transfer.c", false},
    {"reply.first_byte", "worker/http_transfer.c", false},
    {"reply.complete", "worker/http_transfer.c", false},
    {"store.sent", "worker/store_end.c", false},
    {"store.answered", "worker/store_end.c", false},
    {"outcome.answered", "worker/store_end.c", false},
    {"lease.sent", "worker/store_keep.c", false},
    {"lease.answered", "worker/store_keep.c", false},
    {"lease.fenced", "worker/store_keep.c", false},
    {"fence.sent", "worker/store_keep.c", false},
    {"fence.answered", "worker/store_keep.c", false},
    {"letters.answered", "worker/store_keep.c", false},
    {"letters.mark", "worker/store_keep.c", false},
    {"letters.marked", "worker/store_keep.c", false},
    {"stop.sent", "worker/store_keep.c", false},
    {"letter.send", "worker/letters.c", true},
    {"letter.sent", "worker/letters.c", false},
    {"letter.published", "worker/letters.c", false},

    ARROW(fetched, admit),
    ARROW(fetched, bury),
    ARROW(fetched, wait),
    ARROW(fetched, settled),
    ARROW(admit, route),
    ARROW(admit, store),
    ARROW(admit, bury),
    ARROW(route, throttle),
    ARROW(route, store),
    ARROW(throttle, claim),
    ARROW(throttle, store),
    ARROW(throttle, park),
    ARROW(throttle, bury),
    ARROW(throttle, settled),
    ARROW(claim, call),
    ARROW(claim, settled),
    ARROW(claim, wait),
    ARROW(claim, store),
    ARROW(claim, throttle),
    ARROW(claim, park),
    ARROW(claim, bury),
    ARROW(claim, route),
    ARROW(call, parse),
    ARROW(parse, check),
    ARROW(check, store),
    ARROW(store, settled),
    ARROW(store, retry),
    ARROW(store, park),
    ARROW(store, throttle),
    ARROW(store, claim),
    ARROW(store, store),
    ARROW(store, bury),
    ARROW(store, route),
    ARROW(retry, throttle),
    ARROW(retry, settled),
    ARROW(wait, fetched),
    ARROW(wait, throttle),
    ARROW(wait, claim),
    ARROW(wait, settled),
    ARROW(park, settled),
    ARROW(park, store),
    ARROW(bury, settled),
    ARROW(settled, claim),
    {0},
};

enum rc failpoints_setup(struct err *err)
{
    enum rc rc = failpoint_setup(worker_failpoints, getenv("INFERQ_FAILPOINT"),
                                 getenv("INFERQ_FAILPOINT_LOG"), stderr, err);
    return rc == RC_OK ? rc : err_prefix(err, rc, "INFERQ_FAILPOINT");
}

#endif

/*
 * check_learned.c - watches that the fleet sends one probe at a time to an endpoint that is closed.
 *
 * A worker knows that it is closed from what it heard of Postgres, unless a call of its own has
 * shown since that it works. Who knows calls there only while the probe is lent to it: the row in
 * Postgres names one worker, until its time is over. (Several workers whose calls were on their way
 * when one was refused are no part of it.)
 */
#include "tests/sim/sim.h"
#include "worker/job.h"

void check_learned(struct sim_worker *w, int endpoint, bool closed, int64_t sent_us)
{
    struct sim_known *known = &w->known[endpoint];
    if (closed && sent_us <= known->alive_us)
        return; /* its own call knows better */
    if (closed && !known->closed) {
        known->since_us = sim_worker_mono(w);
        w->ramp[endpoint] = (struct sim_ramp){.down = true, .since_us = known->since_us};
    }
    known->closed = closed;
}

void check_lives(struct sim_worker *w, int endpoint, const struct http_facts *facts)
{
    bool refuses = facts->status == 401 || facts->status == 403 || facts->status == 429;
    if (facts->fault == HTTP_FAULT_NONE && facts->status < 500 && !refuses)
        w->known[endpoint] = (struct sim_known){.alive_us = sim_worker_mono(w)};
}

void check_dispatched(struct sim *s, struct sim_worker *w, const struct job *job)
{
    int endpoint = (int)job->endpoint_id - 1;
    const struct sim_known *known = job->begun ? &w->known[endpoint] : NULL;
    if (!known || !known->closed || job->dispatched_us <= known->since_us)
        return;
    const struct fake_learned_row *row = fake_pg_learned_of(s->db, sim_endpoint_key(endpoint));
    s->counts->probes++;
    if (!row || !row->probing) /* another's call has shown meanwhile that it works */
        return;
    if (row->probe_worker != store_worker_id(w->store) || row->probe_until <= sim_wall_us(s))
        sim_break(s, "PR", "%s probes endpoint %d, which is not its to probe", w->name, endpoint);
}

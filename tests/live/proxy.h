/*
 * proxy.h - a byte proxy in front of the Postgres server that the environment names, for faults of
 * the network: a server that is not there yet, one that falls silent, an answer that is lost.
 */
#ifndef INFERQ_TESTS_LIVE_PROXY_H
#define INFERQ_TESTS_LIVE_PROXY_H

struct proxy;

enum proxy_mode {
    PROXY_PASS,
    PROXY_REFUSE, /* closes what connects */
    PROXY_STALL,  /* moves nothing either way */
    PROXY_MUTE,   /* to the server only: what it answers is thrown away */
};

/* Listens on a free loopback port, in a thread of its own. Dies when it cannot. returns owned */
struct proxy *proxy_new(enum proxy_mode mode);
void proxy_free(struct proxy *p);
int proxy_port(const struct proxy *p);
void proxy_set(struct proxy *p, enum proxy_mode mode);
/* Closes all connections that stand; returns when it is done. */
void proxy_cut(struct proxy *p);

#endif

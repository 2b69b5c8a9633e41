/* resolver.h: names and addresses of a loop: who looks them up, and what is remembered. */
#ifndef NP_RESOLVER_H
#define NP_RESOLVER_H

#include "sys/query.h"

/* Ends the loop's lookups: answers come no more. */
void np_resolver_close(neap_loop *loop);

/* ---- What needs no lookup (hostname.c) */

/* 0 if the text can be a host name, else NEAP_ENAME_BAD. */
int32_t np_host_check(const char *host);

bool np_host_is_localhost(const char *host);

/* Reads a numeric address without a port; "[::1]" as well as "::1". */
bool np_host_literal(const char *host, neap_addr *ret_addr);

/* Reads a port: 0 with *ret_port, or 1 for the name of a service, or NEAP_EVALUE. */
int32_t np_service_port(const char *service, uint16_t *ret_port);

/* ---- The cache (names.c) */

enum {
    NP_NAMES_BUCKETS = 64
};

typedef struct np_name np_name;

typedef struct np_names {
    np_alloc *alloc;
    np_list buckets[NP_NAMES_BUCKETS];
    np_list recent; /* np_name, last used first */
    uint32_t count;
    uint32_t max;
    int64_t negative_ns; /* for how long it is kept that a name has no addresses; 0: not at all */
} np_names;

void np_names_init(np_names *names, np_alloc *alloc);
void np_names_clear(np_names *names);

/* What is remembered: 0 with the addresses (borrowed), the code if it is that there are none, or 1: nothing. */
int32_t np_names_find(np_names *names, const char *host, uint32_t family, bool canonical,
                      int64_t now, neap_addrs **ret_addrs);

/* Remembers an answer, if it may be kept; forgets the one that was not used for longest if there are too many.  It is
   no failure if there is no memory. */
void np_names_keep(np_names *names, const np_query *q, int64_t now);

#endif

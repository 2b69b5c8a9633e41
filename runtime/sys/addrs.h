/* addrs.h: what a name stands for: some addresses and up to two names in one block, immutable once it is filled, with
   references that any thread may count. */
#ifndef NP_ADDRS_H
#define NP_ADDRS_H

#include "core/future.h"

struct neap_addrs {
    np_alloc *alloc; /* a reference */
    atomic_uint refs;
    size_t size; /* of the block; the texts stand behind the addresses */
    const char *name;
    const char *service;
    uint32_t count;
    neap_addr at[];
};

/* A block with one reference, whose addresses are still to be filled in; the names may be NULL.  NULL when there is no
   memory.  Any thread. */
neap_addrs *np_addrs_new(np_alloc *alloc, uint32_t count, const char *name, const char *service);

/* The same with another port; a reference if it has that one already. */
neap_addrs *np_addrs_at_port(neap_addrs *addrs, uint16_t port);

/* The value of a future: takes the reference. */
void np_addrs_give(neap_addrs *addrs, neap_future *f);

#endif

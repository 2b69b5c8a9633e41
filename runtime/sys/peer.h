/* peer.h: the address of a connection's other side, which the kernel forgets when that is gone: an IPv4 one in eight bytes, any
   other in a block of its own. */
#ifndef NP_PEER_H
#define NP_PEER_H

#include "base/fd.h"
#include "base/pool.h"

/* 0: unknown.  Odd: an IPv4 address and its port.  Else a pointer to the block. */
typedef struct np_peer {
    uint64_t bits;
} np_peer;

/* Stays unknown if there is no memory. */
void np_peer_set(np_peer *peer, np_pool *pool, const neap_addr *addr);
void np_peer_clear(np_peer *peer, np_pool *pool);

/* False if it is unknown. */
bool np_peer_get(const np_peer *peer, neap_addr *ret_addr);

#endif

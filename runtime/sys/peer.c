#include "sys/peer.h"

#include <netinet/in.h>
#include <string.h>

typedef struct block {
    uint32_t len;
    unsigned char raw[]; /* a struct sockaddr */
} block;

static block *block_of(const np_peer *peer) {
    return (block *)(uintptr_t)peer->bits;
}

static bool is_short(const np_peer *peer) {
    return (peer->bits & 1) != 0;
}

static uint64_t shorten(const neap_addr *addr) {
    struct sockaddr_in in;
    memcpy(&in, addr->data, sizeof in);
    return (uint64_t)in.sin_addr.s_addr << 17 | (uint64_t)in.sin_port << 1 | 1;
}

void np_peer_set(np_peer *peer, np_pool *pool, const neap_addr *addr) {
    np_peer_clear(peer, pool);
    if (addr->family == NEAP_AF_INET) {
        peer->bits = shorten(addr);
        return;
    }
    block *b = np_pool_get(pool, sizeof *b + addr->len);
    if (b == NULL)
        return;
    b->len = addr->len;
    memcpy(b->raw, addr->data, addr->len);
    peer->bits = (uintptr_t)b;
}

void np_peer_clear(np_peer *peer, np_pool *pool) {
    if (peer->bits != 0 && !is_short(peer))
        np_pool_put(pool, block_of(peer), sizeof(block) + block_of(peer)->len);
    peer->bits = 0;
}

bool np_peer_get(const np_peer *peer, neap_addr *ret_addr) {
    struct sockaddr_storage raw = {0};
    socklen_t len = sizeof(struct sockaddr_in);
    if (peer->bits == 0)
        return false;
    if (is_short(peer)) {
        const struct sockaddr_in in = {.sin_family = AF_INET,
                                       .sin_port = (in_port_t)(peer->bits >> 1),
                                       .sin_addr.s_addr = (in_addr_t)(peer->bits >> 17)};
        memcpy(&raw, &in, sizeof in);
    } else {
        len = block_of(peer)->len;
        memcpy(&raw, block_of(peer)->raw, len);
    }
    np_addr_from_raw(ret_addr, &raw, len);
    return true;
}

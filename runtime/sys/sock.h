/* sock.h: a socket and the operations on it.

   A socket keeps its memory while a user or an operation refers to it, and its descriptor until close.  Bytes that were put
   back stand before what the kernel has. */
#ifndef NP_SOCK_H
#define NP_SOCK_H

#include "core/buf.h"
#include "core/future.h"
#include "io/backend.h"
#include "sys/peer.h"

/* Beside NEAP_TCP and so on: a descriptor that is no socket, of a stream. */
enum {
    NP_SORT_PLAIN = 0
};

static inline bool np_sort_is_stream(uint8_t sort) {
    return sort == NEAP_TCP || sort == NEAP_UNIX;
}

static inline bool np_sort_is_local(uint8_t sort) {
    return sort == NEAP_UNIX || sort == NEAP_UNIX_DGRAM;
}

/* What the floor above has of a socket, and is told of its end: once, when the descriptor is closed.  The newest is told
   first: the stream before the server. */
typedef struct np_sock_owner np_sock_owner;
struct np_sock_owner {
    void (*closed)(np_sock_owner *owner); /* may only queue and settle */
    np_sock_owner *next;
};

struct neap_sock {
    np_obj obj;
    np_list link; /* in loop->socks while open */
    np_desc desc; /* fd -1: not opened yet, or closed */
    uint8_t sort; /* NEAP_TCP ... */
    bool closed : 1;
    bool flushing : 1; /* a stream closes it when what was written has gone */
    bool listed : 1;   /* its loop's listeners know it */
    bool
        chosen : 1; /* bound to a port of the kernel's choice, which it may share when it listens */
    uint32_t back_at; /* bytes put back: those of `back` from here on */
    np_sock_owner *owners;
    np_peer peer;   /* of a connection, kept after its end */
    neap_buf *back; /* kept until the next receive after it is empty: it may be lent */
};

/* How many bytes were put back and not taken since. */
static inline size_t np_sock_back_len(const neap_sock *s) {
    return s->back == NULL ? 0 : neap_buf_len(s->back) - s->back_at;
}

/* A socket without a descriptor and one inner reference; NULL when there is no memory. */
neap_sock *np_sock_husk(neap_loop *loop, uint8_t sort);

/* Gives a fresh descriptor to a husk.  Cannot fail: what needs memory is made up for at the first wait. */
void np_sock_give_fd(neap_sock *s, int fd, unsigned bits);

/* The same for a connection, whose peer is remembered. */
void np_sock_give_conn(neap_sock *s, int fd, const neap_addr *peer);

/* It is connected to that address. */
void np_sock_met(neap_sock *s, const neap_addr *peer);

void np_sock_own(neap_sock *s, np_sock_owner *owner);
void np_sock_disown(neap_sock *s, np_sock_owner *owner); /* also one that was told */

/* Opens the descriptor if that was put off until the family is known. */
int32_t np_sock_open(neap_sock *s, uint32_t family);

/* As neap_sock_bind, for this socket alone. */
int32_t np_sock_bind(neap_sock *s, const neap_addr *addr);

/* The socket is usable: thread, life, open descriptor. */
int32_t np_sock_enter(const neap_sock *s);
void np_sock_shut(neap_sock *s);

/* Before a socket is closed by its user: gives up the address if its loop shares that with others.  Answers whether these have
   it still. */
bool np_sock_leave(neap_sock *s);

/* Whether the queue of a listener goes with it, if it is closed now: no other loop is there to take what it holds. */
bool np_sock_is_last(const neap_sock *s);

#endif

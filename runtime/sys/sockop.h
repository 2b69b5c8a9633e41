/* sockop.h: an operation on a socket that has to wait: one block, the future that the caller gets and the np_op that the
   backend holds.  It holds its socket, and itself until it is done.  sockop.c owns its life and what connects and sends;
   recv.c receives, also into lent memory; sockmsg.c moves batches of datagrams, and descriptors. */
#ifndef NP_SOCKOP_H
#define NP_SOCKOP_H

#include "sys/sock.h"

typedef struct np_sockop {
    neap_future f;
    np_op op; /* while pending it holds the socket, whose descriptor it works on; then on none */
    neap_addr addr
        []; /* one, for those that carry an address; for those that pass descriptors an np_passing */
} np_sockop;

static inline bool np_op_passes(const np_op *op) {
    return op->kind == NP_OP_RECV_FDS || op->kind == NP_OP_SEND_FDS;
}

static inline np_sockop *np_sockop_of(neap_future *f) {
    return np_container(f, np_sockop, f);
}

static inline neap_sock *np_sockop_sock(const np_sockop *so) {
    return so->op.desc != NULL ? np_container(so->op.desc, neap_sock, desc) : NULL;
}

static inline np_io *np_sockop_io(const neap_sock *s) {
    return &s->obj.loop->io;
}

/* Of every starting call: the socket is usable, the flags make sense. */
int32_t np_sockop_enter(const neap_sock *s, uint32_t flags, neap_future **ret_future);

/* The request itself, still on the caller's stack. */
np_op np_sockop_op(neap_sock *s, uint8_t kind, uint8_t dir, const void *data, size_t len);

/* Tries it: a result, a code, or NP_WAIT. */
int64_t np_sockop_begin(neap_sock *s, np_op *op, uint32_t flags);

/* The block for an operation that is to wait; `from` is what was tried in vain.  Descriptors that it owns move into the
   block.  NULL when there is no memory. */
np_sockop *np_sockop_make(neap_sock *s, const np_op *from);
void np_sockop_unmake(np_sockop *so);

/* Each answers as the starting calls of neap.h do. */
int32_t np_sockop_park(neap_sock *s, np_op *op, neap_future **ret_future);
int32_t np_sockop_start_future(neap_sock *s, np_op *op, neap_future **ret_future);
int32_t np_sockop_ended(neap_sock *s, np_op *op, int64_t result, neap_future **ret_future);
int32_t np_sockop_start(neap_sock *s, np_op *op, uint32_t flags, neap_future **ret_future);

/* Completion: the outcome from op.result, then the end of the operation's references. */
void np_sockop_settle(np_sockop *so);
void np_sockop_let_go(np_sockop *so);
void np_sockop_done(np_op *op);

/* The operation's block if the future is one, else NULL. */
np_sockop *np_sockop_from(neap_future *origin);

/* Bytes that were put back come first, unless others wait before: takes so many of them, 0 if there are none.  To be
   called before each receive. */
size_t np_recv_back(neap_sock *s, void *data, size_t max);

/* The answer of a receive that needs no call of the kernel, as the flags want it; `back` of its bytes are those that
   np_recv_back has just taken, and stand there again if there is no memory for the future. */
int32_t np_recv_answer(neap_sock *s, np_op *op, int64_t result, size_t back, uint32_t flags,
                       neap_future **ret_future);

/* Of a lent receive whose task is about to step; see recv.c. */
bool np_lent_ready(neap_future *f);

#endif

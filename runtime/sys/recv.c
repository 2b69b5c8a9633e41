/* recv.c: receiving, and giving back.

   Lent receives: a parked one has no buffer.  When the socket is ready and exactly one task waits, only that task is queued;
   the recv is made into the loop's memory when its step is about to run (np_future_type.ready) and the bytes are lent for
   the step.  With other kinds of waiters it gets a buffer of its own at once. */
#include <string.h>

#include "core/lent.h"
#include "core/task.h"
#include "sys/sockop.h"
#include "sys/sys.h"

/* ---- Lent memory */

/* Fresh lent memory for `op`; NULL when there is none. */
static void *lend_to(neap_loop *loop, np_op *op) {
    neap_buf *lent = np_lent(loop);
    if (lent == NULL)
        return NULL;
    if (op->len > NP_LENT_BYTES)
        op->len = NP_LENT_BYTES;
    return np_buf_bytes(lent);
}

static bool own_buffer(np_sockop *so) {
    np_op *op = &so->op;
    if (op->len > NP_LENT_BYTES)
        op->len = NP_LENT_BYTES;
    neap_buf *own = np_buf_new(so->f.obj.loop->alloc, op->len);
    if (own == NULL)
        return false;
    so->f.kind = NP_KIND_BUF;
    so->f.value.buf = own;
    op->buf = np_buf_bytes(own);
    return true;
}

static bool arm(np_op *op) {
    np_sockop *so = np_container(op, np_sockop, op);
    if (np_task_rouse(&so->f))
        return true;
    if (op->buf == NULL)
        (void)own_buffer(so);
    return false;
}

static void settle_lent(np_sockop *so) {
    np_trace(so->f.obj.loop, NEAP_TRACE_IO, so->op.result, NULL, &so->f, NULL);
    np_lent_show(&so->f, so->f.obj.loop->lent, so->op.buf, (size_t)so->op.result);
    np_future_settle(&so->f, NEAP_STATE_RESULT);
}

/* The task that waits is about to step: now the bytes are taken. */
bool np_lent_ready(neap_future *f) {
    np_sockop *so = np_sockop_of(f);
    neap_loop *loop = f->obj.loop;
    if (so->op.buf == NULL)
        so->op.buf = lend_to(loop, &so->op);
    if (so->op.buf == NULL) {
        (void)loop->io.backend->cancel(&loop->io, &so->op);
        so->op.result = NEAP_ENOMEM;
        np_sockop_done(&so->op);
        return true;
    }
    int64_t result = loop->io.backend->perform(&loop->io, &so->op);
    if (result == NP_WAIT && f->kind != NP_KIND_BUF)
        so->op.buf = NULL;
    if (result == NP_WAIT)
        return false;
    so->op.result = result;
    if (result >= 0 && f->kind != NP_KIND_BUF)
        settle_lent(so);
    else
        np_sockop_settle(so);
    np_sockop_let_go(so);
    np_reap(loop);
    return true;
}

/* ---- Receiving */

/* Counts travel as int32_t. */
static size_t bounded(size_t len) {
    return len > INT32_MAX ? INT32_MAX : len;
}

/* Bytes that were put back come first, unless others wait before. */
static bool has_back(const neap_sock *s) {
    return np_sock_back_len(s) > 0 && np_list_empty(&s->desc.queue[NP_DIR_READ]);
}

static const char *take_back(neap_sock *s, size_t max, size_t *ret_len) {
    const char *at = np_buf_bytes(s->back) + s->back_at;
    size_t len = np_sock_back_len(s), n = max < len ? max : len;
    s->back_at += (uint32_t)n;
    *ret_len = n;
    return at;
}

static void forget_back(neap_sock *s) {
    if (s->back == NULL || np_sock_back_len(s) > 0)
        return;
    neap_buf_unref(s->back);
    s->back = NULL;
}

size_t np_recv_back(neap_sock *s, void *data, size_t max) {
    size_t n = 0;
    forget_back(s);
    if (max == 0 || !has_back(s))
        return 0;
    const char *from = take_back(s, max, &n);
    memcpy(data, from, n);
    return n;
}

int32_t np_recv_answer(neap_sock *s, np_op *op, int64_t result, size_t back, uint32_t flags,
                       neap_future **ret_future) {
    if ((flags & NEAP_WANT_FUTURE) == 0)
        return (int32_t)result;
    int32_t rc = np_sockop_ended(s, op, result, ret_future);
    if (rc == NEAP_ENOMEM) {
        s->back_at -= (uint32_t)back; /* their buffer is kept until the next receive */
    }
    return rc;
}

static int32_t recv_into(neap_sock *s, void *data, size_t len, uint32_t flags, neap_addr *ret_addr,
                         neap_future **ret_future) {
    neap_addr addr;
    int32_t rc = data == NULL && len > 0 ? NEAP_EINVAL : np_sockop_enter(s, flags, ret_future);
    if (rc < 0)
        return rc;
    np_op op = np_sockop_op(s, NP_OP_RECV, NP_DIR_READ, data, bounded(len));
    if (ret_addr != NULL || s->sort == NEAP_UDP || s->sort == NEAP_UNIX_DGRAM) {
        memset(&addr, 0, sizeof addr);
        op.addr = &addr;
    }
    size_t n = np_recv_back(s, data, op.len);
    if (n > 0 || op.len == 0)
        rc = np_recv_answer(s, &op, (int64_t)n, n, flags, ret_future);
    else
        rc = np_sockop_start(s, &op, flags, ret_future);
    if (rc >= 0 && ret_addr != NULL)
        *ret_addr = addr;
    return rc;
}

int32_t neap_sock_recv(neap_sock *sock, void *data, size_t len, uint32_t flags,
                       neap_future **ret_future) {
    return recv_into(sock, data, len, flags, NULL, ret_future);
}

int32_t neap_sock_recvfrom(neap_sock *sock, void *data, size_t len, uint32_t flags,
                           neap_addr *ret_addr, neap_future **ret_future) {
    neap_addr unused;
    return recv_into(sock, data, len, flags, ret_addr != NULL ? ret_addr : &unused, ret_future);
}

/* A lent receive that is to be a future gets its bytes in a buffer of its own; see arm. */
static int32_t lent_future(neap_sock *s, np_op *op, neap_future **ret_future) {
    size_t n = 0;
    if (op->len > 0 && !has_back(s))
        return np_sockop_start_future(s, op, ret_future);
    np_sockop *so = np_sockop_make(s, op);
    if (so == NULL)
        return NEAP_ENOMEM;
    if (so->op.arm(&so->op), so->op.buf == NULL) {
        np_sockop_unmake(so);
        return NEAP_ENOMEM;
    }
    if (op->len > 0) {
        const char *from = take_back(s, so->op.len, &n);
        memcpy(so->op.buf, from, n);
    }
    np_future_give(&so->f, ret_future);
    so->op.result = (int64_t)n;
    np_sockop_done(&so->op);
    return NEAP_PENDING;
}

static int32_t lent_now(neap_sock *s, np_op *op, uint32_t flags, const void **ret_data,
                        neap_future **ret_future) {
    op->buf = lend_to(s->obj.loop, op);
    if (op->buf == NULL)
        return NEAP_ENOMEM;
    int64_t result = np_sockop_begin(s, op, flags);
    if (result >= 0)
        *ret_data = op->buf;
    if (result != NP_WAIT)
        return (int32_t)result;
    op->buf = NULL;
    return np_sockop_park(s, op, ret_future);
}

static int32_t recv_lent(neap_sock *s, size_t max, uint32_t flags, const void **ret_data,
                         neap_addr *addr, neap_future **ret_future) {
    int32_t rc = ret_data == NULL ? NEAP_EINVAL : np_sockop_enter(s, flags, ret_future);
    if (rc < 0)
        return rc;
    forget_back(s);
    np_op op = np_sockop_op(s, NP_OP_RECV, NP_DIR_READ, NULL, bounded(max));
    op.arm = arm;
    op.addr = addr;
    if ((flags & NEAP_WANT_FUTURE) != 0)
        return lent_future(s, &op, ret_future);
    if (max == 0) {
        *ret_data = "";
        return 0;
    }
    if (!has_back(s))
        return lent_now(s, &op, flags, ret_data, ret_future);
    size_t n;
    *ret_data = take_back(s, op.len, &n);
    return (int32_t)n;
}

int32_t neap_sock_recv_lent(neap_sock *sock, size_t max, uint32_t flags, const void **ret_data,
                            neap_future **ret_future) {
    return recv_lent(sock, max, flags, ret_data, NULL, ret_future);
}

int32_t neap_sock_recvfrom_lent(neap_sock *sock, size_t max, uint32_t flags, const void **ret_data,
                                neap_addr *ret_addr, neap_future **ret_future) {
    neap_addr addr;
    memset(&addr, 0, sizeof addr);
    int32_t rc = recv_lent(sock, max, flags, ret_data, &addr, ret_future);
    if (rc >= 0 && ret_addr != NULL)
        *ret_addr = addr;
    return rc;
}

/* ---- Putting back */

static bool inside(const char *data, size_t len, neap_buf *buf, size_t cap) {
    const char *start = buf == NULL ? NULL : np_buf_bytes(buf);
    return start != NULL && data >= start && data + len <= start + cap;
}

/* In front of what was put back before; a copy. */
static int32_t put_back_copy(neap_sock *s, const void *data, size_t len) {
    size_t before = np_sock_back_len(s), all = len + before;
    neap_buf *buf = all > UINT32_MAX ? NULL : np_buf_new(s->obj.loop->alloc, all);
    if (buf == NULL)
        return all > UINT32_MAX ? NEAP_E2BIG : NEAP_ENOMEM;
    memcpy(np_buf_bytes(buf), data, len);
    if (before > 0)
        memcpy(np_buf_bytes(buf) + len, np_buf_bytes(s->back) + s->back_at, before);
    np_buf_set_len(buf, all);
    neap_buf_unref(s->back);
    s->back = buf;
    s->back_at = 0;
    return 0;
}

/* Receives that wait come first: they get the bytes at once.  Without memory for them the next arrival wakes them. */
static void feed(neap_sock *s) {
    np_list *queue = &s->desc.queue[NP_DIR_READ];
    while (np_sock_back_len(s) > 0 && !np_list_empty(queue)) {
        np_op *op = np_container(queue->next, np_op, link);
        np_sockop *so = np_container(op, np_sockop, op);
        size_t n;
        if (op->kind != NP_OP_RECV || (op->buf == NULL && !own_buffer(so)) ||
            !np_sockop_io(s)->backend->cancel(np_sockop_io(s), op))
            return;
        const char *from = take_back(s, op->len, &n);
        memcpy(op->buf, from, n);
        op->result = (int64_t)n;
        np_sockop_done(op);
    }
}

static int32_t put_back(neap_sock *s, const char *data, size_t len) {
    neap_loop *loop = s->obj.loop;
    if (s->back != NULL && data + len == np_buf_bytes(s->back) + s->back_at) {
        s->back_at -= (uint32_t)len; /* it had been lent from there */
        return 0;
    }
    forget_back(s);
    if (s->back != NULL || !inside(data, len, loop->lent, NP_LENT_BYTES))
        return put_back_copy(s, data, len);
    np_lent_end(loop);
    if (np_buf_is_shared(loop->lent) || loop->lent_in != NULL) /* others have bytes there */
        return put_back_copy(s, data, len);
    s->back_at = (uint32_t)(data - np_buf_bytes(loop->lent));
    s->back = np_lent_take(loop);
    np_buf_set_len(s->back, s->back_at + len);
    return 0;
}

int32_t neap_sock_unrecv(neap_sock *sock, const void *data, size_t len) {
    int32_t rc = data == NULL && len > 0 ? NEAP_EINVAL : np_sock_enter(sock);
    if (rc < 0 || len == 0)
        return rc;
    rc = put_back(sock, data, len);
    if (rc == 0)
        feed(sock);
    return rc;
}

/* sockop.c: the operations on sockets: begun on the spot, parked as a future, completed, cancelled.

   An operation that has to wait is one block: the future that the caller gets and the np_op that the backend holds.  It
   holds its socket, and itself until it is done.

   Lent receives: a parked one has no buffer.  When the socket is ready and exactly one task waits, only that task is queued;
   the recv is made into the loop's memory when its step is about to run (np_future_type.ready) and the bytes are lent for
   the step.  With other kinds of waiters it gets a buffer of its own at once. */
#include <string.h>

#include "base/fd.h"
#include "core/task.h"
#include "sys/sock.h"
#include "sys/sys.h"

typedef struct sock_op {
    neap_future f;
    np_op op;
    neap_sock *sock; /* held while pending */
    neap_sock *conn; /* of an accept: the husk for the connection */
    size_t size;
    neap_addr addr[]; /* one, for those that carry an address */
} sock_op;

static sock_op *of_future(neap_future *f) {
    return np_container(f, sock_op, f);
}

static np_io *io_of(const neap_sock *s) {
    return &s->obj.loop->io;
}

/* ---- Completion */

static void let_go(sock_op *so) {
    neap_sock *s = so->sock;
    so->sock = NULL;
    np_obj_unref(&s->obj);
    np_future_deactivate(&so->f);
}

static void settle_failed(sock_op *so, int32_t code) {
    neap_future *f = &so->f;
    if (so->op.buf != NULL && f->kind == NP_KIND_BUF)
        np_future_clear_value(f);
    if (so->op.kind == NP_OP_SENDALL) {
        f->kind = NP_KIND_PARTIAL;
        f->value.i = (int64_t)so->op.moved;
    }
    if (code == NEAP_ECANCELED)
        np_future_settle(f, NEAP_STATE_CANCELLED);
    else
        np_future_settle_error(f, code, NULL);
}

static void settle_accepted(sock_op *so, int fd) {
    np_sock_give_fd(so->conn, fd, 0);
    np_obj_publish(&so->conn->obj);
    so->f.kind = NEAP_KIND_SOCK;
    so->f.value.sock = so->conn;
    so->conn = NULL;
    np_future_settle(&so->f, NEAP_STATE_RESULT);
}

static void settle_moved(sock_op *so, int64_t n) {
    if (so->f.kind == NP_KIND_BUF) {
        np_buf_set_len(so->f.value.buf, (size_t)n);
    } else if (so->op.kind == NP_OP_CONNECT) {
        so->f.kind = NEAP_KIND_NONE;
    } else {
        so->f.kind = NEAP_KIND_INT;
        so->f.value.i = n;
    }
    np_future_settle(&so->f, NEAP_STATE_RESULT);
}

static void settle(sock_op *so) {
    np_trace(so->f.obj.loop, NEAP_TRACE_IO, so->op.result, NULL, &so->f, NULL);
    if (so->op.result < 0)
        settle_failed(so, (int32_t)so->op.result);
    else if (so->op.kind == NP_OP_ACCEPT)
        settle_accepted(so, (int)so->op.result);
    else
        settle_moved(so, so->op.result);
}

static void done(np_op *op) {
    sock_op *so = np_container(op, sock_op, op);
    settle(so);
    let_go(so);
}

static int32_t cancel(neap_future *f, const char *msg) {
    sock_op *so = of_future(f);
    neap_sock *s = so->sock;
    if (!io_of(s)->backend->cancel(io_of(s), &so->op))
        return 1; /* it comes when the kernel has let go */
    so->op.result = NEAP_ECANCELED;
    np_future_set_message(f, msg);
    np_future_ref(f);
    np_obj_ref(&s->obj);
    done(&so->op);
    if (so->op.kind == NP_OP_CONNECT)
        np_sock_shut(s);
    np_reap(s->obj.loop);
    np_obj_unref(&s->obj);
    np_future_unref(f);
    return 1;
}

static void destroy(np_obj *obj) {
    sock_op *so = of_future(np_container(obj, neap_future, obj));
    if (so->conn != NULL)
        np_obj_unref(&so->conn->obj);
    np_future_fini(&so->f);
    np_obj_free(obj, so->size);
}

/* ---- Lent memory */

/* The value leaves the lent memory if anybody can still ask for it; without memory for a copy the lent memory itself is
   given away. */
static void keep_copy(neap_future *f) {
    neap_loop *loop = f->obj.loop;
    size_t len = f->value.bytes.len;
    neap_buf *buf = np_buf_new(loop->alloc, len);
    if (buf != NULL)
        memcpy(np_buf_bytes(buf), f->value.bytes.data, len);
    else
        buf = np_lent_take(loop);
    np_buf_set_len(buf, len);
    f->kind = NP_KIND_BUF;
    f->value.buf = buf;
}

void np_lent_end(neap_loop *loop) {
    neap_future *f = loop->lent_future;
    if (f == NULL)
        return;
    loop->lent_future = NULL;
    if (f->obj.refs > (f == loop->step_awaited ? 2 : 1))
        keep_copy(f);
    else
        f->kind = NEAP_KIND_NONE; /* the step that saw the bytes asked for more */
    np_future_unref(f);
}

/* Fresh lent memory for `op`; NULL when there is none. */
static void *lend_to(neap_loop *loop, np_op *op) {
    np_lent_end(loop);
    neap_buf *lent = np_lent(loop);
    if (lent == NULL)
        return NULL;
    if (op->len > NP_LENT_BYTES)
        op->len = NP_LENT_BYTES;
    return np_buf_bytes(lent);
}

static neap_task *only_stepping_task(neap_future *f) {
    np_list *first = f->waiters.next;
    if (np_list_empty(&f->waiters) || first->next != &f->waiters)
        return NULL;
    np_ready *node = np_container(first, np_ready, link);
    if (node->kind != NP_RUN_TASK)
        return NULL;
    neap_task *t = np_container(node, neap_task, node);
    return t->ops->step != NULL ? t : NULL;
}

static bool own_buffer(sock_op *so) {
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
    sock_op *so = np_container(op, sock_op, op);
    neap_loop *loop = so->f.obj.loop;
    neap_task *t = only_stepping_task(&so->f);
    if (t != NULL) {
        np_dequeue(&t->node);
        np_trace(loop, NEAP_TRACE_WAKE, 0, t, &so->f, NULL);
        np_enqueue(loop, &t->node);
        return true;
    }
    if (op->buf == NULL)
        (void)own_buffer(so);
    return false;
}

static void settle_lent(sock_op *so) {
    neap_loop *loop = so->f.obj.loop;
    so->f.kind = NP_KIND_LENT;
    so->f.value.bytes.data = so->op.buf;
    so->f.value.bytes.len = (size_t)so->op.result;
    np_trace(loop, NEAP_TRACE_IO, so->op.result, NULL, &so->f, NULL);
    if (np_list_empty(&so->f.waiters)) {
        np_future_ref(&so->f);
        loop->lent_future = &so->f;
    } else {
        keep_copy(&so->f);
    }
    np_future_settle(&so->f, NEAP_STATE_RESULT);
}

/* The task that waits is about to step: now the bytes are taken. */
static bool ready(neap_future *f) {
    sock_op *so = of_future(f);
    neap_loop *loop = f->obj.loop;
    if (so->op.buf == NULL)
        so->op.buf = lend_to(loop, &so->op);
    if (so->op.buf == NULL) {
        (void)loop->io.backend->cancel(&loop->io, &so->op);
        so->op.result = NEAP_ENOMEM;
        done(&so->op);
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
        settle(so);
    let_go(so);
    np_reap(loop);
    return true;
}

static const np_future_type op_type = {{"operation", destroy, NULL}, cancel, ready, NULL};

/* ---- Starting */

/* The block for an operation that is to wait; `from` is what was tried in vain. */
static sock_op *make(neap_sock *s, const np_op *from) {
    size_t size = sizeof(sock_op) + (from->addr != NULL ? sizeof(neap_addr) : 0);
    neap_future *f = np_future_new(s->obj.loop, &op_type, size);
    if (f == NULL)
        return NULL;
    sock_op *so = of_future(f);
    so->op = *from;
    np_list_init(&so->op.link);
    so->op.done = done;
    so->size = size;
    if (from->addr != NULL) {
        so->addr[0] = *from->addr;
        so->op.addr = &so->addr[0];
    }
    f->flags |= NP_F_RESOURCE | NP_F_ACTIVE;
    np_future_ref(f);
    np_obj_ref(&s->obj);
    so->sock = s;
    return so;
}

static void unmake(sock_op *so) {
    np_list_unlink(&so->f.all);
    so->f.state = NEAP_STATE_CANCELLED; /* nobody has seen it */
    np_obj_unref(&so->sock->obj);
    np_future_deactivate(&so->f);
    np_future_unref(&so->f);
}

static int32_t park(neap_sock *s, np_op *op, neap_sock *conn, neap_future **ret_future) {
    sock_op *so = make(s, op);
    int32_t rc = so == NULL ? NEAP_ENOMEM : io_of(s)->backend->park(io_of(s), &so->op);
    if (rc < 0) {
        if (so != NULL)
            unmake(so);
        return rc;
    }
    so->conn = conn;
    np_future_give(&so->f, ret_future);
    return NEAP_PENDING;
}

/* A future in any case: made before the call, so that no result can be lost to a lack of memory. */
static int32_t start_future(neap_sock *s, np_op *op, neap_sock *conn, neap_future **ret_future) {
    sock_op *so = make(s, op);
    if (so == NULL)
        return NEAP_ENOMEM;
    if (op->arm != NULL && (so->op.arm(&so->op), so->op.buf == NULL)) {
        unmake(so);
        return NEAP_ENOMEM;
    }
    int64_t result = io_of(s)->backend->begin(io_of(s), &so->op);
    int32_t rc = result == NP_WAIT ? io_of(s)->backend->park(io_of(s), &so->op) : 0;
    if (rc < 0) {
        unmake(so);
        return rc;
    }
    so->conn = conn;
    np_future_give(&so->f, ret_future);
    if (result != NP_WAIT) {
        so->op.result = result;
        done(&so->op);
    }
    return NEAP_PENDING;
}

/* Whoever does not wait wants to know what is there now, not what the last announcement said. */
static int64_t begin(neap_sock *s, np_op *op, uint32_t flags) {
    if ((flags & NEAP_NOWAIT) != 0)
        s->desc.bits |= op->dir == NP_DIR_READ ? NP_D_READ : NP_D_WRITE;
    int64_t result = io_of(s)->backend->begin(io_of(s), op);
    if (result != NP_WAIT)
        np_trace(s->obj.loop, NEAP_TRACE_IO, result, NULL, NULL, NULL);
    return result == NP_WAIT && (flags & NEAP_NOWAIT) != 0 ? NEAP_EAGAIN : result;
}

static int32_t enter(const neap_sock *s, uint32_t flags, neap_future **ret_future) {
    int32_t rc = np_sock_enter(s);
    if (rc < 0)
        return rc;
    if ((flags & ~(uint32_t)(NEAP_NOWAIT | NEAP_WANT_FUTURE)) != 0 || (ret_future == NULL && (flags & NEAP_NOWAIT) == 0))
        return NEAP_EINVAL;
    return s->desc.fd < 0 ? NEAP_ENOTCONN : 0;
}

static np_op op_for(neap_sock *s, uint8_t kind, uint8_t dir, const void *data, size_t len) {
    return (np_op){.desc = &s->desc, .kind = kind, .dir = dir, .buf = (void *)(uintptr_t)data, .len = len};
}

/* An operation that ended at once, as a future. */
static int32_t ended_future(neap_sock *s, np_op *op, int64_t result, neap_future **ret_future) {
    sock_op *so = make(s, op);
    if (so == NULL)
        return result < 0 ? (int32_t)result : NEAP_ENOMEM;
    np_future_give(&so->f, ret_future);
    so->op.result = result;
    done(&so->op);
    return NEAP_PENDING;
}

static int32_t start(neap_sock *s, np_op *op, uint32_t flags, neap_future **ret_future) {
    if ((flags & NEAP_WANT_FUTURE) != 0)
        return start_future(s, op, NULL, ret_future);
    int64_t result = begin(s, op, flags);
    if (result == NP_WAIT)
        return park(s, op, NULL, ret_future);
    if (result < 0 && op->moved > 0) /* how much went travels with the future */
        return ended_future(s, op, result, ret_future);
    return (int32_t)result;
}

/* Counts travel as int32_t. */
static size_t bounded(size_t len) {
    return len > INT32_MAX ? INT32_MAX : len;
}

/* ---- Accept and connect */

static int32_t accepted(neap_sock *conn, int fd, neap_sock **ret_sock) {
    np_sock_give_fd(conn, fd, 0);
    np_obj_publish(&conn->obj);
    *ret_sock = conn;
    return 0;
}

int32_t neap_sock_accept(neap_sock *sock, uint32_t flags, neap_sock **ret_sock, neap_addr *ret_addr,
                         neap_future **ret_future) {
    neap_addr addr;
    int32_t rc = ret_sock == NULL && (flags & NEAP_WANT_FUTURE) == 0 ? NEAP_EINVAL : enter(sock, flags, ret_future);
    neap_sock *conn = rc < 0 ? NULL : np_sock_husk(sock->obj.loop, sock->sort);
    if (conn == NULL)
        return rc < 0 ? rc : NEAP_ENOMEM;
    np_op op = op_for(sock, NP_OP_ACCEPT, NP_DIR_READ, NULL, 0);
    op.addr = &addr;
    memset(&addr, 0, sizeof addr);
    if ((flags & NEAP_WANT_FUTURE) != 0) {
        rc = start_future(sock, &op, conn, ret_future);
    } else {
        int64_t result = begin(sock, &op, flags);
        if (result >= 0) {
            if (ret_addr != NULL)
                *ret_addr = addr;
            return accepted(conn, (int)result, ret_sock);
        }
        rc = result == NP_WAIT ? park(sock, &op, conn, ret_future) : (int32_t)result;
    }
    if (rc < 0 && rc != NEAP_PENDING)
        np_obj_unref(&conn->obj);
    return rc;
}

int32_t neap_sock_connect(neap_sock *sock, const neap_addr *addr, uint32_t flags, neap_future **ret_future) {
    int32_t rc = addr == NULL || ret_future == NULL || (flags & NEAP_NOWAIT) != 0 ? NEAP_EINVAL : np_sock_enter(sock);
    if (rc == 0)
        rc = np_sock_open(sock, addr->family);
    if (rc == 0)
        rc = enter(sock, flags, ret_future);
    if (rc < 0)
        return rc;
    neap_addr copy = *addr;
    np_op op = op_for(sock, NP_OP_CONNECT, NP_DIR_WRITE, NULL, 0);
    op.addr = &copy;
    return start(sock, &op, flags, ret_future);
}

/* ---- Receiving */

/* Bytes that were put back come first, unless others wait before. */
static bool has_back(const neap_sock *s) {
    return s->back_len > 0 && np_list_empty(&s->desc.queue[NP_DIR_READ]);
}

static const char *take_back(neap_sock *s, size_t max, size_t *ret_len) {
    const char *at = np_buf_bytes(s->back) + s->back_at;
    size_t n = max < s->back_len ? max : s->back_len;
    s->back_at += (uint32_t)n;
    s->back_len -= (uint32_t)n;
    *ret_len = n;
    return at;
}

static void forget_back(neap_sock *s) {
    if (s->back == NULL || s->back_len > 0)
        return;
    neap_buf_unref(s->back);
    s->back = NULL;
}

static int32_t recv_into(neap_sock *s, void *data, size_t len, uint32_t flags, neap_addr *ret_addr,
                         neap_future **ret_future) {
    neap_addr addr;
    int32_t rc = data == NULL && len > 0 ? NEAP_EINVAL : enter(s, flags, ret_future);
    if (rc < 0)
        return rc;
    forget_back(s);
    np_op op = op_for(s, NP_OP_RECV, NP_DIR_READ, data, bounded(len));
    if (ret_addr != NULL || s->sort == NEAP_UDP || s->sort == NEAP_UNIX_DGRAM) {
        memset(&addr, 0, sizeof addr);
        op.addr = &addr;
    }
    size_t n = 0;
    if (op.len > 0 && has_back(s)) {
        const char *from = take_back(s, op.len, &n);
        memcpy(data, from, n);
    }
    if (n > 0 || op.len == 0)
        rc = (flags & NEAP_WANT_FUTURE) != 0 ? ended_future(s, &op, (int64_t)n, ret_future) : (int32_t)n;
    else
        rc = start(s, &op, flags, ret_future);
    if (rc >= 0 && ret_addr != NULL)
        *ret_addr = addr;
    return rc;
}

int32_t neap_sock_recv(neap_sock *sock, void *data, size_t len, uint32_t flags, neap_future **ret_future) {
    return recv_into(sock, data, len, flags, NULL, ret_future);
}

int32_t neap_sock_recvfrom(neap_sock *sock, void *data, size_t len, uint32_t flags, neap_addr *ret_addr,
                           neap_future **ret_future) {
    neap_addr unused;
    return recv_into(sock, data, len, flags, ret_addr != NULL ? ret_addr : &unused, ret_future);
}

/* A lent receive that is to be a future gets its bytes in a buffer of its own; see arm. */
static int32_t lent_future(neap_sock *s, np_op *op, neap_future **ret_future) {
    size_t n = 0;
    if (op->len > 0 && !has_back(s))
        return start_future(s, op, NULL, ret_future);
    sock_op *so = make(s, op);
    if (so == NULL)
        return NEAP_ENOMEM;
    if (so->op.arm(&so->op), so->op.buf == NULL) {
        unmake(so);
        return NEAP_ENOMEM;
    }
    if (op->len > 0) {
        const char *from = take_back(s, so->op.len, &n);
        memcpy(so->op.buf, from, n);
    }
    np_future_give(&so->f, ret_future);
    so->op.result = (int64_t)n;
    done(&so->op);
    return NEAP_PENDING;
}

static int32_t lent_now(neap_sock *s, np_op *op, uint32_t flags, const void **ret_data, neap_future **ret_future) {
    op->buf = lend_to(s->obj.loop, op);
    if (op->buf == NULL)
        return NEAP_ENOMEM;
    int64_t result = begin(s, op, flags);
    if (result >= 0)
        *ret_data = op->buf;
    if (result != NP_WAIT)
        return (int32_t)result;
    op->buf = NULL;
    return park(s, op, NULL, ret_future);
}

static int32_t recv_lent(neap_sock *s, size_t max, uint32_t flags, const void **ret_data, neap_addr *addr,
                         neap_future **ret_future) {
    int32_t rc = ret_data == NULL ? NEAP_EINVAL : enter(s, flags, ret_future);
    if (rc < 0)
        return rc;
    forget_back(s);
    np_op op = op_for(s, NP_OP_RECV, NP_DIR_READ, NULL, bounded(max));
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

int32_t neap_sock_recvfrom_lent(neap_sock *sock, size_t max, uint32_t flags, const void **ret_data, neap_addr *ret_addr,
                                neap_future **ret_future) {
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
    if (len + s->back_len > UINT32_MAX)
        return NEAP_E2BIG;
    neap_buf *buf = np_buf_new(s->obj.loop->alloc, len + s->back_len);
    if (buf == NULL)
        return NEAP_ENOMEM;
    memcpy(np_buf_bytes(buf), data, len);
    if (s->back_len > 0)
        memcpy(np_buf_bytes(buf) + len, np_buf_bytes(s->back) + s->back_at, s->back_len);
    neap_buf_unref(s->back);
    s->back = buf;
    s->back_at = 0;
    s->back_len += (uint32_t)len;
    return 0;
}

/* Receives that wait come first: they get the bytes at once.  Without memory for them the next arrival wakes them. */
static void feed(neap_sock *s) {
    np_list *queue = &s->desc.queue[NP_DIR_READ];
    while (s->back_len > 0 && !np_list_empty(queue)) {
        np_op *op = np_container(queue->next, np_op, link);
        sock_op *so = np_container(op, sock_op, op);
        size_t n;
        if (op->kind != NP_OP_RECV || (op->buf == NULL && !own_buffer(so)) || !io_of(s)->backend->cancel(io_of(s), op))
            return;
        const char *from = take_back(s, op->len, &n);
        memcpy(op->buf, from, n);
        op->result = (int64_t)n;
        done(op);
    }
}

static int32_t put_back(neap_sock *s, const char *data, size_t len) {
    neap_loop *loop = s->obj.loop;
    if (s->back != NULL && data + len == np_buf_bytes(s->back) + s->back_at) {
        s->back_at -= (uint32_t)len; /* it had been lent from there */
        s->back_len += (uint32_t)len;
        return 0;
    }
    forget_back(s);
    if (s->back != NULL || !inside(data, len, loop->lent, NP_LENT_BYTES))
        return put_back_copy(s, data, len);
    np_lent_end(loop);
    if (loop->lent == NULL) /* its bytes have just been given to a future */
        return put_back_copy(s, data, len);
    s->back_at = (uint32_t)(data - np_buf_bytes(loop->lent));
    s->back_len = (uint32_t)len;
    s->back = np_lent_take(loop);
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

/* ---- Sending */

static int32_t send_from(neap_sock *s, uint8_t kind, const void *data, size_t len, const neap_addr *addr, uint32_t flags,
                         neap_future **ret_future) {
    neap_addr copy;
    int32_t rc = (data == NULL && len > 0) || len > INT32_MAX ? NEAP_EINVAL : enter(s, flags, ret_future);
    if (rc < 0)
        return rc;
    np_op op = op_for(s, kind, NP_DIR_WRITE, data, len);
    if (addr != NULL) {
        copy = *addr;
        op.addr = &copy;
    }
    bool stream = s->sort == NEAP_TCP || s->sort == NEAP_UNIX;
    if (len == 0 && stream)
        return (flags & NEAP_WANT_FUTURE) != 0 ? ended_future(s, &op, 0, ret_future) : 0;
    if (!stream)
        op.kind = NP_OP_SEND; /* a datagram goes whole or not at all, also an empty one */
    return start(s, &op, flags, ret_future);
}

int32_t neap_sock_send(neap_sock *sock, const void *data, size_t len, uint32_t flags, neap_future **ret_future) {
    return send_from(sock, NP_OP_SEND, data, len, NULL, flags, ret_future);
}

int32_t neap_sock_sendall(neap_sock *sock, const void *data, size_t len, uint32_t flags, neap_future **ret_future) {
    if ((flags & NEAP_NOWAIT) != 0)
        return NEAP_EINVAL; /* all or a wait; what fits is neap_sock_send's */
    return send_from(sock, NP_OP_SENDALL, data, len, NULL, flags, ret_future);
}

int32_t neap_sock_sendto(neap_sock *sock, const void *data, size_t len, const neap_addr *addr, uint32_t flags,
                         neap_future **ret_future) {
    int32_t rc = np_sock_enter(sock);
    if (rc == 0 && addr != NULL)
        rc = np_sock_open(sock, addr->family);
    return rc < 0 ? rc : send_from(sock, NP_OP_SEND, data, len, addr, flags, ret_future);
}

int32_t neap_future_get_addr(neap_future *future, neap_addr *ret_addr) {
    int32_t rc = ret_addr == NULL ? NEAP_EINVAL : neap_future_error(future);
    if (rc < 0)
        return rc;
    neap_future *o = np_future_origin(future);
    if (o->obj.type != &op_type.base || of_future(o)->op.addr == NULL)
        return NEAP_ETYPE;
    *ret_addr = of_future(o)->addr[0];
    return 0;
}

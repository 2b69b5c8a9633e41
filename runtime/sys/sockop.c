/* sockop.c: operations on sockets: begun on the spot, parked as a future, completed, cancelled; and those that accept,
   connect and send. */
#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "sys/sockop.h"

/* ---- Completion */

void np_sockop_let_go(np_sockop *so) {
    neap_sock *s = np_sockop_sock(so);
    so->op.desc = NULL;
    np_obj_unref(&s->obj);
    np_future_deactivate(&so->f);
}

static bool sends_all(const np_op *op) {
    return op->kind == NP_OP_SENDALL || op->kind == NP_OP_SEND_MANY || op->kind == NP_OP_SEND_FDS;
}

static void settle_failed(np_sockop *so, int32_t code) {
    neap_future *f = &so->f;
    if (so->op.buf != NULL && f->kind == NP_KIND_BUF)
        np_future_clear_value(f);
    if (sends_all(&so->op)) {
        f->kind = NP_KIND_PARTIAL;
        f->value.i = (int64_t)so->op.moved;
    }
    if (code == NEAP_ECANCELED)
        np_future_settle(f, NEAP_STATE_CANCELLED);
    else
        np_future_settle_error(f, code, NULL);
}

static void settle_accepted(np_sockop *so, int fd) {
    neap_sock *conn = so->op.buf;
    np_sock_give_conn(conn, fd, so->op.addr);
    np_obj_publish(&conn->obj);
    so->f.kind = NEAP_KIND_SOCK;
    so->f.value.sock = conn;
    so->op.buf = NULL;
    np_future_settle(&so->f, NEAP_STATE_RESULT);
}

static void settle_moved(np_sockop *so, int64_t n) {
    if (so->f.kind == NP_KIND_BUF) {
        np_buf_set_len(so->f.value.buf, (size_t)n);
    } else if (so->op.kind == NP_OP_CONNECT) {
        np_sock_met(np_sockop_sock(so), so->op.addr);
        so->f.kind = NEAP_KIND_NONE;
    } else {
        so->f.kind = NEAP_KIND_INT;
        so->f.value.i = n;
    }
    np_future_settle(&so->f, NEAP_STATE_RESULT);
}

void np_sockop_settle(np_sockop *so) {
    np_trace(so->f.obj.loop, NEAP_TRACE_IO, so->op.result, NULL, &so->f, NULL);
    if (so->op.kind == NP_OP_SEND_FDS)
        np_passing_close(so->op.buf);
    if (so->op.result < 0)
        settle_failed(so, (int32_t)so->op.result);
    else if (so->op.kind == NP_OP_ACCEPT)
        settle_accepted(so, (int)so->op.result);
    else
        settle_moved(so, so->op.result);
}

void np_sockop_done(np_op *op) {
    np_sockop *so = np_container(op, np_sockop, op);
    np_sockop_settle(so);
    np_sockop_let_go(so);
}

static int32_t cancel(neap_future *f, const char *msg) {
    np_sockop *so = np_sockop_of(f);
    neap_sock *s = np_sockop_sock(so);
    if (!np_sockop_io(s)->backend->cancel(np_sockop_io(s), &so->op))
        return 1; /* it comes when the kernel has let go */
    so->op.result = NEAP_ECANCELED;
    np_future_set_message(f, msg);
    np_future_ref(f);
    np_obj_ref(&s->obj);
    np_sockop_done(&so->op);
    if (so->op.kind == NP_OP_CONNECT)
        np_sock_shut(s);
    np_reap(s->obj.loop);
    np_obj_unref(&s->obj);
    np_future_unref(f);
    return 1;
}

/* What the block of an operation measures: one that has an address or passes descriptors keeps them behind itself. */
static size_t size_of(const np_op *op) {
    if (np_op_passes(op))
        return sizeof(np_sockop) + np_passing_size(((const np_passing *)op->buf)->fds_max);
    return sizeof(np_sockop) + (op->addr != NULL ? sizeof(neap_addr) : 0);
}

static void destroy(np_obj *obj) {
    np_sockop *so = np_sockop_of(np_container(obj, neap_future, obj));
    neap_sock *conn = so->op.kind == NP_OP_ACCEPT ? so->op.buf : NULL;
    if (conn != NULL)
        np_obj_unref(&conn->obj);
    if (np_op_passes(&so->op))
        np_passing_close(so->op.buf);
    np_future_fini(&so->f);
    np_obj_free(obj, size_of(&so->op));
}

static const char *what(const neap_future *f) {
    static const char *const names[] = {
        [NP_OP_ACCEPT] = "an accept",      [NP_OP_CONNECT] = "a connect",
        [NP_OP_RECV] = "a recv",           [NP_OP_SEND] = "a send",
        [NP_OP_SENDALL] = "a sendall",     [NP_OP_RECV_MANY] = "a recv_many",
        [NP_OP_SEND_MANY] = "a send_many", [NP_OP_RECV_FDS] = "a recv_fds",
        [NP_OP_SEND_FDS] = "a send_fds",
    };
    const np_op *op = &np_container(f, np_sockop, f)->op;
    return op->kind == NP_OP_RECV && op->addr != NULL ? "a recvfrom" : names[op->kind];
}

/* The address that tells sockets apart: of the other side, if there is one. */
static bool address_of(const np_sockop *so, neap_addr *ret_addr) {
    const np_op *op = &so->op;
    bool given = op->addr != NULL && op->kind != NP_OP_RECV && op->kind != NP_OP_ACCEPT;
    if (given)
        *ret_addr = *op->addr;
    return given || neap_sock_peer(np_sockop_sock(so), ret_addr) == 0 ||
           neap_sock_local(np_sockop_sock(so), ret_addr) == 0;
}

static void detail(const neap_future *f, char *buf, size_t cap) {
    const np_sockop *so = np_container(f, np_sockop, f);
    neap_addr addr;
    char text[160] = "";
    if (so->op.desc == NULL)
        return;
    if (address_of(so, &addr))
        neap_addr_format(&addr, text, sizeof text);
    if (text[0] != '\0')
        snprintf(buf, cap, " on %s (descriptor %d)", text, so->op.desc->fd);
    else
        snprintf(buf, cap, " on descriptor %d", so->op.desc->fd);
}

static const neap_addr *addr_of(const neap_future *f) {
    const np_sockop *so = np_container(f, np_sockop, f);
    return so->op.addr != NULL ? &so->addr[0] : NULL;
}

static const np_future_type op_type = {.base = {.name = "an operation", .destroy = destroy},
                                       .cancel = cancel,
                                       .ready = np_lent_ready,
                                       .operation = true,
                                       .what = what,
                                       .detail = detail,
                                       .addr = addr_of};

/* ---- Starting */

static void move_passing(np_sockop *so, np_passing *from) {
    np_passing *own = (np_passing *)(void *)so->addr;
    memcpy(own, from, np_passing_size(from->fds_len));
    so->op.buf = own;
    from->owns = false;
    from->fds_len = 0;
}

np_sockop *np_sockop_make(neap_sock *s, const np_op *from) {
    neap_future *f = np_future_new(s->obj.loop, &op_type, size_of(from));
    if (f == NULL)
        return NULL;
    np_sockop *so = np_sockop_of(f);
    so->op = *from;
    np_list_init(&so->op.link);
    so->op.done = np_sockop_done;
    if (from->addr != NULL) {
        so->addr[0] = *from->addr;
        so->op.addr = &so->addr[0];
    }
    if (np_op_passes(from))
        move_passing(so, from->buf);
    f->flags |= NP_F_RESOURCE | NP_F_ACTIVE;
    np_future_ref(f);
    np_obj_ref(&s->obj);
    return so;
}

/* The husk of an accept stays the caller's. */
void np_sockop_unmake(np_sockop *so) {
    if (so->op.kind == NP_OP_ACCEPT)
        so->op.buf = NULL;
    np_list_unlink(&so->f.all);
    so->f.state = NEAP_STATE_CANCELLED; /* nobody has seen it */
    np_obj_unref(&np_sockop_sock(so)->obj);
    np_future_deactivate(&so->f);
    np_future_unref(&so->f);
}

int32_t np_sockop_park(neap_sock *s, np_op *op, neap_future **ret_future) {
    np_sockop *so = np_sockop_make(s, op);
    int32_t rc =
        so == NULL ? NEAP_ENOMEM : np_sockop_io(s)->backend->park(np_sockop_io(s), &so->op);
    if (rc < 0) {
        if (so != NULL)
            np_sockop_unmake(so);
        return rc;
    }
    np_future_give(&so->f, ret_future);
    return NEAP_PENDING;
}

/* A future in any case: made before the call, so that no result can be lost to a lack of memory. */
int32_t np_sockop_start_future(neap_sock *s, np_op *op, neap_future **ret_future) {
    np_sockop *so = np_sockop_make(s, op);
    if (so == NULL)
        return NEAP_ENOMEM;
    if (op->arm != NULL && (so->op.arm(&so->op), so->op.buf == NULL)) {
        np_sockop_unmake(so);
        return NEAP_ENOMEM;
    }
    int64_t result = np_sockop_io(s)->backend->begin(np_sockop_io(s), &so->op);
    int32_t rc = result == NP_WAIT ? np_sockop_io(s)->backend->park(np_sockop_io(s), &so->op) : 0;
    if (rc < 0) {
        np_sockop_unmake(so);
        return rc;
    }
    np_future_give(&so->f, ret_future);
    if (result != NP_WAIT) {
        so->op.result = result;
        np_sockop_done(&so->op);
    }
    return NEAP_PENDING;
}

/* Whoever does not wait wants to know what is there now, not what the last announcement said. */
int64_t np_sockop_begin(neap_sock *s, np_op *op, uint32_t flags) {
    if ((flags & NEAP_NOWAIT) != 0)
        s->desc.bits |= op->dir == NP_DIR_READ ? NP_D_READ : NP_D_WRITE;
    int64_t result = np_sockop_io(s)->backend->begin(np_sockop_io(s), op);
    if (result != NP_WAIT)
        np_trace(s->obj.loop, NEAP_TRACE_IO, result, NULL, NULL, NULL);
    return result == NP_WAIT && (flags & NEAP_NOWAIT) != 0 ? NEAP_EAGAIN : result;
}

int32_t np_sockop_enter(const neap_sock *s, uint32_t flags, neap_future **ret_future) {
    int32_t rc = np_sock_enter(s);
    if (rc < 0)
        return rc;
    if ((flags & ~(uint32_t)(NEAP_NOWAIT | NEAP_WANT_FUTURE)) != 0 ||
        (ret_future == NULL && (flags & NEAP_NOWAIT) == 0))
        return NEAP_EINVAL;
    return s->desc.fd < 0 ? NEAP_ENOTCONN : 0;
}

np_op np_sockop_op(neap_sock *s, uint8_t kind, uint8_t dir, const void *data, size_t len) {
    return (np_op){
        .desc = &s->desc, .kind = kind, .dir = dir, .buf = (void *)(uintptr_t)data, .len = len};
}

/* An operation that ended at once, as a future. */
int32_t np_sockop_ended(neap_sock *s, np_op *op, int64_t result, neap_future **ret_future) {
    np_sockop *so = np_sockop_make(s, op);
    if (so == NULL)
        return result < 0 ? (int32_t)result : NEAP_ENOMEM;
    np_future_give(&so->f, ret_future);
    so->op.result = result;
    np_sockop_done(&so->op);
    return NEAP_PENDING;
}

int32_t np_sockop_start(neap_sock *s, np_op *op, uint32_t flags, neap_future **ret_future) {
    if ((flags & NEAP_WANT_FUTURE) != 0)
        return np_sockop_start_future(s, op, ret_future);
    int64_t result = np_sockop_begin(s, op, flags);
    if (result == NP_WAIT)
        return np_sockop_park(s, op, ret_future);
    if (result < 0 && op->moved > 0) /* how much went travels with the future */
        return np_sockop_ended(s, op, result, ret_future);
    return (int32_t)result;
}

/* ---- Accept and connect */

static int32_t accepted(neap_sock *conn, int fd, const neap_addr *peer, neap_sock **ret_sock) {
    np_sock_give_conn(conn, fd, peer);
    np_obj_publish(&conn->obj);
    *ret_sock = conn;
    return 0;
}

int32_t neap_sock_accept(neap_sock *sock, uint32_t flags, neap_sock **ret_sock, neap_addr *ret_addr,
                         neap_future **ret_future) {
    neap_addr addr;
    int32_t rc = ret_sock == NULL && (flags & NEAP_WANT_FUTURE) == 0
                     ? NEAP_EINVAL
                     : np_sockop_enter(sock, flags, ret_future);
    neap_sock *conn = rc < 0 ? NULL : np_sock_husk(sock->obj.loop, sock->sort);
    if (conn == NULL)
        return rc < 0 ? rc : NEAP_ENOMEM;
    np_op op = np_sockop_op(sock, NP_OP_ACCEPT, NP_DIR_READ, conn, 0);
    op.addr = &addr;
    memset(&addr, 0, sizeof addr);
    if ((flags & NEAP_WANT_FUTURE) != 0) {
        rc = np_sockop_start_future(sock, &op, ret_future);
    } else {
        int64_t result = np_sockop_begin(sock, &op, flags);
        if (result >= 0) {
            if (ret_addr != NULL)
                *ret_addr = addr;
            return accepted(conn, (int)result, &addr, ret_sock);
        }
        rc = result == NP_WAIT ? np_sockop_park(sock, &op, ret_future) : (int32_t)result;
    }
    if (rc < 0 && rc != NEAP_PENDING)
        np_obj_unref(&conn->obj);
    return rc;
}

int32_t neap_sock_connect(neap_sock *sock, const neap_addr *addr, uint32_t flags,
                          neap_future **ret_future) {
    int32_t rc = addr == NULL || ret_future == NULL || (flags & NEAP_NOWAIT) != 0
                     ? NEAP_EINVAL
                     : np_sock_enter(sock);
    if (rc == 0)
        rc = np_sock_open(sock, addr->family);
    if (rc == 0)
        rc = np_sockop_enter(sock, flags, ret_future);
    if (rc < 0)
        return rc;
    neap_addr copy = *addr;
    np_op op = np_sockop_op(sock, NP_OP_CONNECT, NP_DIR_WRITE, NULL, 0);
    op.addr = &copy;
    rc = np_sockop_start(sock, &op, flags, ret_future);
    if (rc == 0)
        np_sock_met(sock, &copy);
    return rc;
}

/* ---- Sending */

static int32_t send_from(neap_sock *s, uint8_t kind, const void *data, size_t len,
                         const neap_addr *addr, uint32_t flags, neap_future **ret_future) {
    neap_addr copy;
    int32_t rc = (data == NULL && len > 0) || len > INT32_MAX
                     ? NEAP_EINVAL
                     : np_sockop_enter(s, flags, ret_future);
    if (rc < 0)
        return rc;
    np_op op = np_sockop_op(s, kind, NP_DIR_WRITE, data, len);
    if (addr != NULL) {
        copy = *addr;
        op.addr = &copy;
    }
    bool stream = np_sort_is_stream(s->sort);
    if (len == 0 && stream)
        return (flags & NEAP_WANT_FUTURE) != 0 ? np_sockop_ended(s, &op, 0, ret_future) : 0;
    if (!stream)
        op.kind = NP_OP_SEND; /* a datagram goes whole or not at all, also an empty one */
    return np_sockop_start(s, &op, flags, ret_future);
}

int32_t neap_sock_send(neap_sock *sock, const void *data, size_t len, uint32_t flags,
                       neap_future **ret_future) {
    return send_from(sock, NP_OP_SEND, data, len, NULL, flags, ret_future);
}

int32_t neap_sock_sendall(neap_sock *sock, const void *data, size_t len, uint32_t flags,
                          neap_future **ret_future) {
    if ((flags & NEAP_NOWAIT) != 0)
        return NEAP_EINVAL; /* all or a wait; what fits is neap_sock_send's */
    return send_from(sock, NP_OP_SENDALL, data, len, NULL, flags, ret_future);
}

int32_t neap_sock_sendto(neap_sock *sock, const void *data, size_t len, const neap_addr *addr,
                         uint32_t flags, neap_future **ret_future) {
    int32_t rc = np_sock_enter(sock);
    if (rc == 0 && addr != NULL)
        rc = np_sock_open(sock, addr->family);
    return rc < 0 ? rc : send_from(sock, NP_OP_SEND, data, len, addr, flags, ret_future);
}

np_sockop *np_sockop_from(neap_future *origin) {
    return origin->obj.type == &op_type.base ? np_sockop_of(origin) : NULL;
}

int32_t neap_future_get_addr(neap_future *future, neap_addr *ret_addr) {
    int32_t rc = ret_addr == NULL ? NEAP_EINVAL : neap_future_error(future);
    if (rc < 0)
        return rc;
    neap_future *o = np_future_origin(future);
    const neap_addr *addr =
        np_future_type_of(o)->addr != NULL ? np_future_type_of(o)->addr(o) : NULL;
    if (addr == NULL)
        return NEAP_ETYPE;
    *ret_addr = *addr;
    return 0;
}

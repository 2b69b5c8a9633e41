/* attempt_msg.c: the system calls that move whole messages: datagrams in batches, and descriptors with bytes.

   What the kernel gets wrong, and what is done about it:
   - recvmmsg keeps an error behind datagrams for the next call; a second call made here would eat it.  So one attempt to
     receive is one call.
   - Room for control data is rounded up, and what fits into the padding is another descriptor, which nobody asked for: there
     is always room for as many as can come, and what is too much is closed.
   - A stream that sends no byte sends no descriptor either, and says that all went well: that is refused before it comes
     here. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "io/op.h"

enum {
    CHUNK = 128,      /* datagrams a system call */
    RUN = 64,         /* datagrams that a kernel cuts one into */
    RUN_BYTES = 65000 /* that is how long it may be, with room for headers */
};

/* ---- Batches */

typedef struct chunk {
    struct mmsghdr heads[CHUNK];
    struct iovec parts[CHUNK];
} chunk;

static neap_msg *msg_at(const np_op *op, size_t i) {
    return (neap_msg *)(void *)((char *)op->buf + i * op->stride);
}

static unsigned chunk_of(size_t n) {
    return n < CHUNK ? (unsigned)n : CHUNK;
}

static void set_head(chunk *c, unsigned i, neap_msg *msg, size_t len, socklen_t addr_len) {
    c->parts[i] = (struct iovec){msg->data, len};
    c->heads[i].msg_len = 0;
    c->heads[i].msg_hdr = (struct msghdr){.msg_name = addr_len > 0 ? msg->addr.data : NULL,
                                          .msg_namelen = addr_len,
                                          .msg_iov = &c->parts[i],
                                          .msg_iovlen = 1};
}

static void received(neap_msg *msg, const struct mmsghdr *head) {
    size_t whole = head->msg_len; /* MSG_TRUNC: what the datagram had */
    msg->len = whole < msg->cap ? whole : msg->cap;
    msg->missing = whole - msg->len;
    np_addr_filled(&msg->addr, head->msg_hdr.msg_namelen);
}

static int64_t attempt_recv_many(np_op *op) {
    chunk c;
    unsigned want = chunk_of(op->len);
    int n;
    for (unsigned i = 0; i < want; i++) {
        neap_msg *msg = msg_at(op, i);
        set_head(&c, i, msg, msg->cap, sizeof msg->addr.data);
    }
    do
        n = recvmmsg(op->desc->fd, c.heads, want, MSG_TRUNC, NULL);
    while (n < 0 && errno == EINTR);
    for (int i = 0; i < n; i++)
        received(msg_at(op, (size_t)i), &c.heads[i]);
    return np_op_answer(n);
}

static int send_chunk(np_op *op) {
    chunk c;
    unsigned want = chunk_of(op->len - op->moved);
    int n;
    for (unsigned i = 0; i < want; i++) {
        neap_msg *msg = msg_at(op, op->moved + i);
        set_head(&c, i, msg, msg->len, msg->addr.len);
    }
    do
        n = sendmmsg(op->desc->fd, c.heads, want, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n;
}

typedef struct runs {
    chunk c;
    unsigned lens[CHUNK]; /* datagrams of each */
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(uint16_t))];
    } control[CHUNK];
} runs;

static bool has_receiver_of(const neap_msg *msg, const neap_msg *first) {
    return msg->addr.len == first->addr.len &&
           memcmp(msg->addr.data, first->addr.data, msg->addr.len) == 0;
}

/* How many of `n` datagrams from the i-th on can go as one: of one length but for the last, which may be shorter. */
static unsigned run_at(const np_op *op, size_t i, unsigned n) {
    const neap_msg *first = msg_at(op, i), *msg = first;
    size_t bytes = first->len;
    unsigned k = 1;
    for (; k < n && k < RUN && msg->len == first->len; k++) {
        msg = msg_at(op, i + k);
        bytes += msg->len;
        if (msg->len == 0 || msg->len > first->len || bytes > RUN_BYTES ||
            !has_receiver_of(msg, first))
            break;
    }
    return k;
}

static void set_run(runs *r, unsigned head, unsigned at, const np_op *op, unsigned want) {
    neap_msg *first = msg_at(op, op->moved + at);
    unsigned len = run_at(op, op->moved + at, want - at);
    const uint16_t size = (uint16_t)first->len;
    struct msghdr *h = &r->c.heads[head].msg_hdr;
    for (unsigned i = 0; i < len; i++) {
        const neap_msg *msg = msg_at(op, op->moved + at + i);
        r->c.parts[at + i] = (struct iovec){msg->data, msg->len};
    }
    r->lens[head] = len;
    *h = (struct msghdr){.msg_name = first->addr.len > 0 ? first->addr.data : NULL,
                         .msg_namelen = first->addr.len,
                         .msg_iov = &r->c.parts[at],
                         .msg_iovlen = len};
    if (len == 1)
        return;
    memset(&r->control[head], 0, sizeof r->control[head]);
    h->msg_control = r->control[head].room;
    h->msg_controllen = sizeof r->control[head].room;
    struct cmsghdr *c = CMSG_FIRSTHDR(h);
    c->cmsg_level = IPPROTO_UDP;
    c->cmsg_type = UDP_SEGMENT;
    c->cmsg_len = CMSG_LEN(sizeof size);
    memcpy(CMSG_DATA(c), &size, sizeof size);
}

static int send_runs(np_op *op) {
    runs r;
    unsigned want = chunk_of(op->len - op->moved), heads = 0;
    int n, sent = 0;
    for (unsigned at = 0; at < want; at += r.lens[heads++])
        set_run(&r, heads, at, op, want);
    do
        n = sendmmsg(op->desc->fd, r.c.heads, heads, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    for (int i = 0; i < n; i++)
        sent += (int)r.lens[i];
    return n < 0 ? n : sent;
}

/* Longer than a packet of the way there, or that cannot be cut there: one at a time, so that the one which fails is known. */
static bool cannot_be_cut(int error) {
    return error == EINVAL || error == EIO || error == EMSGSIZE || error == EOPNOTSUPP;
}

static int64_t attempt_send_many(np_op *op) {
    while (op->moved < op->len) {
        int n = op->segment ? send_runs(op) : send_chunk(op);
        if (n < 0 && op->segment && cannot_be_cut(errno)) {
            op->segment = false;
            continue;
        }
        if (n < 0)
            return np_op_answer(n);
        op->moved += (size_t)n;
    }
    return (int64_t)op->len;
}

/* ---- Descriptors with bytes */

typedef union control {
    struct cmsghdr align;
    char room[CMSG_SPACE(NEAP_FDS_MAX * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
} control;

void np_passing_close(np_passing *p) {
    for (uint32_t i = 0; p->owns && i < p->fds_len; i++)
        np_fd_close(p->fds[i]);
    p->fds_len = 0;
    p->owns = false;
}

static void keep_fds(np_passing *p, const struct cmsghdr *c) {
    size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < n; i++) {
        int fd;
        memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
        if (p->fds_len < p->fds_max) {
            p->fds[p->fds_len++] = fd;
        } else {
            np_fd_close(fd);
            p->flags |= NEAP_MSG_CTRUNC;
        }
    }
}

static void keep_sender(np_passing *p, const struct cmsghdr *c) {
    struct ucred from;
    if (c->cmsg_len < CMSG_LEN(sizeof from))
        return;
    memcpy(&from, CMSG_DATA(c), sizeof from);
    p->from = (neap_credentials){from.pid, from.uid, from.gid};
}

static void keep_control(np_passing *p, struct msghdr *msg) {
    p->owns = true;
    p->flags = (msg->msg_flags & MSG_TRUNC) != 0 ? NEAP_MSG_TRUNC : 0;
    p->flags |= (msg->msg_flags & MSG_CTRUNC) != 0 ? NEAP_MSG_CTRUNC : 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
            keep_fds(p, c);
        else if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_CREDENTIALS)
            keep_sender(p, c);
    }
}

static int64_t attempt_recv_fds(np_op *op) {
    np_passing *p = op->buf;
    control room;
    struct iovec part = {p->data, p->len};
    struct msghdr msg = {.msg_iov = &part, .msg_iovlen = 1};
    ssize_t n;
    do {
        msg.msg_control = room.room;
        msg.msg_controllen = sizeof room.room;
        n = recvmsg(op->desc->fd, &msg, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n >= 0)
        keep_control(p, &msg);
    return np_op_answer(n);
}

/* They go with the first byte. */
static void put_fds(const np_passing *p, struct msghdr *msg, control *room) {
    size_t bytes = p->fds_len * sizeof(int);
    if (bytes == 0)
        return;
    memset(room, 0, CMSG_SPACE(bytes));
    msg->msg_control = room->room;
    msg->msg_controllen = CMSG_SPACE(bytes);
    struct cmsghdr *c = CMSG_FIRSTHDR(msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(bytes);
    memcpy(CMSG_DATA(c), p->fds, bytes);
}

static ssize_t send_passing(np_op *op) {
    const np_passing *p = op->buf;
    control room;
    struct iovec part = {(char *)p->data + op->moved, p->len - op->moved};
    struct msghdr msg = {.msg_iov = &part, .msg_iovlen = 1};
    ssize_t n;
    if (op->moved == 0)
        put_fds(p, &msg, &room);
    do
        n = sendmsg(op->desc->fd, &msg, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n;
}

static int64_t attempt_send_fds(np_op *op) {
    do {
        ssize_t n = send_passing(op);
        if (n < 0)
            return np_op_answer(n);
        op->moved += (size_t)n;
    } while (op->moved < op->len);
    return (int64_t)op->len;
}

int64_t np_op_attempt_msg(np_op *op) {
    switch (op->kind) {
    case NP_OP_RECV_MANY:
        return attempt_recv_many(op);
    case NP_OP_SEND_MANY:
        return attempt_send_many(op);
    case NP_OP_RECV_FDS:
        return attempt_recv_fds(op);
    case NP_OP_SEND_FDS:
        return attempt_send_fds(op);
    default:
        return NEAP_EINVAL;
    }
}

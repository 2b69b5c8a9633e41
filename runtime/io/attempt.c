/* attempt.c: the system calls behind the operations.

   What the kernel gets wrong, and what is done about it:
   - accept returns errors of the connection it just took from the queue (ECONNABORTED, EPROTO, network errors): they say
     nothing about the listener, so the next connection is taken.
   - connect on a Unix socket whose listener is full fails with EAGAIN and never announces anything: that is a failure
     here, not a wait.
   - SO_ERROR reads 0 also while a connect is undecided; connect itself, called again, tells all three outcomes apart and
     puts the socket into its final state. */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "io/plain.h"

static int64_t attempt_poll(np_op *op) {
    short want = op->dir == NP_DIR_READ ? POLLIN | POLLRDHUP : POLLOUT;
    int got = np_fd_poll(op->desc->fd, want);
    if (got < 0)
        return got;
    if (got == 0)
        return NP_WAIT;
    return op->dir == NP_DIR_READ ? NEAP_READ : NEAP_WRITE;
}

static bool connection_died(int err) {
    switch (err) {
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case ENETUNREACH:
        return true;
    default:
        return false;
    }
}

static int64_t attempt_accept(np_op *op) {
    struct sockaddr_storage raw;
    socklen_t len;
    int fd;
    do {
        len = sizeof raw;
        fd = accept4(op->desc->fd, (struct sockaddr *)&raw, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    } while (fd < 0 && connection_died(errno));
    if (fd >= 0 && op->addr != NULL)
        np_addr_from_raw(op->addr, &raw, len);
    return np_op_answer(fd);
}

static int64_t attempt_connect(np_op *op) {
    socklen_t len;
    const struct sockaddr *raw = np_addr_raw(op->addr, &len);
    bool begun = op->begun;
    if (connect(op->desc->fd, raw, len) == 0)
        return 0;
    if (begun && errno == EISCONN)
        return 0;
    if (errno == EINPROGRESS || errno == EINTR ||
        (begun && errno == EALREADY)) { /* interrupted: goes on all the same */
        op->begun = true;
        return NP_WAIT;
    }
    return -errno;
}

static int64_t attempt_recv(np_op *op) {
    struct sockaddr_storage raw;
    socklen_t len;
    ssize_t n;
    do {
        len = sizeof raw;
        n = op->addr == NULL
                ? recv(op->desc->fd, op->buf, op->len, 0)
                : recvfrom(op->desc->fd, op->buf, op->len, 0, (struct sockaddr *)&raw, &len);
    } while (n < 0 && errno == EINTR);
    if (n >= 0 && op->addr != NULL)
        np_addr_from_raw(op->addr, &raw, len);
    return np_op_answer(n);
}

static ssize_t send_once(np_op *op) {
    const char *data = (const char *)op->buf + op->moved;
    socklen_t len = 0;
    const struct sockaddr *to = op->addr == NULL ? NULL : np_addr_raw(op->addr, &len);
    ssize_t n;
    do
        n = sendto(op->desc->fd, data, op->len - op->moved, MSG_NOSIGNAL, to, len);
    while (n < 0 && errno == EINTR);
    return n;
}

static int64_t attempt_sendall(np_op *op) {
    while (op->moved < op->len) {
        ssize_t n = send_once(op);
        if (n < 0)
            return np_op_answer(n);
        op->moved += (size_t)n;
    }
    return (int64_t)op->len;
}

int64_t np_op_attempt(np_op *op) {
    if (np_unlikely((op->desc->bits & NP_D_PLAIN) != 0) || op->kind == NP_OP_SENDFILE)
        return op->kind == NP_OP_POLL ? attempt_poll(op) : np_plain_attempt(op);
    switch (op->kind) {
    case NP_OP_POLL:
        return attempt_poll(op);
    case NP_OP_ACCEPT:
        return attempt_accept(op);
    case NP_OP_CONNECT:
        return attempt_connect(op);
    case NP_OP_RECV:
        return attempt_recv(op);
    case NP_OP_SEND:
        return np_op_answer(send_once(op));
    case NP_OP_SENDALL:
        return attempt_sendall(op);
    default:
        return np_op_attempt_msg(op);
    }
}

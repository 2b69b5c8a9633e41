/* plain.c: reading and writing descriptors that are no sockets.

   What the kernel gets wrong, and what is done about it:
   - A write to a pipe that nobody reads raises SIGPIPE, and no flag of write says otherwise: the signal is blocked for the
     call, and one that the call has raised is taken back.  The disposition is the program's and stays as it is.
   - Whether calls may block is a flag of the open file, which other processes share.  Where it is not ours to set, each call
     says that it must not.  Of terminals, named pipes, and pipes of kernels before 6.4 the kernel takes no such word: there it
     is asked before each call, and no more is written than what then goes without blocking.  Between the two another
     process may be quicker; then the call blocks.
   - The master of a pseudo-terminal whose other side is closed fails with EIO: that is its end. */
#include "io/plain.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"

enum {
    FILE_PIECE = 1 << 20, /* what one call takes from a file */
    COPY_PIECE = 16384    /* where the kernel does not send files */
};

/* ---- Descriptors whose calls may block */

static bool has(const np_op *op, unsigned bit) {
    return (op->desc->bits & bit) != 0;
}

static ssize_t would_block(void) {
    errno = EAGAIN;
    return -1;
}

/* The last call said that it must not block.  False if the kernel does not know how: it is asked from now on. */
static bool is_understood(np_op *op, ssize_t n) {
    if (n >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS))
        return true;
    op->desc->bits |= NP_D_ASKED;
    return false;
}

static ssize_t read_shared(np_op *op) {
    int fd = op->desc->fd;
    const struct iovec part = {op->buf, op->len};
    if (has(op, NP_D_SOCKET))
        return recv(fd, op->buf, op->len, MSG_DONTWAIT);
    if (!has(op, NP_D_ASKED)) {
        ssize_t n = preadv2(fd, &part, 1, -1, RWF_NOWAIT);
        if (is_understood(op, n))
            return n;
    }
    return np_fd_poll(fd, POLLIN) == 0 ? would_block() : read(fd, op->buf, op->len);
}

static ssize_t write_shared(np_op *op, const char *data, size_t len) {
    int fd = op->desc->fd;
    const struct iovec part = {(void *)(uintptr_t)data, len};
    if (!has(op, NP_D_ASKED)) {
        ssize_t n = pwritev2(fd, &part, 1, -1, RWF_NOWAIT);
        if (is_understood(op, n))
            return n;
    }
    return np_fd_poll(fd, POLLOUT) == 0 ? would_block()
                                        : write(fd, data, len > PIPE_BUF ? PIPE_BUF : len);
}

static int64_t read_some(np_op *op) {
    ssize_t n;
    do
        n = has(op, NP_D_BLOCKING) ? read_shared(op) : read(op->desc->fd, op->buf, op->len);
    while (n < 0 && errno == EINTR);
    return n < 0 && errno == EIO && isatty(op->desc->fd) ? 0 : np_op_answer(n);
}

/* ---- Calls that may raise SIGPIPE */

typedef struct quiet {
    sigset_t before;
    bool pending; /* one was raised before the call: it is somebody else's */
} quiet;

static sigset_t pipe_signal(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    return set;
}

static void quiet_begin(quiet *q) {
    sigset_t set = pipe_signal(), pending;
    sigemptyset(&pending);
    sigpending(&pending);
    q->pending = sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &set, &q->before);
}

/* Keeps errno, which is that of the call. */
static void quiet_end(const quiet *q, ssize_t n) {
    static const struct timespec now = {0, 0};
    const sigset_t set = pipe_signal();
    int saved = errno;
    if (n < 0 && saved == EPIPE && !q->pending)
        while (sigtimedwait(&set, NULL, &now) < 0 && errno == EINTR)
            ;
    pthread_sigmask(SIG_SETMASK, &q->before, NULL);
    errno = saved;
}

static ssize_t write_quietly(np_op *op, const char *data, size_t len) {
    quiet q;
    ssize_t n;
    quiet_begin(&q);
    do
        n = has(op, NP_D_BLOCKING) ? write_shared(op, data, len) : write(op->desc->fd, data, len);
    while (n < 0 && errno == EINTR);
    quiet_end(&q, n);
    return n;
}

static ssize_t sendfile_quietly(np_op *op, size_t len) {
    off_t at = op->at;
    quiet q;
    quiet_begin(&q);
    ssize_t n = sendfile(op->desc->fd, op->file, &at, len);
    quiet_end(&q, n);
    return n;
}

/* ---- Bytes */

static ssize_t send_some(int fd, const char *data, size_t len) {
    ssize_t n;
    do
        n = send(fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    return n;
}

static ssize_t write_some(np_op *op, const char *data, size_t len) {
    bool is_socket = !has(op, NP_D_PLAIN) || has(op, NP_D_SOCKET);
    return is_socket ? send_some(op->desc->fd, data, len) : write_quietly(op, data, len);
}

static int64_t write_all(np_op *op) {
    while (op->moved < op->len) {
        ssize_t n = write_some(op, (const char *)op->buf + op->moved, op->len - op->moved);
        if (n < 0)
            return np_op_answer(n);
        op->moved += (size_t)n;
    }
    return (int64_t)op->len;
}

/* ---- Files */

/* For targets that the kernel does not send files to: terminals, files opened to append. */
static ssize_t copy_piece(np_op *op, size_t len) {
    char piece[COPY_PIECE];
    ssize_t n = pread(op->file, piece, len < sizeof piece ? len : sizeof piece, op->at);
    if (n <= 0)
        return n;
    return write_some(op, piece, (size_t)n);
}

static ssize_t send_piece(np_op *op) {
    size_t len = op->len - op->moved < FILE_PIECE ? op->len - op->moved : FILE_PIECE;
    bool blocking = has(op, NP_D_BLOCKING);
    ssize_t n;
    do {
        n = blocking ? -1 : sendfile_quietly(op, len);
        if (blocking || (n < 0 && errno == EINVAL))
            n = copy_piece(op, len);
    } while (n < 0 && errno == EINTR);
    return n;
}

static int64_t send_file(np_op *op) {
    while (op->moved < op->len) {
        ssize_t n = send_piece(op);
        if (n < 0)
            return np_op_answer(n);
        if (n == 0) /* the file is shorter than it was */
            break;
        op->moved += (size_t)n;
        op->at += n;
    }
    return (int64_t)op->moved;
}

int64_t np_plain_attempt(np_op *op) {
    switch (op->kind) {
    case NP_OP_RECV:
        return read_some(op);
    case NP_OP_SENDALL:
        return write_all(op);
    case NP_OP_SENDFILE:
        return send_file(op);
    default:
        return NEAP_ENOTSUP;
    }
}

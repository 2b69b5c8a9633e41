/* stream.c: the life of a stream: over a socket or another descriptor, closed, gone. */
#include "net/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

enum {
    LOW_MARK = 16384, /* asyncio's */
    HIGH_MARK = 65536
};

/* ---- Gone */

void np_stream_shut(neap_stream *s, int32_t code) {
    if (s->sock->closed && !s->closing && s->reader == NULL && np_list_empty(&s->pieces))
        return;
    bool held = s->closing;
    s->closing = false;
    np_obj_ref(&s->obj);
    if (s->push != NULL)
        np_push_end(s, s->out_end < 0 ? s->out_end : held && np_list_empty(&s->pieces) ? 0 : code);
    np_stream_end_read(s, code);
    np_stream_end_out(s, code);
    (void)neap_sock_close(s->sock);
    np_inbuf_clear(s->obj.loop, &s->in);
    if (held)
        np_obj_unref(&s->obj);
    np_obj_unref(&s->obj);
}

void np_stream_reset(neap_stream *s) {
    if (s->sock->sort == NEAP_TCP && !s->sock->closed)
        (void)neap_sock_set_option(s->sock, "linger", 0);
    np_stream_shut(s, NEAP_ECLOSED);
}

static void destroy(np_obj *obj) {
    neap_stream *s = np_container(obj, neap_stream, obj);
    np_stream_end_out(s, NEAP_ECLOSED);
    np_inbuf_clear(obj->loop, &s->in);
    np_obj_outer_unref(&s->sock->obj);
    np_obj_free(obj, sizeof *s);
}

/* Nobody can use it any more.  One that is closing is left to send the rest. */
static void abandoned(np_obj *obj) {
    neap_stream *s = np_container(obj, neap_stream, obj);
    if (!s->closing)
        np_stream_shut(s, NEAP_ECLOSED);
}

static const np_type stream_type = {.name = "stream", .destroy = destroy, .abandoned = abandoned};

/* ---- Made */

/* The reference to the socket is taken, also on failure. */
static int32_t make(neap_sock *sock, neap_stream **ret_stream) {
    neap_loop *loop = sock->obj.loop;
    neap_stream *s = np_obj_new(loop, &stream_type, sizeof *s);
    if (s == NULL) {
        np_obj_outer_unref(&sock->obj);
        return NEAP_ENOMEM;
    }
    s->sock = sock;
    s->in_end = NP_STREAM_OPEN;
    s->low = LOW_MARK;
    s->high = HIGH_MARK;
    np_stream_init_out(s);
    np_obj_publish(&s->obj);
    *ret_stream = s;
    return 0;
}

/* What had been put back into the socket comes first. */
static int32_t inherit(neap_stream *s, neap_sock *sock) {
    size_t len = np_sock_back_len(sock);
    if (len == 0)
        return 0;
    const char *back = np_buf_bytes(sock->back) + sock->back_at;
    int32_t rc = np_inbuf_unread(s->obj.loop, &s->in, back, len);
    if (rc == 0)
        sock->back_at += (uint32_t)len;
    return rc;
}

int32_t neap_stream_new(neap_sock *sock, neap_stream **ret_stream) {
    int32_t rc = ret_stream == NULL ? NEAP_EINVAL : np_sock_enter(sock);
    if (rc < 0)
        return rc;
    if (!np_sort_is_stream(sock->sort))
        return NEAP_ENOTSUP;
    if (sock->desc.fd < 0)
        return NEAP_ENOTCONN;
    neap_stream *s = NULL;
    rc = make(neap_sock_ref(sock), &s);
    if (rc < 0)
        return rc;
    rc = inherit(s, sock);
    if (rc < 0) {
        np_obj_unref(&s->obj); /* not abandoned: the socket stays open */
        return rc;
    }
    *ret_stream = s;
    return 0;
}

int32_t neap_stream_pair(neap_loop *loop, neap_stream **ret_a, neap_stream **ret_b) {
    neap_sock *a, *b;
    neap_stream *first = NULL;
    int32_t rc =
        ret_a == NULL || ret_b == NULL ? NEAP_EINVAL : neap_sock_pair(loop, NEAP_UNIX, &a, &b);
    if (rc < 0)
        return rc;
    rc = make(a, &first);
    if (rc < 0) {
        np_obj_outer_unref(&b->obj);
        return rc;
    }
    rc = make(b, ret_b);
    if (rc < 0) {
        np_obj_outer_unref(&first->obj);
        return rc;
    }
    *ret_a = first;
    return 0;
}

/* ---- Descriptors that are no sockets */

/* Opening a character device may make another thing: the master of a pseudo-terminal makes a new pair. */
static bool opens_same(int fd, const struct stat *st) {
    unsigned number;
    return S_ISFIFO(st->st_mode) ||
           (S_ISCHR(st->st_mode) && isatty(fd) && ioctl(fd, TIOCGPTN, &number) < 0);
}

/* The same thing by a file of our own, whose flags nobody shares; -1: there is no such way. */
static int reopen(int fd, const struct stat *st) {
    char path[64];
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || !opens_same(fd, st))
        return -1;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return open(path, (flags & (O_ACCMODE | O_APPEND)) | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

/* A descriptor that can be used without changing what others see of this one. */
static int private_fd(int fd, unsigned *bits) {
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    int own = reopen(fd, &st);
    if (own >= 0)
        return own;
    if (!S_ISREG(st.st_mode))
        *bits |= NP_D_BLOCKING;
    if (S_ISSOCK(st.st_mode))
        *bits |= NP_D_SOCKET;
    own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    return own < 0 ? -errno : own;
}

/* Of a descriptor that is ours. */
static int32_t open_plain(neap_loop *loop, int fd, unsigned bits, neap_stream **ret_stream) {
    neap_sock *sock = np_sock_husk(loop, NP_SORT_PLAIN);
    if (sock == NULL)
        return NEAP_ENOMEM;
    np_obj_publish(&sock->obj);
    int32_t rc = make(sock, ret_stream);
    if (rc == 0)
        np_sock_give_fd(sock, fd, bits | NP_D_PLAIN | NP_D_SHARED);
    return rc;
}

static int32_t open_shared(neap_loop *loop, int fd, neap_stream **ret_stream) {
    unsigned bits = 0;
    int own = private_fd(fd, &bits);
    int32_t rc = own < 0 ? own : open_plain(loop, own, bits, ret_stream);
    if (rc < 0)
        np_fd_close(own);
    return rc;
}

static bool is_socket(int fd) {
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
}

static int32_t open_socket(neap_loop *loop, int fd, neap_stream **ret_stream) {
    neap_sock *sock;
    int32_t rc = neap_sock_adopt(loop, fd, &sock);
    if (rc < 0)
        return rc;
    rc = neap_stream_new(sock, ret_stream);
    if (rc < 0) { /* it stays the caller's */
        loop->io.backend->detach(&loop->io, &sock->desc, NEAP_ECLOSED);
        sock->desc.fd = -1;
    }
    neap_sock_unref(sock);
    return rc;
}

int32_t neap_stream_open(neap_loop *loop, neap_fd fd, uint32_t flags, neap_stream **ret_stream) {
    bool sound = loop != NULL && ret_stream != NULL && (flags & ~(uint32_t)NEAP_STREAM_SHARED) == 0;
    int32_t rc = sound ? np_enter(loop) : NEAP_EINVAL;
    if (rc == 0 && (fd < 0 || fd > INT32_MAX || fcntl((int)fd, F_GETFD) < 0))
        rc = NEAP_EBADF;
    if (rc < 0)
        return rc;
    if ((flags & NEAP_STREAM_SHARED) != 0)
        return open_shared(loop, (int)fd, ret_stream);
    if (is_socket((int)fd))
        return open_socket(loop, (int)fd, ret_stream);
    if (np_io_owner(&loop->io, (int)fd) != NULL)
        return NEAP_EBUSY_FD;
    rc = np_fd_prepare((int)fd);
    return rc < 0 ? rc : open_plain(loop, (int)fd, 0, ret_stream);
}

neap_stream *neap_stream_ref(neap_stream *stream) {
    np_obj_outer_ref(&stream->obj);
    return stream;
}

void neap_stream_unref(neap_stream *stream) {
    if (stream != NULL)
        np_obj_outer_unref(&stream->obj);
}

/* ---- Looked at */

neap_sock *neap_stream_sock(neap_stream *stream) {
    return stream->sock;
}

int32_t neap_stream_peer(neap_stream *stream, neap_addr *ret_addr) {
    int32_t rc = stream == NULL || ret_addr == NULL ? NEAP_EINVAL : np_enter(stream->obj.loop);
    if (rc < 0)
        return rc;
    rc = neap_sock_peer(stream->sock, ret_addr);
    return rc == NEAP_ECLOSED && np_peer_get(&stream->sock->peer, ret_addr) ? 0 : rc;
}

int32_t neap_stream_at_end(const neap_stream *stream) {
    int32_t rc = np_stream_enter(stream);
    return rc < 0 ? rc : stream->in_end <= 0 && stream->in.len == 0;
}

int32_t neap_stream_set_marks(neap_stream *stream, size_t low, size_t high) {
    int32_t rc = low > high || high > INT32_MAX ? NEAP_EINVAL : np_stream_enter(stream);
    if (rc < 0)
        return rc;
    stream->low = (uint32_t)low;
    stream->high = (uint32_t)high;
    if (stream->push != NULL)
        np_push_note_unsent(stream);
    return 0;
}

/* ---- Closed */

/* What was written goes first.  Answers why that was not possible, or 0. */
static int32_t begin_close(neap_stream *s) {
    if (s->sock->closed || s->closing)
        return 0;
    np_obj_ref(&s->obj); /* until it is shut */
    s->closing = true;
    np_stream_end_read(s, NEAP_ECLOSED);
    np_stream_flush(s);
    s->sock->flushing = s->closing;
    return s->closing || s->out_end == NEAP_ECLOSED ? 0 : s->out_end;
}

int32_t neap_stream_close(neap_stream *stream, uint32_t flags, neap_future **ret_future) {
    const uint32_t known = NEAP_NOWAIT | NEAP_WANT_FUTURE;
    bool sound = stream != NULL && (flags & ~known) == 0 &&
                 (ret_future != NULL || (flags & NEAP_WANT_FUTURE) == 0);
    int32_t rc = sound ? np_enter(stream->obj.loop) : NEAP_EINVAL;
    if (rc < 0)
        return rc;
    np_obj_ref(&stream->obj);
    rc = begin_close(stream);
    bool waits = stream->closing && ret_future != NULL && (flags & NEAP_NOWAIT) == 0;
    if (rc == 0 && waits)
        rc = np_stream_wait_sent(stream, NP_STREAM_CLOSED, flags, ret_future);
    else if (rc == 0 && (flags & NEAP_WANT_FUTURE) != 0)
        rc = np_stream_wait_sent(stream, 0, flags, ret_future);
    np_obj_unref(&stream->obj);
    return rc;
}

int32_t neap_stream_abort(neap_stream *stream) {
    int32_t rc = stream == NULL ? NEAP_EINVAL : np_look(stream->obj.loop);
    if (rc == 0)
        np_stream_reset(stream);
    return rc;
}

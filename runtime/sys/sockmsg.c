/* sockmsg.c: whole messages: datagrams in batches, descriptors with bytes, and who is at the other end.

   Descriptors have one owner at each time.  Those to send are the caller's until the operation has to wait: then it owns
   copies, because the caller may close its own and the kernel give the number to another file.  Those that came are the
   operation's until somebody takes them; what is left goes with its block. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "sys/sockop.h"

/* ---- Batches */

static int32_t enter_batch(neap_sock *s, const neap_msg *msgs, size_t stride, size_t count,
                           uint32_t flags, neap_future **ret_future) {
    int32_t rc = (msgs == NULL && count > 0) || stride < sizeof *msgs || stride > UINT32_MAX ||
                         count > INT32_MAX
                     ? NEAP_EINVAL
                     : np_sock_enter(s);
    if (rc == 0 && np_sort_is_stream(s->sort))
        rc = NEAP_ENOTSUP;
    return rc < 0 ? rc : np_sockop_enter(s, flags, ret_future);
}

static np_op batch_op(neap_sock *s, uint8_t kind, uint8_t dir, const neap_msg *msgs, size_t stride,
                      size_t count) {
    np_op op = np_sockop_op(s, kind, dir, msgs, count);
    op.stride = (uint32_t)stride;
    return op;
}

int32_t neap_sock_recv_many(neap_sock *sock, neap_msg *msgs, size_t stride, size_t count,
                            uint32_t flags, neap_future **ret_future) {
    int32_t rc = enter_batch(sock, msgs, stride, count, flags, ret_future);
    if (rc < 0)
        return rc;
    np_op op = batch_op(sock, NP_OP_RECV_MANY, NP_DIR_READ, msgs, stride, count);
    if (count == 0)
        return np_recv_answer(sock, &op, 0, 0, flags, ret_future);
    size_t back = np_recv_back(sock, msgs->data, msgs->cap);
    if (back == 0)
        return np_sockop_start(sock, &op, flags, ret_future);
    msgs->len = back;
    msgs->missing = 0;
    msgs->addr = (neap_addr){0};
    return np_recv_answer(sock, &op, 1, back, flags, ret_future);
}

int32_t neap_sock_send_many(neap_sock *sock, const neap_msg *msgs, size_t stride, size_t count,
                            uint32_t flags, neap_future **ret_future) {
    bool segment = (flags & NEAP_SEGMENT) != 0;
    int32_t rc = msgs == NULL && count > 0 ? NEAP_EINVAL : np_sock_enter(sock);
    if (rc == 0 && segment && sock->sort != NEAP_UDP)
        rc = NEAP_ENOTSUP;
    flags &= ~(uint32_t)NEAP_SEGMENT;
    if (rc == 0 && count > 0 && msgs->addr.len > 0 && !np_sort_is_stream(sock->sort))
        rc = np_sock_open(sock, msgs->addr.family);
    if (rc == 0)
        rc = enter_batch(sock, msgs, stride, count, flags, ret_future);
    if (rc < 0)
        return rc;
    np_op op = batch_op(sock, NP_OP_SEND_MANY, NP_DIR_WRITE, msgs, stride, count);
    op.segment = segment;
    if (count == 0)
        return (flags & NEAP_WANT_FUTURE) != 0 ? np_sockop_ended(sock, &op, 0, ret_future) : 0;
    if ((flags & NEAP_NOWAIT) == 0)
        return np_sockop_start(sock, &op, flags, ret_future);
    int64_t result = np_sockop_begin(sock, &op, flags);
    return op.moved > 0 ? (int32_t)op.moved : (int32_t)result;
}

/* ---- Descriptors with bytes */

/* One with room for all that a message can have, for the caller's stack. */
typedef union passing {
    np_passing p;
    char room[sizeof(np_passing) + NEAP_FDS_MAX * sizeof(int)];
} passing;

/* Puts copies in the place of the caller's descriptors. */
static int32_t own_fds(np_passing *p) {
    for (uint32_t i = 0; i < p->fds_len; i++) {
        int fd = fcntl(p->fds[i], F_DUPFD_CLOEXEC, 0);
        if (fd < 0) {
            int32_t rc = -errno;
            p->fds_len = i;
            p->owns = true;
            np_passing_close(p);
            return rc;
        }
        p->fds[i] = fd;
    }
    p->owns = true;
    return 0;
}

static int32_t send_passing(neap_sock *s, np_op *op, uint32_t flags, neap_future **ret_future) {
    bool future = (flags & NEAP_WANT_FUTURE) != 0;
    int64_t result = future ? NP_WAIT : np_sockop_begin(s, op, flags);
    if (op->moved > 0)
        ((np_passing *)op->buf)->fds_len = 0; /* they went with the first byte */
    if (result < 0 && result != NP_WAIT && op->moved > 0)
        return np_sockop_ended(s, op, result, ret_future);
    if (result != NP_WAIT)
        return (int32_t)result;
    int32_t rc = own_fds(op->buf);
    if (rc < 0)
        return rc;
    rc = future ? np_sockop_start_future(s, op, ret_future) : np_sockop_park(s, op, ret_future);
    np_passing_close(op->buf); /* there is something left only if no block was made */
    return rc;
}

static int32_t enter_fds(neap_sock *s, const void *data, size_t len, size_t fds, uint32_t flags,
                         neap_future **ret_future) {
    int32_t rc = (data == NULL && len > 0) || len > INT32_MAX ? NEAP_EINVAL : np_sock_enter(s);
    if (rc == 0 && !np_sort_is_local(s->sort))
        rc = NEAP_ENOTSUP;
    if (rc == 0 && fds > NEAP_FDS_MAX)
        rc = NEAP_E2BIG;
    return rc < 0 ? rc : np_sockop_enter(s, flags, ret_future);
}

static int32_t enter_send_fds(neap_sock *s, const void *data, size_t len, const neap_fd *fds,
                              size_t fds_len, uint32_t flags, neap_future **ret_future) {
    if (fds == NULL && fds_len > 0)
        return NEAP_EINVAL;
    int32_t rc = enter_fds(s, data, len, fds_len, flags, ret_future);
    if (rc == 0 && np_sort_is_stream(s->sort) && (flags & NEAP_NOWAIT) != 0)
        rc = NEAP_EINVAL; /* what did not fit would have to go without them */
    if (rc == 0 && np_sort_is_stream(s->sort) && len == 0)
        rc = NEAP_EVALUE;
    return rc;
}

int32_t neap_sock_send_fds(neap_sock *sock, const void *data, size_t len, const neap_fd *fds,
                           size_t fds_len, uint32_t flags, neap_future **ret_future) {
    passing room;
    int32_t rc = enter_send_fds(sock, data, len, fds, fds_len, flags, ret_future);
    if (rc < 0)
        return rc;
    room.p = (np_passing){.data = (void *)(uintptr_t)data,
                          .len = len,
                          .fds_max = (uint32_t)fds_len,
                          .fds_len = (uint32_t)fds_len};
    for (size_t i = 0; i < fds_len; i++) {
        if (fds[i] < 0 || fds[i] > INT32_MAX)
            return NEAP_EBADF;
        room.p.fds[i] = (int)fds[i];
    }
    np_op op = np_sockop_op(sock, NP_OP_SEND_FDS, NP_DIR_WRITE, &room.p, len);
    return send_passing(sock, &op, flags, ret_future);
}

/* Hands everything over. */
static void give_fds(np_passing *p, neap_fds *fds) {
    for (uint32_t i = 0; i < p->fds_len; i++)
        fds->fds[i] = p->fds[i];
    fds->len = p->fds_len;
    fds->flags = p->flags;
    fds->from = p->from;
    p->fds_len = 0;
    p->owns = false;
}

static int32_t look_fds(const neap_fds *fds) {
    bool fits = fds != NULL && fds->size >= sizeof *fds && (fds->fds != NULL || fds->max == 0);
    return fits ? 0 : NEAP_EINVAL;
}

int32_t neap_sock_recv_fds(neap_sock *sock, void *data, size_t len, neap_fds *fds, uint32_t flags,
                           neap_future **ret_future) {
    passing room;
    int32_t rc = look_fds(fds);
    if (rc == 0)
        rc = enter_fds(sock, data, len > INT32_MAX ? INT32_MAX : len, fds->max, flags, ret_future);
    if (rc < 0)
        return rc;
    room.p =
        (np_passing){.data = data, .len = len > INT32_MAX ? INT32_MAX : len, .fds_max = fds->max};
    np_op op = np_sockop_op(sock, NP_OP_RECV_FDS, NP_DIR_READ, &room.p, room.p.len);
    size_t back = np_recv_back(sock, data, room.p.len);
    if (back > 0 || (len == 0 && np_sort_is_stream(sock->sort)))
        rc = np_recv_answer(sock, &op, (int64_t)back, back, flags, ret_future);
    else
        rc = np_sockop_start(sock, &op, flags, ret_future);
    if (rc >= 0)
        give_fds(&room.p, fds);
    return rc;
}

int32_t neap_future_take_fds(neap_future *future, neap_fds *fds) {
    int32_t rc = future == NULL ? NEAP_EINVAL : look_fds(fds);
    if (rc == 0)
        rc = neap_future_error(future);
    if (rc < 0)
        return rc;
    np_sockop *so = np_sockop_from(np_future_origin(future));
    if (so == NULL || so->op.kind != NP_OP_RECV_FDS)
        return NEAP_ETYPE;
    np_passing *p = so->op.buf;
    if (!p->owns)
        return NEAP_EINVALID_STATE;
    if (p->fds_len > fds->max) {
        fds->len = p->fds_len;
        return NEAP_ERANGE;
    }
    give_fds(p, fds);
    return 0;
}

/* ---- Who is there */

int32_t neap_sock_peer_credentials(neap_sock *sock, neap_credentials *ret_peer, size_t size) {
    struct ucred peer;
    socklen_t len = sizeof peer;
    int32_t rc = ret_peer == NULL ? NEAP_EINVAL : np_sock_enter(sock);
    if (rc == 0 && sock->desc.fd < 0)
        rc = NEAP_EBADF;
    if (rc < 0)
        return rc;
    if (getsockopt(sock->desc.fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
        return -errno;
    if (peer.pid == 0) /* of other sorts of sockets nothing is known; for the kernel no failure */
        return NEAP_ENOTSUP;
    const neap_credentials out = {peer.pid, peer.uid, peer.gid};
    memcpy(ret_peer, &out, size < sizeof out ? size : sizeof out);
    return 0;
}

/* write.c: writing to a stream.

   What is to go stands in pieces (piece.h), of which the first is the operation that the backend has.  A file goes in
   stretches, between which others have their turns. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "net/piece.h"

enum {
    WITHOUT_WAITING = NEAP_NOWAIT | NEAP_STREAM_BUFFER
};

enum {
    DIRECT_LEAST = 16384, /* so many bytes are tried without copying them */
    FILE_STRETCH = 1 << 20
};

/* Who waits for bytes to go. */
typedef struct np_writer {
    np_parked p;
    uint64_t mark; /* value of `sent` that ends the wait */
} np_writer;

/* ---- Who waits */

static np_parked *first_served(neap_stream *s) {
    for (np_list *at = s->writers.parked.next; at != &s->writers.parked; at = at->next) {
        np_parked *p = np_container(at, np_parked, link);
        if (np_container(p, np_writer, p)->mark <= s->sent)
            return p;
    }
    return NULL;
}

/* One that is let go may take others along. */
static void wake_writers(neap_stream *s) {
    np_parked *p;
    while ((p = first_served(s)) != NULL)
        np_lot_let_go(p, NULL);
}

static void writer_destroy(np_obj *obj) {
    np_parked *p = np_container(obj, np_parked, f.obj);
    np_lot_fini(p);
    np_obj_free(obj, sizeof(np_writer));
}

/* Who closes and will not wait any longer does not leave the descriptor open. */
static int32_t writer_cancel(neap_future *f, const char *msg) {
    np_parked *p = np_container(f, np_parked, f);
    bool closes = np_container(p, np_writer, p)->mark == NP_STREAM_CLOSED;
    neap_stream *s = np_container(p->lot, neap_stream, writers);
    np_obj_ref(&s->obj);
    np_lot_cancel(p, msg);
    if (closes)
        np_stream_reset(s);
    np_obj_unref(&s->obj);
    return 1;
}

static void writer_ends(neap_future *f) {
    np_lot_refuse(np_container(f, np_parked, f), NEAP_ECLOSED);
}

static const char *writer_what(const neap_future *f) {
    (void)f;
    return "a stream to send what was written";
}

static const np_future_type writer_type = {
    .base = {.name = "a write", .destroy = writer_destroy},
    .cancel = writer_cancel,
    .end = writer_ends,
    .what = writer_what,
};

int32_t np_stream_wait_sent(neap_stream *s, uint64_t mark, uint32_t flags,
                            neap_future **ret_future) {
    bool there = mark <= s->sent;
    if (there && (flags & NEAP_WANT_FUTURE) == 0)
        return 0;
    if (!there && (flags & NEAP_NOWAIT) != 0)
        return NEAP_EAGAIN;
    np_parked *p = np_lot_park(&s->writers, &writer_type, sizeof(np_writer));
    if (p == NULL)
        return NEAP_ENOMEM;
    np_container(p, np_writer, p)->mark = mark;
    (void)np_future_give(&p->f, ret_future);
    if (there)
        np_lot_let_go(p, NULL);
    return NEAP_PENDING;
}

/* ---- Sending */

void np_stream_end_out(neap_stream *s, int32_t code) {
    np_piece *piece;
    if (s->out_end == 0)
        s->out_end = code;
    while ((piece = np_piece_first(s)) != NULL) {
        if (piece->op.state != NP_OP_IDLE)
            (void)np_stream_io(s)->backend->cancel(np_stream_io(s), &piece->op);
        np_piece_free(piece);
    }
    s->queued = s->sent;
    np_timer_stop(s->obj.loop, &s->go_on);
    if (s->flusher.node.where != NP_AT_NONE)
        np_dequeue(&s->flusher.node);
    if (s->push != NULL)
        np_push_broken(s);
    if (s->writers.len > 0)
        np_lot_refuse_all(&s->writers, code);
}

/* What is no socket has one direction, or no end but its last. */
static int64_t end_sending(neap_stream *s) {
    if ((s->sock->desc.bits & NP_D_PLAIN) == 0)
        return neap_sock_shutdown(s->sock, NEAP_SHUT_WR);
    return neap_sock_close(s->sock);
}

/* What is next of so many bytes of the file. */
static void set_stretch(np_piece *piece, size_t left) {
    piece->op.len = left < FILE_STRETCH ? left : FILE_STRETCH;
    piece->op.moved = 0;
    piece->left = left - piece->op.len;
}

/* The piece is through, well or not.  False: so is the stream. */
static bool account(neap_stream *s, np_piece *piece, int64_t result) {
    np_trace(s->obj.loop, NEAP_TRACE_IO, result, NULL, NULL, NULL);
    if (result < 0 && piece->kind != NP_PIECE_END) {
        np_stream_end_out(s, (int32_t)result);
        return false;
    }
    size_t len = piece->op.len;
    if (piece->kind == NP_PIECE_FILE && (size_t)result < len) {
        /* What was promised cannot be sent: what comes behind makes no sense. */
        np_stream_end_out(s, NEAP_EINCOMPLETE);
        return false;
    }
    s->sent += len;
    if (piece->left > 0)
        set_stretch(piece, piece->left);
    else
        np_piece_free(piece);
    return true;
}

/* All has gone, or cannot go: who waits for the close knows which. */
static void finish_close(neap_stream *s) {
    if (!s->closing || !np_list_empty(&s->pieces))
        return;
    while (!np_list_empty(&s->writers.parked))
        np_lot_let_go(np_container(s->writers.parked.next, np_parked, link), NULL);
    np_stream_shut(s, NEAP_ECLOSED);
}

/* False without memory: then it has to go on now. */
static bool goes_on_later(neap_stream *s) {
    neap_loop *loop = s->obj.loop;
    np_timer_stop(loop, &s->go_on);
    return np_timer_start(loop, &s->go_on, loop->now + 1) == 0;
}

void np_stream_flush(neap_stream *s) {
    np_io *io = np_stream_io(s);
    np_piece *piece;
    np_obj_ref(&s->obj);
    while ((piece = np_piece_first(s)) != NULL && piece->op.state == NP_OP_IDLE) {
        piece->grows = false;
        int64_t result =
            piece->kind == NP_PIECE_END ? end_sending(s) : io->backend->begin(io, &piece->op);
        if (result == NP_WAIT) {
            int rc = io->backend->park(io, &piece->op);
            if (rc == 0)
                break;
            result = rc;
        }
        bool turn_is_over = piece->left > 0;
        if (!account(s, piece, result) || (turn_is_over && goes_on_later(s)))
            break;
    }
    if (!np_list_empty(&s->writers.parked))
        wake_writers(s);
    if (s->push != NULL)
        np_push_note_unsent(s);
    finish_close(s);
    np_obj_unref(&s->obj);
}

/* The backend has finished a piece; after a cancel nobody is told of it any more. */
static void sent(np_op *op) {
    np_piece *piece = np_container(op, np_piece, op);
    neap_stream *s = piece->stream;
    np_obj_ref(&s->obj);
    if (account(s, piece, op->result))
        np_stream_flush(s);
    else
        finish_close(s);
    np_obj_unref(&s->obj);
}

static void flush_later(np_waiter *w) {
    np_stream_flush(np_container(w, neap_stream, flusher));
}

static void flush_soon(neap_stream *s) {
    if (s->flusher.node.where == NP_AT_NONE)
        np_enqueue_gathered(s->obj.loop, &s->flusher);
}

static void go_on(neap_loop *loop, np_timer *timer, bool ended) {
    (void)loop;
    if (!ended)
        flush_soon(np_container(timer, neap_stream, go_on));
}

void np_stream_init_out(neap_stream *s) {
    np_list_init(&s->pieces);
    np_lot_init(&s->writers, &s->obj);
    np_ready_init(&s->flusher.node, NP_RUN_WAITER);
    s->flusher.fire = flush_later;
    np_timer_init(&s->go_on, go_on);
}

/* ---- Writing */

/* Tries what need not be copied.  Answers how much went, or a code. */
static int64_t send_directly(neap_stream *s, const void *data, size_t len) {
    np_op op = {.desc = &s->sock->desc,
                .kind = NP_OP_SENDALL,
                .dir = NP_DIR_WRITE,
                .buf = (void *)(uintptr_t)data,
                .len = len};
    int64_t result = np_stream_io(s)->backend->begin(np_stream_io(s), &op);
    np_trace(s->obj.loop, NEAP_TRACE_IO, result, NULL, NULL, NULL);
    s->queued += op.moved;
    s->sent += op.moved;
    if (result >= 0 || result == NP_WAIT)
        return (int64_t)op.moved;
    np_stream_end_out(s, (int32_t)result);
    return result;
}

static int32_t measure(const neap_iov *parts, size_t count, size_t *ret_len) {
    size_t len = 0;
    if (parts == NULL && count > 0)
        return NEAP_EINVAL;
    for (size_t i = 0; i < count; i++) {
        if (parts[i].data == NULL && parts[i].len > 0)
            return NEAP_EINVAL;
        if (parts[i].len > (size_t)INT64_MAX / 4 - len)
            return NEAP_E2BIG;
        len += parts[i].len;
    }
    *ret_len = len;
    return 0;
}

static void copy(np_piece *piece, const void *data, size_t len) {
    if (len > 0)
        memcpy(piece->bytes + piece->op.len, data, len);
    piece->op.len += len;
    piece->stream->queued += len;
}

/* Takes all of it: 0, or a code; without memory what is left of a large one does not count as written. */
static int32_t take(neap_stream *s, const neap_iov *parts, size_t count, size_t len) {
    int64_t gone = 0;
    if (count == 1 && len >= DIRECT_LEAST && np_list_empty(&s->pieces))
        gone = send_directly(s, parts->data, len);
    if (gone < 0 || (size_t)gone == len)
        return gone < 0 ? (int32_t)gone : 0;
    np_piece *piece = np_piece_for(s, len - (size_t)gone, sent);
    if (piece == NULL && gone > 0) /* half a message is out: what comes behind makes no sense */
        np_stream_end_out(s, NEAP_ENOMEM);
    if (piece == NULL)
        return NEAP_ENOMEM;
    copy(piece, (const char *)parts->data + gone, parts->len - (size_t)gone);
    for (size_t i = 1; i < count; i++)
        copy(piece, parts[i].data, parts[i].len);
    flush_soon(s);
    return 0;
}

static int32_t may_write(const neap_stream *s, uint32_t flags, neap_future **ret_future) {
    int32_t rc = np_stream_enter(s);
    if (rc < 0)
        return rc;
    if (!np_stream_flags_fit(flags, WITHOUT_WAITING, ret_future))
        return NEAP_EINVAL;
    if (s->out_end < 0)
        return s->out_end;
    if (s->finished)
        return NEAP_EPIPE;
    return (flags & NEAP_NOWAIT) != 0 && np_stream_unsent(s) > s->high ? NEAP_EAGAIN : 0;
}

/* The bytes are taken, so that a lack of memory for the wait is no failure. */
static int64_t answer(neap_stream *s, size_t len, uint64_t mark, uint32_t flags,
                      neap_future **ret_future) {
    bool wanted = (flags & NEAP_WANT_FUTURE) != 0;
    if (mark <= s->sent && !wanted)
        return (int64_t)len;
    int32_t rc = np_stream_wait_sent(s, mark, NEAP_WANT_FUTURE, ret_future);
    return rc == NEAP_ENOMEM && !wanted ? (int64_t)len : rc;
}

/* It is written; above the high mark that is not over yet. */
static int64_t wrote(neap_stream *s, size_t len, uint32_t flags, neap_future **ret_future) {
    if (np_stream_unsent(s) > s->high)
        np_stream_flush(s);
    if (s->out_end < 0 && (flags & NEAP_STREAM_BUFFER) == 0)
        return s->out_end;
    if (s->push != NULL)
        np_push_note_unsent(s);
    bool waits = np_stream_unsent(s) > s->high && (flags & WITHOUT_WAITING) == 0;
    return answer(s, len, waits ? s->queued - s->low : s->sent, flags, ret_future);
}

int64_t neap_stream_writev(neap_stream *stream, const neap_iov *parts, size_t count, uint32_t flags,
                           neap_future **ret_future) {
    size_t len = 0;
    int32_t rc = measure(parts, count, &len);
    if (rc == 0)
        rc = may_write(stream, flags, ret_future);
    if (rc < 0)
        return rc;
    if (len > 0)
        rc = take(stream, parts, count, len);
    return rc < 0 ? rc : wrote(stream, len, flags, ret_future);
}

/* Fits behind what is to go anyway.  A stream that takes no more, for whatever reason, has no piece that grows. */
static bool is_gathered(const neap_stream *s, const np_piece *last, size_t len) {
    return np_piece_has_room(last, len) && np_stream_unsent(s) + len <= s->high;
}

int64_t neap_stream_write(neap_stream *stream, const void *data, size_t len, uint32_t flags,
                          neap_future **ret_future) {
    bool simple = flags == 0 && data != NULL && ret_future != NULL;
    if (np_likely(simple && np_stream_enter(stream) == 0)) {
        np_piece *last = np_piece_open(stream);
        if (np_likely(is_gathered(stream, last, len))) {
            copy(last, data, len);
            return (int64_t)len;
        }
    }
    const neap_iov part = {data, len};
    return neap_stream_writev(stream, &part, 1, flags, ret_future);
}

int32_t neap_stream_drain(neap_stream *stream, uint32_t flags, neap_future **ret_future) {
    bool sound = np_stream_flags_fit(flags, NEAP_NOWAIT, ret_future);
    int32_t rc = sound ? np_stream_enter(stream) : NEAP_EINVAL;
    if (rc < 0)
        return rc;
    np_stream_flush(stream);
    if (stream->out_end < 0)
        return stream->out_end;
    return np_stream_wait_sent(stream, stream->queued, flags, ret_future);
}

int32_t neap_stream_write_eof(neap_stream *stream, uint32_t flags, neap_future **ret_future) {
    bool sound = np_stream_flags_fit(flags, NEAP_NOWAIT, ret_future);
    int32_t rc = sound ? np_stream_enter(stream) : NEAP_EINVAL;
    if (rc < 0)
        return rc;
    if (stream->out_end < 0)
        return stream->out_end;
    if (!stream->finished) {
        np_piece *piece = np_piece_new(stream, NP_PIECE_END, 0, sent);
        if (piece == NULL)
            return NEAP_ENOMEM;
        stream->finished = true;
        np_list_append(&stream->pieces, &piece->link);
    }
    np_stream_flush(stream);
    if (stream->out_end < 0)
        return stream->out_end;
    return np_stream_wait_sent(stream, stream->queued, flags, ret_future);
}

/* Of what is being sent the kernel has a part. */
int64_t neap_stream_unsent(const neap_stream *stream) {
    int32_t rc = stream == NULL ? NEAP_EINVAL : np_look(stream->obj.loop);
    const np_piece *piece = rc < 0 ? NULL : np_piece_first(stream);
    size_t moved = piece != NULL ? piece->op.moved : 0;
    return rc < 0 ? rc : (int64_t)(np_stream_unsent(stream) - moved);
}

/* ---- Files */

static int64_t file_left(int fd, int64_t offset) {
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    if ((fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY)
        return NEAP_EBADF;
    if (!S_ISREG(st.st_mode))
        return NEAP_EINVAL;
    return st.st_size > offset ? st.st_size - offset : 0;
}

static int32_t append_file(neap_stream *s, int fd, int64_t offset, int64_t count) {
    np_piece *piece = np_piece_new(s, NP_PIECE_FILE, 0, sent);
    if (piece == NULL)
        return NEAP_ENOMEM;
    piece->op.file = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (piece->op.file < 0) {
        int32_t rc = -errno;
        np_piece_free(piece);
        return rc;
    }
    piece->op.at = offset;
    set_stretch(piece, (size_t)count);
    np_list_append(&s->pieces, &piece->link);
    s->queued += (uint64_t)count;
    return 0;
}

int64_t neap_stream_sendfile(neap_stream *stream, neap_fd fd, int64_t offset, int64_t count,
                             uint32_t flags, neap_future **ret_future) {
    int32_t rc =
        offset < 0 || count < -1 || fd < 0 ? NEAP_EINVAL : may_write(stream, flags, ret_future);
    if (rc < 0)
        return rc;
    int64_t left = file_left((int)fd, offset);
    if (left < 0)
        return left;
    if (count > left)
        return NEAP_EINCOMPLETE;
    if (count < 0)
        count = left;
    rc = append_file(stream, (int)fd, offset, count);
    if (rc < 0)
        return rc;
    np_stream_flush(stream);
    if (stream->out_end < 0)
        return stream->out_end;
    if (stream->push != NULL)
        np_push_note_unsent(stream);
    bool waits = (flags & WITHOUT_WAITING) == 0;
    return answer(stream, (size_t)count, waits ? stream->queued : stream->sent, flags, ret_future);
}

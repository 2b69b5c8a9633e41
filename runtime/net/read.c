/* read.c: reading from a stream.

   A read first looks at what is there, then asks the kernel, then waits: one reader at a time.  A waiting reader has a
   receive parked, without memory, so nothing is received in the poll.  When the descriptor is ready and exactly one task
   waits, that task is queued, and the bytes are received when its step is about to run, as for lent receives of sockets;
   else the reader itself is.  Either way the wait goes on until what is wanted is there, and nobody is woken before.

   Where several such tasks are to step in a row, and little comes at a time, what has come for each is received before the
   first of them steps: the kernel's work in one go, and then ours. */
#include "core/task.h"
#include "net/stream.h"
#include "net/want.h"

#include <stdio.h>
#include <string.h>

enum {
    /* Received in a row for one reader before the others have their turn. */
    TURN_ROUNDS = 16,
    TURN_BYTES = 1 << 20,
    LITTLE = 2048 /* bytes of a receive; half of a small buffer */
};

struct np_reader {
    neap_future f;
    np_op op;
    np_waiter turn; /* queued: the descriptor is ready, and no task will see to it */
    np_timer again; /* started: the rounds were used up */
    np_want want;
    neap_stream *stream; /* held while pending */
    bool lends;          /* the one who waits is about to step */
};

static np_reader *reader_of(neap_future *f) {
    return np_container(f, np_reader, f);
}

/* ---- Receiving */

/* Where the next receive goes; false when there is no memory. */
static bool aim(neap_stream *s, np_op *op, const np_want *want) {
    op->buf = np_inbuf_aim(s->obj.loop, &s->in, np_want_room(want, &s->in), &op->len);
    if (op->len > TURN_BYTES)
        op->len = TURN_BYTES;
    return op->buf != NULL;
}

/* What a receive came to. */
static void took(neap_stream *s, int64_t result) {
    if (result > 0) {
        np_inbuf_took(&s->in, (size_t)result);
        s->little = result <= LITTLE;
    } else if (result != NP_WAIT) {
        s->in_end = (int32_t)result;
    }
    if (s->in.len == 0)
        np_inbuf_rest(s->obj.loop, &s->in);
}

static np_op receive(neap_stream *s) {
    return (np_op){.desc = &s->sock->desc, .kind = NP_OP_RECV, .dir = NP_DIR_READ};
}

static bool is_turn_over(const neap_stream *s, int rounds, size_t before) {
    return rounds >= TURN_ROUNDS || s->in.len - before >= TURN_BYTES;
}

/* Asks the kernel until what is wanted is there, or it has no more, or, for who waits, the turn is over. */
static int64_t receive_for(neap_stream *s, np_want *want, bool waits, bool *ret_drained) {
    np_op op = receive(s);
    int64_t n = NP_WANT_MORE;
    size_t before = s->in.len;
    *ret_drained = false;
    for (int rounds = 0; n == NP_WANT_MORE; rounds++) {
        if (waits && is_turn_over(s, rounds, before))
            break;
        if (!aim(s, &op, want))
            return NEAP_ENOMEM;
        int64_t result = np_stream_io(s)->backend->begin(np_stream_io(s), &op);
        took(s, result);
        *ret_drained = result == NP_WAIT;
        if (result == NP_WAIT)
            break;
        np_trace(s->obj.loop, NEAP_TRACE_IO, result, NULL, NULL, NULL);
        n = np_want_look(want, &s->in, s->in_end);
    }
    return n;
}

/* ---- The reader's end */

static void let_go(np_reader *r) {
    neap_stream *s = r->stream;
    neap_loop *loop = s->obj.loop;
    r->stream = NULL;
    s->reader = NULL;
    np_want_drop(&r->want, loop->alloc);
    np_obj_unref(&s->obj);
    np_future_deactivate(&r->f);
}

/* Who is about to step sees the bytes where they are. */
static void show(np_reader *r, size_t n) {
    neap_stream *s = r->stream;
    neap_future *f = &r->f;
    const char *data = np_inbuf_data(&s->in);
    if (r->lends && np_inbuf_is_of_loop(s->obj.loop, &s->in)) {
        np_lent_show(f, s->in.buf, (void *)(uintptr_t)data, n);
        return;
    }
    f->kind = NP_KIND_SLICE;
    f->value.slice.buf = np_inbuf_share(s->obj.loop, &s->in, n, !r->lends, &data);
    f->value.slice.data = data;
    f->value.slice.len = n;
}

/* The bytes leave the stream as the future's value. */
static void answer(np_reader *r, size_t n) {
    neap_stream *s = r->stream;
    neap_future *f = &r->f;
    if (r->want.kind == NP_WANT_FILL) {
        f->kind = NEAP_KIND_INT;
        f->value.i = (int64_t)n;
    } else {
        show(r, n);
        np_inbuf_consume(s->obj.loop, &s->in, n);
    }
    np_future_settle(f, NEAP_STATE_RESULT);
}

static void settle(np_reader *r, int64_t n) {
    np_trace(r->f.obj.loop, NEAP_TRACE_IO, n, NULL, &r->f, NULL);
    if (n >= 0)
        answer(r, (size_t)n);
    else if (n == NEAP_ECANCELED)
        np_future_settle(&r->f, NEAP_STATE_CANCELLED);
    else
        np_future_settle_error(&r->f, (int32_t)n, NULL);
    let_go(r);
}

/* Takes the receive back from the backend, which then does not touch it any more; nothing else will go on with it. */
static void unpark(np_reader *r) {
    np_io *io = np_stream_io(r->stream);
    if (r->op.state != NP_OP_IDLE)
        (void)io->backend->cancel(io, &r->op);
    np_list_unlink(&r->op.link); /* it may stand on the completed list */
    np_timer_stop(r->f.obj.loop, &r->again);
    if (r->turn.node.where != NP_AT_NONE)
        np_dequeue(&r->turn.node);
}

static void end(np_reader *r, int32_t code) {
    unpark(r);
    settle(r, code);
}

void np_stream_end_read(neap_stream *s, int32_t code) {
    if (s->reader != NULL)
        end(s->reader, code);
}

/* ---- Waiting */

static int park(np_reader *r) {
    np_io *io = np_stream_io(r->stream);
    r->op.buf = NULL;
    return io->backend->park(io, &r->op);
}

/* A receive has come to something.  Goes on until the wait is over (true) or has to go on (false); what is left for another
   tick begins with a timer. */
static bool go_on(np_reader *r, int64_t result) {
    neap_stream *s = r->stream;
    np_io *io = np_stream_io(s);
    size_t before = s->in.len;
    for (int rounds = 0;; rounds++) {
        took(s, result);
        int64_t n = np_want_look(&r->want, &s->in, s->in_end);
        if (n == NP_WANT_MORE && is_turn_over(s, rounds, before) &&
            np_timer_start(s->obj.loop, &r->again, s->obj.loop->now + 1) == 0)
            return false;
        if (n == NP_WANT_MORE && !aim(s, &r->op, &r->want))
            n = NEAP_ENOMEM;
        if (n != NP_WANT_MORE) {
            settle(r, n);
            return true;
        }
        result = io->backend->begin(io, &r->op);
        if (result == NP_WAIT) {
            took(s, result);
            int rc = park(r);
            if (rc < 0)
                settle(r, rc);
            return rc < 0;
        }
    }
}

/* The one task that waits will see to it, or else the reader itself. */
static void rouse(np_reader *r) {
    if (!np_task_rouse(&r->f) && r->turn.node.where == NP_AT_NONE)
        np_enqueue_waiter(r->f.obj.loop, &r->turn);
}

/* Never with memory of the stream: the loop's can be used by one at a time. */
static bool arm(np_op *op) {
    rouse(np_container(op, np_reader, op));
    return true;
}

/* The descriptor is gone. */
static void done(np_op *op) {
    np_reader *r = np_container(op, np_reader, op);
    end(r, (int32_t)op->result);
}

/* A backend that receives by itself has done the kernel's part. */
static void fetch(neap_future *f) {
    np_reader *r = reader_of(f);
    neap_stream *s = r->stream;
    np_io *io = np_stream_io(s);
    bool is_fed = (s->sock->desc.bits & NP_D_FED) != 0;
    if (r->op.state != NP_OP_ARMED || is_fed || !s->little || s->in.len > 0)
        return;
    r->op.buf = np_inbuf_aim_small(s->obj.loop, &s->in, &r->op.len);
    if (r->op.buf != NULL)
        took(s, io->backend->perform(io, &r->op));
    r->op.buf = NULL;
}

/* Now the bytes are taken, unless they were fetched. */
static bool attend(np_reader *r) {
    neap_stream *s = r->stream;
    np_io *io = np_stream_io(s);
    int64_t there =
        r->op.state == NP_OP_IDLE ? np_want_look(&r->want, &s->in, s->in_end) : NP_WANT_MORE;
    if (there != NP_WANT_MORE) {
        settle(r, there);
        return true;
    }
    if (!aim(s, &r->op, &r->want)) {
        end(r, NEAP_ENOMEM);
        return true;
    }
    bool parked = r->op.state != NP_OP_IDLE;
    int64_t result = parked ? io->backend->perform(io, &r->op) : io->backend->begin(io, &r->op);
    if (result != NP_WAIT)
        return go_on(r, result);
    took(s, result);
    int rc = parked ? 0 : park(r);
    r->op.buf = NULL;
    if (rc < 0)
        settle(r, rc);
    return rc < 0;
}

/* The task that waits is about to step. */
static bool ready(neap_future *f) {
    np_reader *r = reader_of(f);
    r->lends = true;
    if (attend(r))
        return true;
    r->lends = false;
    return false;
}

static void take_turn(np_waiter *w) {
    (void)attend(np_container(w, np_reader, turn));
}

static void again(neap_loop *loop, np_timer *timer, bool ended) {
    np_reader *r = np_container(timer, np_reader, again);
    (void)loop;
    if (ended)
        end(r, NEAP_ECLOSED);
    else
        rouse(r);
}

/* ---- The future */

static int32_t cancel(neap_future *f, const char *msg) {
    np_reader *r = reader_of(f);
    np_future_set_message(f, msg);
    np_future_ref(f);
    end(r, NEAP_ECANCELED);
    np_future_unref(f);
    return 1;
}

static void destroy(np_obj *obj) {
    np_reader *r = reader_of(np_container(obj, neap_future, obj));
    np_future_fini(&r->f);
    np_obj_free(obj, sizeof *r);
}

static const char *what(const neap_future *f) {
    const np_reader *r = np_container(f, np_reader, f);
    switch (r->want.kind) {
    case NP_WANT_EXACTLY:
        return "a read of a number of bytes";
    case NP_WANT_UNTIL:
        return "a read up to a delimiter";
    case NP_WANT_ALL:
        return "a read to the end";
    default:
        return "a read";
    }
}

static void detail(const neap_future *f, char *buf, size_t cap) {
    const np_reader *r = np_container(f, np_reader, f);
    neap_addr addr;
    char text[160] = "";
    if (r->stream == NULL)
        return;
    if (neap_sock_peer(r->stream->sock, &addr) == 0)
        neap_addr_format(&addr, text, sizeof text);
    snprintf(buf, cap, "%s%s (descriptor %d, %zu bytes there)", text[0] != '\0' ? " from " : "",
             text, r->stream->sock->desc.fd, r->stream->in.len);
}

static void loop_ends(neap_future *f) {
    if (reader_of(f)->stream != NULL)
        end(reader_of(f), NEAP_ECLOSED);
}

static const np_future_type reader_type = {
    .base = {.name = "a read", .destroy = destroy},
    .cancel = cancel,
    .ready = ready,
    .fetch = fetch,
    .end = loop_ends,
    .operation = true,
    .what = what,
    .detail = detail,
};

static np_reader *make(neap_stream *s, const np_want *want) {
    neap_loop *loop = s->obj.loop;
    neap_future *f = np_future_new(loop, &reader_type, sizeof(np_reader));
    if (f == NULL)
        return NULL;
    np_reader *r = reader_of(f);
    r->want = *want;
    r->op = receive(s);
    np_list_init(&r->op.link);
    r->op.arm = arm;
    r->op.done = done;
    np_timer_init(&r->again, again);
    np_ready_init(&r->turn.node, NP_RUN_WAITER);
    r->turn.fire = take_turn;
    f->flags |= NP_F_RESOURCE | NP_F_ACTIVE;
    np_future_ref(f);
    np_obj_ref(&s->obj);
    r->stream = s;
    if (np_want_keep(&r->want, loop->alloc))
        return r;
    r->want.delims_len = 0;
    f->state = NEAP_STATE_CANCELLED; /* nobody has seen it */
    np_list_unlink(&f->all);
    s->reader = r;
    let_go(r);
    np_future_unref(f);
    return NULL;
}

/* A future for what is wanted: `n` is what was found so far.  What is not drained will not be announced. */
static int32_t wait_for(neap_stream *s, const np_want *want, int64_t n, bool drained,
                        neap_future **ret_future) {
    np_reader *r = make(s, want);
    if (r == NULL)
        return NEAP_ENOMEM;
    s->reader = r;
    np_future_give(&r->f, ret_future);
    int rc = 0;
    if (n == NP_WANT_MORE && drained)
        rc = park(r);
    else if (n == NP_WANT_MORE)
        rc = np_timer_start(s->obj.loop, &r->again, s->obj.loop->now + 1);
    if (rc < 0)
        n = rc;
    if (n != NP_WANT_MORE)
        settle(r, n);
    return NEAP_PENDING;
}

/* ---- The public calls */

/* Somebody waits for bytes, or is called with them. */
static bool is_busy(const neap_stream *s) {
    return s->reader != NULL || s->push != NULL;
}

/* Answers what there is, or waits.  ret_data is NULL for a FILL. */
static int64_t start(neap_stream *s, np_want *want, uint32_t flags, const void **ret_data,
                     neap_future **ret_future) {
    bool waits = (flags & NEAP_NOWAIT) == 0, drained = true;
    if (!np_stream_flags_fit(flags, NEAP_NOWAIT, ret_future))
        return NEAP_EINVAL;
    if (np_unlikely(is_busy(s)))
        return NEAP_EBUSY;
    if (!waits) /* what is there now counts, not what the last announcement said */
        s->sock->desc.bits |= NP_D_READ;
    int64_t n = np_want_look(want, &s->in, s->in_end);
    if (np_unlikely(n == NP_WANT_MORE))
        n = receive_for(s, want, waits, &drained);
    if (n == NP_WANT_MORE && !waits)
        return NEAP_EAGAIN;
    if ((flags & NEAP_WANT_FUTURE) != 0 || n == NP_WANT_MORE)
        return wait_for(s, want, n, drained, ret_future);
    if (n >= 0 && ret_data != NULL) {
        *ret_data = np_inbuf_data(&s->in);
        np_inbuf_consume(s->obj.loop, &s->in, (size_t)n);
    }
    return n;
}

int64_t neap_stream_read(neap_stream *stream, size_t max, uint32_t flags, const void **ret_data,
                         neap_future **ret_future) {
    int32_t rc = ret_data == NULL || max == 0 ? NEAP_EINVAL : np_stream_enter(stream);
    np_want want = {.kind = NP_WANT_SOME, .n = max};
    return rc < 0 ? rc : start(stream, &want, flags, ret_data, ret_future);
}

int64_t neap_stream_read_exactly(neap_stream *stream, size_t n, uint32_t flags,
                                 const void **ret_data, neap_future **ret_future) {
    bool sound = ret_data != NULL && n > 0 && n <= INT64_MAX;
    int32_t rc = sound ? np_stream_enter(stream) : NEAP_EINVAL;
    if (rc < 0)
        return rc;
    bool simple = flags == 0 && ret_future != NULL;
    if (np_likely(simple && n <= stream->in.len && !is_busy(stream))) {
        *ret_data = np_buf_bytes(stream->in.buf) + stream->in.at;
        np_inbuf_consume(stream->obj.loop, &stream->in, n);
        return (int64_t)n;
    }
    np_want want = {.kind = NP_WANT_EXACTLY, .n = n};
    return start(stream, &want, flags, ret_data, ret_future);
}

static bool are_delims(const neap_iov *delims, size_t count) {
    if (delims == NULL || count == 0 || count > NP_WANT_MOST_DELIMS)
        return false;
    for (size_t i = 0; i < count; i++)
        if (delims[i].data == NULL || delims[i].len == 0)
            return false;
    return true;
}

int64_t neap_stream_read_until(neap_stream *stream, const neap_iov *delims, size_t count,
                               size_t limit, uint32_t flags, const void **ret_data,
                               neap_future **ret_future) {
    bool sound = ret_data != NULL && limit > 0 && are_delims(delims, count);
    int32_t rc = sound ? np_stream_enter(stream) : NEAP_EINVAL;
    np_want want = {.kind = NP_WANT_UNTIL,
                    .n = limit,
                    .delims = delims,
                    .delims_len = (uint8_t)count,
                    .rest = (flags & NEAP_STREAM_REST) != 0};
    flags &= ~(uint32_t)NEAP_STREAM_REST;
    return rc < 0 ? rc : start(stream, &want, flags, ret_data, ret_future);
}

int64_t neap_stream_read_all(neap_stream *stream, size_t limit, uint32_t flags,
                             const void **ret_data, neap_future **ret_future) {
    int32_t rc = ret_data == NULL ? NEAP_EINVAL : np_stream_enter(stream);
    np_want want = {.kind = NP_WANT_ALL, .n = limit};
    return rc < 0 ? rc : start(stream, &want, flags, ret_data, ret_future);
}

int64_t neap_stream_fill(neap_stream *stream, size_t n, uint32_t flags, neap_future **ret_future) {
    int32_t rc = n == 0 || n > INT64_MAX ? NEAP_EINVAL : np_stream_enter(stream);
    np_want want = {.kind = NP_WANT_FILL, .n = n};
    return rc < 0 ? rc : start(stream, &want, flags, NULL, ret_future);
}

int64_t neap_stream_peek(neap_stream *stream, const void **ret_data) {
    int32_t rc = ret_data == NULL ? NEAP_EINVAL : np_stream_enter(stream);
    if (rc < 0)
        return rc;
    *ret_data = np_inbuf_data(&stream->in);
    return (int64_t)stream->in.len;
}

int32_t neap_stream_consume(neap_stream *stream, size_t n) {
    int32_t rc = np_stream_enter(stream);
    if (rc < 0)
        return rc;
    if (stream->reader != NULL)
        return NEAP_EBUSY;
    if (n > stream->in.len)
        return NEAP_EINVAL;
    np_inbuf_consume(stream->obj.loop, &stream->in, n);
    return 0;
}

int32_t neap_stream_unread(neap_stream *stream, const void *data, size_t len) {
    int32_t rc = data == NULL && len > 0 ? NEAP_EINVAL : np_stream_enter(stream);
    if (rc < 0 || len == 0)
        return rc;
    rc = np_inbuf_unread(stream->obj.loop, &stream->in, data, len);
    if (rc == 0 && stream->reader != NULL) {
        unpark(stream->reader);
        stream->reader->want.scanned = 0;
        (void)go_on(stream->reader, NP_WAIT);
    }
    return rc;
}

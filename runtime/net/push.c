/* push.c: the callbacks of a stream.

   One handle calls them all, from the batch: what happens meanwhile is noted and the handle queued.  A receive is parked
   without memory; when the descriptor is ready it is made in the call that tells of its bytes.  Each callback may stop,
   pause, close or let go of the stream, so after each all is looked at anew, through the handle, which outlives the call. */
#include <string.h>

#include "core/handle.h"
#include "net/stream.h"

enum {
    TURN_BYTES = NP_LENT_BYTES, /* received for one stream before the others have their turn */
    TURN_CALLS = 16
};

struct np_push {
    neap_stream *stream; /* held */
    np_sock_owner owner; /* the socket's */
    neap_handle *handle;
    neap_stream_callbacks on;
    np_op op;
    int32_t code; /* of `ended`: what the last callback is told */
    bool ended;   /* only the last callback is still to come */
    bool broken;  /* nothing can be sent any more: what has come is told, then it ends */
    bool paused;  /* nothing is received */
    bool fresh;   /* bytes that the user has not seen are there */
    bool at_end;  /* the end of what is to be read has been told */
    bool above;   /* more than the high mark was unsent, and since then not less than the low one */
    bool can_write; /* to be told */
};

/* ---- Noted */

static void wake(np_push *p) {
    if (p->handle->node.where == NP_AT_NONE)
        np_enqueue(p->handle->obj.loop, &p->handle->node);
}

static void unpark(np_push *p) {
    np_io *io = np_stream_io(p->stream);
    if (p->op.state != NP_OP_IDLE)
        (void)io->backend->cancel(io, &p->op);
    np_list_unlink(&p->op.link); /* it may stand on the completed list */
}

void np_push_end(neap_stream *s, int32_t code) {
    np_push *p = s->push;
    if (p->ended)
        return;
    p->ended = true;
    p->code = code;
    unpark(p);
    wake(p);
}

void np_push_broken(neap_stream *s) {
    s->push->broken = true;
    s->sock->desc.bits |= NP_D_READ; /* what is there now is told */
    wake(s->push);
}

void np_push_note_unsent(neap_stream *s) {
    np_push *p = s->push;
    size_t unsent = np_stream_unsent(s);
    if (unsent > s->high) {
        p->above = true;
    } else if (p->above && unsent <= s->low) {
        p->above = false;
        p->can_write = true;
        wake(p);
    }
}

/* The socket was closed behind the stream's back, or with the loop. */
static void sock_closed(np_sock_owner *owner) {
    neap_stream *s = np_container(owner, np_push, owner)->stream;
    bool plain_end = s->finished && (s->sock->desc.bits & NP_D_PLAIN) != 0;
    np_push_end(s, plain_end && s->out_end == 0 ? 0 : NEAP_ECLOSED);
}

/* ---- Told */

static void end_calls(neap_handle *h) {
    np_push *p = np_source_call_of(h)->owner;
    neap_stream *s = p->stream;
    np_source_call_of(h)->source = NULL;
    unpark(p);
    s->push = NULL;
    np_sock_disown(s->sock, &p->owner);
    np_pool_put(&s->obj.loop->pool, p, sizeof *p);
    np_obj_unref(&s->obj);
}

/* NULL once the callbacks were stopped. */
static np_push *push_of(neap_handle *h) {
    return np_source_call_of(h)->source != NULL ? np_source_call_of(h)->owner : NULL;
}

/* NULL when nothing is to be received, for now or for good. */
static np_push *reading(neap_handle *h) {
    np_push *p = push_of(h);
    bool off = p == NULL || p->ended || p->paused || p->at_end || p->stream->closing;
    return off ? NULL : p;
}

static void tell_closed(neap_handle *h) {
    np_push *p = push_of(h);
    neap_stream *s = p->stream;
    void (*closed)(neap_stream *, int32_t, void *) = p->on.closed;
    int32_t code = p->code;
    end_calls(h);
    if (closed != NULL)
        closed(s, code, h->user);
}

static void tell_can_write(neap_handle *h) {
    np_push *p = push_of(h);
    bool due = p->can_write && !p->broken && !p->stream->closing;
    p->can_write = false;
    if (due && p->on.can_write != NULL)
        p->on.can_write(p->stream, h->user);
}

static void tell_end(neap_handle *h) {
    np_push *p = push_of(h);
    neap_stream *s = p->stream;
    p->at_end = true;
    if (s->in_end < 0)
        np_stream_shut(s, s->in_end);
    else if (p->on.eof != NULL)
        p->on.eof(s, h->user);
    else
        (void)neap_stream_close(s, 0, NULL);
}

/* The user's memory for the next bytes.  NULL: there is none, or all has changed meanwhile. */
static void *ask_for_memory(neap_handle *h, size_t suggested, size_t *ret_len) {
    np_push *p = push_of(h);
    void *data = NULL;
    *ret_len = p->on.buffer(p->stream, suggested, &data, h->user);
    p = reading(h);
    bool none = *ret_len == 0 || data == NULL;
    if (p != NULL && none) {
        p->paused = true;
        unpark(p);
    }
    return p == NULL || none ? NULL : data;
}

/* Bytes that stand in the stream.  They stay where they are as long as the callback runs, whatever it does.  Answers how
   many. */
static size_t tell_kept(neap_handle *h) {
    np_push *p = push_of(h);
    neap_stream *s = p->stream;
    neap_loop *loop = s->obj.loop;
    size_t room = SIZE_MAX;
    bool asks = p->on.buffer != NULL;
    void *own = asks ? ask_for_memory(h, s->in.len, &room) : NULL;
    size_t len = s->in.len < room ? s->in.len : room;
    if (asks && own == NULL)
        return 0;
    const char *data = np_inbuf_data(&s->in);
    neap_buf *held = s->in.buf != NULL ? neap_buf_ref(s->in.buf) : NULL;
    if (own != NULL)
        data = memcpy(own, data, len);
    np_inbuf_consume(loop, &s->in, len);
    p->fresh = s->in.len > 0;
    if (len > 0)
        p->on.data(s, data, len, h->user);
    neap_buf_unref(held);
    return len;
}

/* ---- Received */

static int64_t receive(np_push *p) {
    np_io *io = np_stream_io(p->stream);
    bool parked = p->op.state != NP_OP_IDLE;
    int64_t result = parked ? io->backend->perform(io, &p->op) : io->backend->begin(io, &p->op);
    p->op.buf = NULL;
    if (result != NP_WAIT)
        np_trace(p->stream->obj.loop, NEAP_TRACE_IO, result, NULL, NULL, NULL);
    return result;
}

/* Nothing has come: waits for it. */
static int64_t park(np_push *p) {
    np_io *io = np_stream_io(p->stream);
    np_inbuf_rest(p->stream->obj.loop, &p->stream->in);
    int rc = p->op.state == NP_OP_IDLE && !p->broken ? io->backend->park(io, &p->op) : 0;
    return rc < 0 ? rc : NP_WAIT;
}

/* The kernel has not said that there is nothing. */
static bool may_receive(const np_push *p) {
    if (p->broken || p->op.state == NP_OP_ARMED)
        return true;
    return p->op.state == NP_OP_IDLE && (p->stream->sock->desc.bits & NP_D_READ) != 0;
}

/* Into the stream.  Answers as receive, or NEAP_ENOMEM. */
static int64_t receive_kept(np_push *p) {
    neap_stream *s = p->stream;
    p->op.buf = np_inbuf_aim(s->obj.loop, &s->in, NP_LENT_BYTES, &p->op.len);
    int64_t result = p->op.buf == NULL ? NEAP_ENOMEM : receive(p);
    if (result > 0) {
        np_inbuf_took(&s->in, (size_t)result);
        p->fresh = true;
    }
    return result;
}

/* Into the user's memory, and tells of it. */
static int64_t receive_direct(neap_handle *h) {
    size_t len;
    void *data = ask_for_memory(h, NP_LENT_BYTES, &len);
    np_push *p = push_of(h);
    if (data == NULL)
        return NP_WAIT;
    p->op.buf = data;
    p->op.len = len;
    int64_t result = receive(p);
    if (result > 0)
        p->on.data(p->stream, data, (size_t)result, h->user);
    return result;
}

/* ---- The turn */

/* One receive, one callback.  Answers how many bytes were told of, or NP_WAIT: now there are no more. */
static int64_t advance(neap_handle *h) {
    np_push *p = push_of(h);
    neap_stream *s = p->stream;
    p->fresh = p->fresh && s->in.len > 0; /* the user may have consumed it */
    if (p->fresh)
        return (int64_t)tell_kept(h);
    int64_t result = NP_WAIT;
    if (s->in_end <= 0)
        result = s->in_end;
    else if (may_receive(p) && p->on.buffer != NULL && s->in.len == 0)
        result = receive_direct(h);
    else if (may_receive(p))
        result = receive_kept(p);
    p = reading(h);
    if (p == NULL)
        return NP_WAIT;
    if (result == NP_WAIT)
        result = park(p);
    if (result > 0)
        return p->fresh ? (int64_t)tell_kept(h) : result;
    if (result != NP_WAIT) {
        s->in_end = (int32_t)result;
        tell_end(h);
    }
    return NP_WAIT;
}

/* What is left when the turn is used up has the next. */
static void tell_bytes(neap_handle *h) {
    size_t told = 0;
    for (int calls = 0; reading(h) != NULL; calls++) {
        if (calls == TURN_CALLS || told >= TURN_BYTES) {
            wake(push_of(h));
            return;
        }
        int64_t n = advance(h);
        if (n == NP_WAIT)
            return;
        told += (size_t)n;
    }
}

/* Nothing can be sent any more, and what had come before is told, or nobody wants to hear of it. */
static bool is_over(np_push *p) {
    return p->broken && !p->ended && !p->stream->closing && p->handle->node.where == NP_AT_NONE;
}

static void turn(void *user) {
    np_push *p = user;
    neap_stream *s = p->stream;
    neap_handle *h = p->handle;
    np_obj_ref(&s->obj);
    if (p->ended)
        tell_closed(h);
    else if (p->can_write)
        tell_can_write(h);
    tell_bytes(h);
    p = push_of(h);
    if (p != NULL && is_over(p))
        np_stream_shut(s, s->out_end);
    np_obj_unref(&s->obj);
}

/* ---- Started and stopped */

static bool arm(np_op *op) {
    wake(np_container(op, np_push, op));
    return true;
}

/* The descriptor is gone, which the socket says, too. */
static void done(np_op *op) {
    (void)op;
}

static const np_call_source source = {.stop = end_calls};

static bool are_sound(const neap_stream_callbacks *callbacks) {
    return callbacks != NULL && callbacks->size >= sizeof *callbacks && callbacks->data != NULL;
}

static void init(np_push *p, neap_stream *s, neap_handle *h, const neap_stream_callbacks *on) {
    p->stream = s;
    p->handle = h;
    p->on = *on;
    p->op = (np_op){
        .desc = &s->sock->desc, .kind = NP_OP_RECV, .dir = NP_DIR_READ, .arm = arm, .done = done};
    np_list_init(&p->op.link);
    p->fresh = s->in.len > 0;
    p->broken = s->out_end < 0;
    p->above = np_stream_unsent(s) > s->high;
    np_obj_ref(&s->obj);
    s->push = p;
    p->owner.closed = sock_closed;
    np_sock_own(s->sock, &p->owner);
    np_source_call_of(h)->owner = p;
    np_source_call_of(h)->source = &source;
    h->fn.call = turn;
}

static int32_t start(neap_stream *s, const neap_stream_callbacks *callbacks, void *user,
                     neap_destroy_fn destroy) {
    int32_t rc = are_sound(callbacks) ? np_stream_enter(s) : NEAP_EINVAL;
    if (rc < 0)
        return rc;
    if (s->reader != NULL || s->push != NULL)
        return NEAP_EBUSY;
    neap_loop *loop = s->obj.loop;
    np_push *p = np_pool_get(&loop->pool, sizeof *p);
    neap_handle *h = p == NULL ? NULL : np_handle_new(loop, NP_CALL_STREAM);
    if (h == NULL) {
        if (p != NULL)
            np_pool_put(&loop->pool, p, sizeof *p);
        return NEAP_ENOMEM;
    }
    init(p, s, h, callbacks);
    np_handle_take(h, user, destroy);
    wake(p);
    return 0;
}

int32_t neap_stream_start(neap_stream *stream, const neap_stream_callbacks *callbacks, void *user,
                          neap_destroy_fn destroy) {
    int32_t rc = start(stream, callbacks, user, destroy);
    if (rc < 0 && destroy != NULL)
        destroy(user);
    return rc;
}

int32_t neap_stream_stop(neap_stream *stream) {
    int32_t rc = stream == NULL ? NEAP_EINVAL : np_look(stream->obj.loop);
    if (rc < 0 || stream->push == NULL)
        return rc;
    (void)np_handle_cancel(stream->push->handle);
    return 1;
}

static int32_t enter_started(const neap_stream *s) {
    int32_t rc = np_stream_enter(s);
    return rc == 0 && s->push == NULL ? NEAP_EINVALID_STATE : rc;
}

int32_t neap_stream_pause(neap_stream *stream) {
    int32_t rc = enter_started(stream);
    if (rc < 0 || stream->push->paused)
        return rc;
    stream->push->paused = true;
    unpark(stream->push);
    return 0;
}

int32_t neap_stream_resume(neap_stream *stream) {
    int32_t rc = enter_started(stream);
    if (rc < 0 || !stream->push->paused)
        return rc;
    stream->push->paused = false;
    stream->push->fresh = stream->in.len > 0;
    wake(stream->push);
    return 0;
}

/* stream.h: a duplex stream of bytes over a descriptor.

   Reading: one receive at a time fills `in`; what somebody wants of it is an np_want, which says how many bytes at the
   front are the answer.  Bytes leave `in` only as somebody's answer, so a read that fails or is cancelled loses none.
   Writing: bytes are copied behind what is to go, and go soon after the step that wrote them, or at once when they are many.
   They go in the order in which they were written, each write as one.
   The descriptor is that of a socket, which the stream holds; of a pipe or terminal it is the stream's own. */
#ifndef NP_STREAM_H
#define NP_STREAM_H

#include "core/inbuf.h"
#include "core/lot.h"
#include "sys/sock.h"

typedef struct np_reader np_reader;
typedef struct np_push np_push;

enum {
    NP_STREAM_OPEN = 1 /* of in_end: neither the end nor an error has come */
};

struct neap_stream {
    np_obj obj;
    neap_sock *sock; /* an outer reference */
    np_inbuf in;
    np_reader *reader; /* who waits for bytes, or NULL */
    np_push *push;     /* who is called with them, or NULL */
    np_list pieces;    /* to be sent, oldest first */
    np_lot writers;    /* who waits for them to go, see np_writer */
    np_waiter flusher; /* queued: the last pieces are new */
    np_timer go_on;    /* started: a stretch of a file has gone, the next is to */
    uint64_t queued;   /* bytes that were written, ever */
    uint64_t sent;     /* of these the kernel has */
    uint32_t low;      /* who waits because of the high mark goes on at so many unsent */
    uint32_t high;     /* above it a writer waits */
    int32_t in_end;    /* what comes behind `in`: NP_STREAM_OPEN, 0 for the end, or a code */
    int32_t out_end;   /* why nothing more can be written, or 0 */
    bool closing;      /* close was called; it ends when all has gone */
    bool finished;     /* write_eof was called */
    bool little;       /* what came last was little */
};

static inline np_io *np_stream_io(const neap_stream *s) {
    return &s->obj.loop->io;
}

/* By whole pieces. */
static inline size_t np_stream_unsent(const neap_stream *s) {
    return (size_t)(s->queued - s->sent);
}

/* Flags of a starting call make sense: with those of `now`, and without a future asked for, it needs no ret_future. */
static inline bool np_stream_flags_fit(uint32_t flags, uint32_t now, neap_future **ret_future) {
    bool needs_future = (flags & now) == 0 || (flags & NEAP_WANT_FUTURE) != 0;
    return (flags & ~(now | NEAP_WANT_FUTURE)) == 0 && (ret_future != NULL || !needs_future);
}

/* The stream can be used: thread, life, not closed. */
static inline int32_t np_stream_enter(const neap_stream *s) {
    int32_t rc = s == NULL ? NEAP_EINVAL : np_enter(s->obj.loop);
    if (rc < 0)
        return rc;
    return s->sock->closed || s->closing ? NEAP_ECLOSED : 0;
}

/* Ends it now: what waits hears `code`, what was not sent is lost.  Reset: the peer is to know that. */
void np_stream_shut(neap_stream *s, int32_t code);
void np_stream_reset(neap_stream *s);

/* read.c: the reader, if there is one, hears `code`. */
void np_stream_end_read(neap_stream *s, int32_t code);

/* write.c.  A mark is a value of `sent`; NP_STREAM_CLOSED comes when the stream is closed and all has gone. */
#define NP_STREAM_CLOSED UINT64_MAX
void np_stream_flush(neap_stream *s);
void np_stream_init_out(neap_stream *s);
void np_stream_end_out(neap_stream *s, int32_t code); /* drops all pieces; who waits hears `code` */
int32_t np_stream_wait_sent(neap_stream *s, uint64_t mark, uint32_t flags,
                            neap_future **ret_future);

/* push.c, of a stream that has callbacks: it has ended; nothing more can be sent; what is unsent has changed.  They only note
   and queue. */
void np_push_end(neap_stream *s, int32_t code);
void np_push_broken(neap_stream *s);
void np_push_note_unsent(neap_stream *s);

#endif

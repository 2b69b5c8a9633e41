/* inbuf.h: bytes that were received and are not yet taken.

   They stand in the loop's lent memory for as long as nobody else needs that, so that what is taken in the step in which
   it came is never copied; else in a buffer of their own.  An empty one holds nothing.  Bytes that were handed out stay
   where they are until the next aim or rest, or for as long as somebody has a reference to their buffer.

   Small buffers are for what is received some steps ahead.  Emptied, they are spares of the loop, the newest last. */
#ifndef NP_INBUF_H
#define NP_INBUF_H

#include "core/lent.h"

struct np_inbuf {
    neap_buf *buf; /* the loop's, if loop->lent_in is this; else our reference; or NULL */
    size_t at;
    size_t len;
    bool sealed; /* what stands behind the bytes was handed out: nothing is received there */
};

static inline const char *np_inbuf_data(const np_inbuf *in) {
    return in->buf == NULL ? "" : np_buf_bytes(in->buf) + in->at;
}

/* Where the next bytes go, behind those that are there: room for some of `want`, at least one.  NULL when there is no
   memory. */
char *np_inbuf_aim(neap_loop *loop, np_inbuf *in, size_t want, size_t *ret_room);

/* As aim, for an empty one, in a small buffer. */
char *np_inbuf_aim_small(neap_loop *loop, np_inbuf *in, size_t *ret_room);
void np_inbuf_drop_spares(neap_loop *loop);

/* Its bytes stand in the loop's lent memory. */
static inline bool np_inbuf_is_lent(const neap_loop *loop, const np_inbuf *in) {
    return loop->lent_in == in;
}

/* Its bytes stand there or in a small buffer, so that they stay as long as a step, but should not be kept. */
bool np_inbuf_is_of_loop(const neap_loop *loop, const np_inbuf *in);

/* So many came there.  Until then nobody else may use the loop's memory. */
static inline void np_inbuf_took(np_inbuf *in, size_t n) {
    in->len += n;
}

/* What was consumed last of all stays put until the memory is used again. */
void np_inbuf_emptied(neap_loop *loop, np_inbuf *in);
static inline void np_inbuf_consume(neap_loop *loop, np_inbuf *in, size_t n) {
    in->at += n;
    in->len -= n;
    if (np_unlikely(in->len == 0))
        np_inbuf_emptied(loop, in);
}

/* A reference to the buffer in which the first `n` bytes stand, NULL for none, and their place.  Few bytes that outlive the
   step get a buffer of their own, if there is memory, so that they do not keep all of the loop's. */
neap_buf *np_inbuf_share(neap_loop *loop, const np_inbuf *in, size_t n, bool outlives,
                         const char **ret_data);

/* Puts bytes in front.  Those that were consumed last need no memory. */
int32_t np_inbuf_unread(neap_loop *loop, np_inbuf *in, const char *data, size_t len);

/* If it is empty it lets its memory go. */
void np_inbuf_rest(neap_loop *loop, np_inbuf *in);
void np_inbuf_clear(neap_loop *loop, np_inbuf *in);

/* The lent memory is needed by others: who has bytes there takes them along. */
void np_inbuf_evict(neap_loop *loop);

#endif

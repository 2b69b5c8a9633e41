/* lent.h: the memory that a loop lends to receives, so that what is taken in the step in which it came is never copied.

   Two may stand in it at a time: the value of one future, until the step that saw it ends or asks for more, and the bytes
   behind it of one np_inbuf, until others need the memory.  The value may as well stand in a small buffer of the np_inbuf's. */
#ifndef NP_LENT_H
#define NP_LENT_H

#include "core/buf.h"

#define NP_LENT_BYTES 65536

/* The memory, made when first asked for; NULL when there is none.  What was lent before ends. */
neap_buf *np_lent(neap_loop *loop);

/* Takes the memory out of the loop; it makes another when needed. */
neap_buf *np_lent_take(neap_loop *loop);

/* The value of a future that is about to be settled are these bytes, which stand in that memory. */
void np_lent_show(neap_future *f, neap_buf *buf, void *data, size_t len);

/* The value that stands there leaves it if anybody can still ask for it. */
void np_lent_end_slow(neap_loop *loop);
static inline void np_lent_end(neap_loop *loop) {
    if (np_unlikely(loop->lent_future != NULL))
        np_lent_end_slow(loop);
}

#endif

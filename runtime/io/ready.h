/* ready.h: turns a readiness poller into a backend.  A poller is a handful of functions; everything about
   operations, queues and readiness bits is in ready.c, once. */
#ifndef NP_READY_H
#define NP_READY_H

#include "io/backend.h"

/* What an event carries. */
enum {
    NP_EV_READ = 1,
    NP_EV_WRITE = 2,
    NP_EV_STICKY = 4, /* one of RDHUP, HUP, ERR, PRI */
    NP_EV_HUP = 8     /* RDHUP or HUP */
};

/* Backend functions that every poller shares; add and del are the poller's own ways to change its set.  add watches for
   what the operation needs, marks the directions that are watched from now on, and counts. */
int64_t np_ready_begin(np_io *io, np_op *op);
int np_ready_park(np_io *io, np_op *op, int (*add)(np_io *io, np_op *op));
bool np_ready_cancel(np_io *io, np_op *op);
int64_t np_ready_perform(np_io *io, np_op *op);
void np_ready_detach(np_io *io, np_desc *desc, int32_t code, void (*del)(np_io *io, np_desc *desc));
void np_ready_drain(np_io *io);

/* An announcement of the kernel; a stale generation is dropped. */
void np_ready_event(np_io *io, uint32_t fd, uint32_t generation, unsigned events);

#endif

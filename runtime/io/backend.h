/* backend.h: the border between the loop and the kernel.  It speaks operations, not readiness: a readiness poller is
   turned into a backend by ready.c, a completing one (io_uring) or a simulated one implements the table itself.

   Contract of the table
   - begin tries to finish an operation without waiting: a result, a code, or NP_WAIT.  It never parks.  A backend
     may always answer NP_WAIT.
   - park takes an operation over (0), or fails and leaves it with the caller.
   - cancel ends a parked operation: true if it is free again at once (the caller finishes it), false if it will come
     through the completed list, with NEAP_ECANCELED or, if the kernel was faster, with its result.
   - take tries an operation that reads a descriptor whose bytes the backend receives by itself (NP_D_FED); only such a
     backend has it.
   - perform finishes a lent receive that was armed, now that it has a buffer: result, code, or NP_WAIT (parked again).
   - detach ends all operations of a descriptor with `code` through the completed list and forgets the descriptor.
   - wait collects what happened, waiting at most timeout_ns (-1: for ever; rounded up if the clock of the kernel is
     coarser), puts finished operations on io->completed, and calls nothing of the upper floors but arm.  Returns the
     number of kernel events, NEAP_EINTR if a signal interrupted it, or a failure.
   - file takes a call on files over (0), which comes back through the completed list with its result, or answers NEAP_ENOTSUP:
     then it is made by a thread.  Its buffers are the backend's until then.  Only a completing backend has it.
   - file_stop asks for an early end of one that it has; that comes back all the same.
   - drain ends every operation with NEAP_ECLOSED and returns when every buffer is back, or after a bounded wait; what did not
     come back is leaked on purpose.
   - fd gives the pollable descriptor or NEAP_ENOTSUP; arm sets when it becomes readable by itself (NP_NEVER: not). */
#ifndef NP_BACKEND_H
#define NP_BACKEND_H

#include <stdatomic.h>

#include "base/alloc.h"
#include "io/fileop.h"

typedef struct np_backend {
    const char *name;
    int (*open)(np_io *io, uint32_t events_max);
    void (*close)(np_io *io);
    int64_t (*begin)(np_io *io, np_op *op);
    int (*park)(np_io *io, np_op *op);
    bool (*cancel)(np_io *io, np_op *op);
    int64_t (*take)(np_io *io, np_op *op);
    int64_t (*perform)(np_io *io, np_op *op);
    void (*detach)(np_io *io, np_desc *desc, int32_t code);
    int (*wait)(np_io *io, int64_t timeout_ns);
    int (*file)(np_io *io, np_fileop *fo);       /* or NULL */
    void (*file_stop)(np_io *io, np_fileop *fo); /* NULL where file is */
    void (*drain)(np_io *io);
    int (*fd)(np_io *io);
    int (*arm)(np_io *io, int64_t when_ns);
} np_backend;

/* The table of descriptors, by number: who owns it now, and a generation that an event must match. */
typedef struct np_slot {
    np_desc *desc;
    uint32_t generation;
} np_slot;

struct np_io {
    const np_backend *backend;
    void *impl; /* the backend's own state */
    np_alloc *alloc;
    np_list completed; /* finished operations whose done is still to be called */
    np_slot *slots;
    uint32_t slots_len;
    uint32_t parked;    /* operations that the backend holds */
    bool stirred;       /* what was done to a socket may still be on its way to another */
    atomic_int wake_fd; /* an eventfd; -1 once closed */
    atomic_uint wakers; /* threads and handlers that are writing it */
    bool
        abandoned; /* after fork: the kernel's objects are shared with the parent, only close them */
    uint64_t registrations;
    void (*on_ready)(np_io *io, int fd); /* tracing, or NULL */
};

extern const np_backend np_backend_epoll;
extern const np_backend np_backend_poll;
extern const np_backend np_backend_uring; /* without a name where it was not built */

/* Opens the named backend, or the best that works when name is NULL. */
int np_io_open(np_io *io, np_alloc *alloc, const char *name, uint32_t events_max);
void np_io_close(np_io *io); /* after drain */

/* Makes a wait return; any thread, also inside a signal handler. */
void np_io_wake(np_io *io);

/* Enters a descriptor into the table; a descriptor that is `fresh` from the kernel throws out a stale owner of its
   number.  NEAP_ENOMEM, or NEAP_EBUSY_FD if the number has an owner. */
int np_io_attach(np_io *io, np_desc *desc, bool fresh);

/* The owner of a descriptor number, or NULL. */
np_desc *np_io_owner(np_io *io, int fd);

#endif

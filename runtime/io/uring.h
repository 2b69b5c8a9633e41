/* uring.h: what the files of the io_uring backend share.

   The backend is ready.c's with two kinds of news: the kernel announces readiness (poll requests), and it receives for the
   streams that only we hold (one multishot receive per stream, into buffers that we provide).  The kernel never has the
   memory of an operation on a socket, so a cancel is always immediate.  Calls on files it makes itself, with their memory.

   uring.c       the table of backend.h: opening, waiting, the end
   uring_req.c   owns np_uring_slot: which requests the kernel has for a descriptor, and which it should have
   uring_recv.c  owns what the kernel received and nobody has taken
   uring_buf.c   owns the provided buffers
   uring_file.c  owns the calls on files that the kernel has
   uring_host.c  owns the host's descriptor */
#ifndef NP_URING_H
#define NP_URING_H

#include <liburing.h>

#include "io/ready.h"

#define NP_UR_OUT UINT32_MAX        /* in no list */
#define NP_UR_LAST (UINT32_MAX - 1) /* in a list, at its end */
#define NP_UR_OPEN 1                /* of a stream: neither its end nor an error has come */

/* Requests: the first three belong to a descriptor, one of each at a time. */
enum {
    NP_UR_RECV = 0, /* receive into provided buffers until told otherwise */
    NP_UR_READ,     /* poll for reading */
    NP_UR_WRITE,    /* poll for writing */
    NP_UR_KINDS,
    NP_UR_WAKE = NP_UR_KINDS,
    NP_UR_CANCEL,
    NP_UR_FILE /* a call on files: the rest of the user data is its address */
};

enum {
    NP_UR_BUF_BYTES = 16384,
    NP_UR_BUFS_MAX = 256,
    NP_UR_BUFS_STEP = 16, /* allocated together */
    NP_UR_BUFS_FEW = 4,   /* as many may wait for a reader that is elsewhere */
    NP_UR_NO_BUF = UINT16_MAX
};

/* Lists of slots, linked by number. */
enum {
    NP_UR_CHANGED = 0, /* what the kernel has is not what it should have */
    NP_UR_FIRED,       /* news for the operations */
    NP_UR_LISTS
};

/* Of each descriptor number: what the kernel does for it. */
typedef struct np_uring_slot {
    uint32_t next[NP_UR_LISTS];
    int32_t end;     /* behind the buffers: NP_UR_OPEN, 0 for the end, or a code */
    uint16_t first;  /* buffers that nobody has taken, in order; NP_UR_NO_BUF: none */
    uint16_t last;   /* valid while there is a first */
    uint16_t held;   /* how many these are */
    uint8_t want;    /* requests that the kernel should have, by bit 1 << NP_UR_* */
    uint8_t armed;   /* requests that it has */
    uint8_t leaving; /* of those: cancelled, still to come back */
    uint8_t events;  /* NP_EV_* to be told */
} np_uring_slot;

typedef struct np_uring_buf {
    uint32_t at; /* first byte that nobody has taken */
    uint32_t len;
    uint16_t next; /* in its slot */
    bool held;     /* has bytes; else the kernel may fill it */
} np_uring_buf;

typedef struct np_uring {
    struct io_uring ring;
    np_uring_slot *slots; /* by descriptor number */
    uint32_t slots_len;
    struct {
        uint32_t first, last; /* valid while there is a first */
    } lists[NP_UR_LISTS];
    uint32_t cq_entries;
    bool lost;       /* a request did not come back: its buffer may still be written */
    bool wake_armed; /* the ring watches the wake descriptor */
    int host_fd;     /* the pollable descriptor; -1 until a host asked for it, as the next two */
    int timer_fd;
    int fetch_fd;                   /* the kernel writes it when there is something to fetch */
    np_list files;                  /* calls that the kernel has, by np_op.link */
    uint64_t file_calls;            /* kinds that it knows, by bit; 0: not asked yet */
    int64_t timer;                  /* what timer_fd is set to; NP_NEVER: off */
    struct io_uring_buf_ring *pool; /* a page: the buffers that the kernel may fill */
    char *steps[NP_UR_BUFS_MAX / NP_UR_BUFS_STEP];
    uint16_t bufs_len; /* allocated */
    uint16_t bufs_free;
    np_uring_buf bufs[NP_UR_BUFS_MAX];
} np_uring;

static inline np_uring *np_uring_of(const np_io *io) {
    return io->impl;
}

/* ---- uring.c */

/* A ring for the calling thread; requests of the old one are made again. */
int np_uring_move(np_io *io);

/* ---- uring_req.c */

int np_uring_reserve(np_io *io, int fd);
void np_uring_list(np_uring *u, int which, uint32_t fd);

/* Brings the bits of the owner of `fd` in line with its slot. */
void np_uring_mark(np_io *io, uint32_t fd);

void np_uring_want(np_io *io, uint32_t fd, unsigned want);

uint32_t np_uring_pop(np_uring *u, int which); /* NP_UR_OUT: none */
void np_uring_init_slots(np_uring *u);

/* Fills submission entries for what changed; submits only when there is no room for more. */
void np_uring_flush(np_io *io);

/* Walks the completions: slots have what came, and those with news are on the list of fired ones.  The number of news. */
int np_uring_collect(np_io *io);

/* Something happened that a call of the ring would fetch, or that is fetched and not told. */
bool np_uring_due(const np_uring *u);

/* The ring stops watching the wake descriptor: the host does. */
void np_uring_unwatch_wake(np_io *io);

/* Submits, and waits for a completion at most so long.  0, NEAP_EINTR, or a failure. */
int np_uring_enter(np_io *io, int64_t timeout_ns);

/* An entry to fill; submits those that are there if there is no room.  NULL when that fails. */
struct io_uring_sqe *np_uring_entry(np_io *io);

/* The user data of requests that have no descriptor. */
uint64_t np_uring_word(int kind, uint64_t rest);

/* After this the kernel has nothing of the descriptor. */
void np_uring_settle(np_io *io, uint32_t fd);

/* ---- uring_recv.c */

/* Only we hold the file, and it has no borders between messages: the kernel may receive ahead. */
static inline bool np_uring_streams(const np_desc *desc) {
    return (desc->bits & (NP_D_STREAM | NP_D_SHARED)) == NP_D_STREAM;
}

static inline bool np_uring_has(const np_uring_slot *slot) {
    return slot->first != NP_UR_NO_BUF || slot->end != NP_UR_OPEN;
}

/* `wanted`: until this completion the slot had it that the kernel receives. */
void np_uring_received(np_io *io, uint32_t fd, const struct io_uring_cqe *cqe, bool wanted);
int64_t np_uring_take(np_io *io, np_op *op);
uint32_t np_uring_drop(np_uring *u, np_uring_slot *slot); /* the number of bytes */

/* ---- uring_host.c */

int np_uring_host_open(np_io *io);
void np_uring_host_close(np_uring *u);
void np_uring_host_wake(np_uring *u);
int np_uring_host_sleep(np_uring *u, int64_t timeout_ns);
int np_uring_host_clear(np_uring *u); /* the number of news */
int np_uring_host_arm(np_uring *u, int64_t when_ns);

/* ---- uring_file.c */

int np_uring_file(np_io *io, np_fileop *fo);
void np_uring_file_stop(np_io *io, np_fileop *fo);
void np_uring_file_ended(np_io *io, const struct io_uring_cqe *cqe);

/* Ends all of them within a bounded time.  What the kernel keeps is never told of again: its memory is lost on purpose. */
void np_uring_files_drain(np_io *io);

/* The ring goes with what it has of them: what each has done is not known, so they fail with NEAP_EINTR, and the kernel may still
   use their memory. */
void np_uring_files_lost(np_io *io);

/* ---- uring_buf.c */

int np_uring_bufs_open(np_uring *u); /* registers the pool with a new ring */
void np_uring_bufs_refill(np_uring *u);
void np_uring_bufs_unmap(np_uring *u);
void np_uring_bufs_close(np_io *io);
bool np_uring_bufs_grow(np_io *io);
char *np_uring_bytes(np_uring *u, uint16_t buf);
void np_uring_give_back(np_uring *u, uint16_t buf);

#endif

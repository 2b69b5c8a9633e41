/* op.h: the operation: one request to the kernel, from start to completion.

   Life: made by an upper floor -> begin (may finish it on the spot) -> park (waits in its descriptor's queue) ->
   completed (result set, linked into the completed list) -> the loop calls done, exactly once.
   While an operation is parked its memory and its buffer belong to the backend; only cancel or detach end that early, and
   they too answer through a result.  A descriptor serves the operations of one direction in order of parking.

   Lent receives have no buffer while they are parked.  When their descriptor becomes ready the backend asks `arm`: the
   upper floor either provides a buffer at once (false) or promises to come back with one through perform (true); until
   then the operation stays at the head of its queue and nothing is taken from the kernel. */
#ifndef NP_OP_H
#define NP_OP_H

#include <errno.h>
#include <sys/types.h>

#include "base/list.h"

typedef struct np_op np_op;
typedef struct np_desc np_desc;
typedef struct np_io np_io;

/* What begin, attempt and perform answer when the operation has to wait; no result looks like it. */
#define NP_WAIT INT64_MIN

enum {
    NP_DIR_READ = 0,
    NP_DIR_WRITE = 1
};

enum {
    NP_OP_POLL = 1, /* readiness itself; moves nothing */
    NP_OP_ACCEPT,   /* result: the descriptor; buf: the upper floor's */
    NP_OP_CONNECT,
    NP_OP_RECV, /* with addr: the sender */
    NP_OP_SEND, /* with addr: the receiver */
    NP_OP_SENDALL,
    NP_OP_SENDFILE,  /* from the file at `file`, from `at` on; ends early at the end of the file */
    NP_OP_RECV_MANY, /* buf: neap_msg, `stride` bytes apart; len: how many; result: how many came */
    NP_OP_SEND_MANY, /* likewise; moved: how many went */
    NP_OP_RECV_FDS,  /* buf: np_passing; len: its bytes */
    NP_OP_SEND_FDS
};

/* Bytes and what goes with them over a Unix socket.  Of a receive it owns the descriptors; of a send that waits it owns
   copies of them, so that the caller may close its own. */
typedef struct np_passing {
    void *data;
    size_t len;
    bool owns;
    uint32_t fds_max;
    uint32_t fds_len;
    uint32_t flags; /* NEAP_MSG_* */
    neap_credentials from;
    int fds[];
} np_passing;

/* Bytes of one with room for so many descriptors. */
static inline size_t np_passing_size(uint32_t fds_max) {
    return sizeof(np_passing) + fds_max * sizeof(int);
}

/* Closes the descriptors that it owns. */
void np_passing_close(np_passing *p);

enum {
    NP_OP_IDLE = 0,
    NP_OP_PARKED,
    NP_OP_ARMED
};

struct np_op {
    np_list link;            /* in its descriptor's queue, or in the completed list */
    np_desc *desc;           /* what it works on; outlives the operation */
    void (*done)(np_op *op); /* the upper floor's; gets the operation back with its result */
    bool (*arm)(np_op *op);  /* of a lent receive, else NULL */
    int64_t result;          /* >= 0, or a negative code */
    void *buf;               /* bytes to fill or to send */
    size_t len;
    size_t moved; /* bytes that went so far */
    union {
        neap_addr *addr; /* to fill, to use, or NULL */
        int64_t at;      /* of a SENDFILE */
    };
    union {
        int file;        /* likewise */
        uint32_t stride; /* of a batch */
    };
    uint8_t kind; /* NP_OP_* */
    uint8_t dir;  /* NP_DIR_* */
    uint8_t state;
    union {
        bool begun;   /* of a connect: the kernel is at it */
        bool segment; /* of a SEND_MANY: in runs of one length, which the kernel cuts */
    };
};

/* A descriptor as the backend sees it; embedded in what owns it. */
struct np_desc {
    np_list queue[2]; /* parked operations by direction */
    int fd;           /* -1: none */
    uint16_t bits;    /* NP_D_* */
};

enum {
    NP_D_READ = 1,         /* may be readable: try; clear only when the kernel said no */
    NP_D_WRITE = 2,        /* may be writable */
    NP_D_ATTACHED = 4,     /* in the table of descriptors */
    NP_D_WATCHED_READ = 8, /* the kernel announces when it becomes readable */
    NP_D_STICKY =
        16, /* an event carried RDHUP, HUP, ERR or PRI: a short read proves nothing any more */
    NP_D_HUP =
        32, /* RDHUP or HUP was announced and recv has not yet returned the end or an error */
    NP_D_SHARED =
        64, /* others may hold the file (adopted, raw): take it out of the kernel's set before close */
    NP_D_STREAM = 128,        /* TCP: a short read means that nothing is left */
    NP_D_RAW = 256,           /* belongs to watches, not to a socket */
    NP_D_WATCHED_WRITE = 512, /* the kernel announces when it becomes writable */
    NP_D_FED = 1024,          /* the backend receives by itself: its take knows what is there */
    NP_D_PLAIN = 2048,        /* no socket: a pipe, a terminal, a file */
    NP_D_BLOCKING = 4096,     /* likewise; its calls could block, and that is not ours to change */
    NP_D_SOCKET = 8192,       /* of those: a socket all the same */
    NP_D_ASKED = 16384        /* of those: the kernel is asked before each call, see plain.c */
};

static inline unsigned np_dir_bit(int dir) {
    return dir == NP_DIR_READ ? NP_D_READ : NP_D_WRITE;
}

static inline unsigned np_watched_bit(int dir) {
    return dir == NP_DIR_READ ? NP_D_WATCHED_READ : NP_D_WATCHED_WRITE;
}

static inline void np_desc_init(np_desc *d, int fd, unsigned bits) {
    np_list_init(&d->queue[NP_DIR_READ]);
    np_list_init(&d->queue[NP_DIR_WRITE]);
    d->fd = fd;
    d->bits = (uint16_t)(bits | NP_D_READ | NP_D_WRITE);
}

/* What a call that returned n, or failed with errno, means for its operation. */
static inline int64_t np_op_answer(ssize_t n) {
    if (n >= 0)
        return n;
    return errno == EAGAIN || errno == EWOULDBLOCK ? NP_WAIT : -errno;
}

/* Makes the system call of the operation once (what sends all: until the kernel takes no more).  Returns the result, a
   negative code, or NP_WAIT.  Interrupted calls are repeated. */
int64_t np_op_attempt(np_op *op);

/* Its part in attempt_msg.c: batches, and descriptors with bytes. */
int64_t np_op_attempt_msg(np_op *op);

#endif

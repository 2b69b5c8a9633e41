/* filejob.h: an operation on files, from the call to the outcome.

   A job is a chain of kernel calls (fileop.h).  After each call its `step` looks at op.op.result and either prepares the next
   one or says that the job is over.  So the same chain runs on a ring, call by call, and on a thread of the files' pool, in one
   go: a whole operation is one trip, however many calls it takes.

   Invariants
   - A job is memory apart from its future: what a thread or the kernel uses outlives a cancel.  The chain holds one
     reference, the future another.
   - While the chain is under way only step touches the job, on whichever thread, and step touches nothing else.  The loop's
     thread may set `stop`, by which steps that can take long end early, and read `moved`.
   - `future` is NULL once nobody waits.  `end` is called on the loop's thread when the chain is over, in any case; then what
     nobody waits for any more is put back or goes. */
#ifndef NP_FILEJOB_H
#define NP_FILEJOB_H

#include <sys/stat.h>

#include "core/buf.h"
#include "core/future.h"
#include "io/fileop.h"

typedef struct np_filejob np_filejob;

/* What a success gives. */
enum {
    NP_GIVES_NOTHING = 0,
    NP_GIVES_COUNT, /* the result as an integer */
    NP_GIVES_BYTES, /* `buf` */
    NP_GIVES_FILE   /* `file`, which has its descriptor by then */
};

typedef struct np_filefuture {
    neap_future f;
    np_filejob *job; /* a reference */
} np_filefuture;

struct np_filejob {
    np_fileop op;
    bool (*step)(
        np_filejob *
            job); /* true: op is the next call; false: result is set; NULL: one call, whose result counts */
    void (*end)(np_filejob *job); /* may be NULL */
    neap_loop *loop;
    np_list link;          /* in the loop's file_jobs while the chain is under way */
    np_filefuture *future; /* borrowed; it goes before the job */
    neap_file *file;  /* a reference, or NULL: whose descriptor is used, or that is being opened */
    np_list of_file;  /* in the file's jobs */
    const char *what; /* "a read" */
    int64_t result;
    neap_buf *buf; /* what was read */
    atomic_size_t moved;
    atomic_bool stop;
    uint32_t refs;
    uint8_t gives;   /* NP_GIVES_* */
    bool ran;        /* a thread had it */
    bool submitting; /* a thread may get it */
    bool started;    /* the chain is under way, or over */
    bool positioned; /* it moves the position of its file */
    bool seeks;      /* that is all it does: to `delta` from `whence` */
    bool counts;     /* a failure tells how much was moved */
    bool from_back;  /* its bytes are a copy of what its file keeps */
    uint8_t at;      /* for step: how far it is */
    int fd;          /* for step: what it has opened, -1: nothing */
    uint8_t whence;  /* NEAP_SEEK_* */
    int64_t delta;
    int32_t code;     /* for step: the failure that it will end with, when all is cleaned up */
    size_t size;      /* of this block */
    struct statx stx; /* what a NP_FILE_STAT found */
    char *text;       /* first path, inside the block, as the others */
    size_t text_len;
    char *text2;
    char *data; /* what is to be written */
    size_t len; /* of data, or how much is to be read */
};

/* A text or data for a job. */
typedef struct np_given {
    const char *bytes;
    size_t len;
    size_t room; /* more bytes behind it, for what a step appends */
} np_given;

static inline np_given np_give(const void *bytes, size_t len) {
    return (np_given){.bytes = bytes, .len = len};
}

/* A path as callers give it: NEAP_EINVAL, or NEAP_EVALUE if it has a zero inside. */
int32_t np_path_check(const char *path, size_t len);

/* A job with copies of what was given (bytes NULL: none), each with a zero behind it; NULL when there is no memory. */
np_filejob *np_filejob_new(neap_loop *loop, const char *what, np_given text, np_given text2,
                           np_given data);
void np_filejob_unref(np_filejob *job);

/* Gives it a pending future; false when there is no memory. */
bool np_filejob_promise(np_filejob *job);

/* Takes that back before anybody has seen it, and the job with it, which has not begun. */
void np_filejob_unpromise(np_filejob *job);

/* Begins the chain, whose end unrefs the job.  A failure has begun nothing. */
int32_t np_filejob_start(np_filejob *job);

/* The result is there: the chain is over without a call, in the next tick. */
void np_filejob_skip(np_filejob *job);

/* As np_filejob_start; where no thread can be had, or the loop closes, the chain is run here. */
void np_filejob_start_anyway(np_filejob *job);

/* Promises, starts and answers NEAP_PENDING; takes the job in any case.  `job` may be NULL: NEAP_ENOMEM. */
int32_t np_filejob_launch(np_filejob *job, neap_future **ret_future);

/* Nobody waits any more: the future ends with `code` and what is known of the bytes.  A job that has not begun goes; one that
   has is told to stop. */
void np_filejob_detach(np_filejob *job, int32_t code, const char *msg);

/* Sets up op to look at its descriptor, into stx. */
void np_filejob_stat(np_filejob *job);

/* The loop closes: nobody waits any more, and all that have begun are told to stop. */
void np_filejob_end_all(neap_loop *loop);

/* Steps.  The buffer of op moves along with the bytes; a read ends early at the end of the file. */
bool np_filejob_transfer(np_filejob *job);

/* The first piece was refused because the file has no offsets: op is set up to do without. */
bool np_filejob_has_no_offsets(np_filejob *job);

/* Sets up op for the next piece of `len` bytes in all at `bytes`, of which `moved` are done. */
void np_filejob_piece(np_filejob *job, uint8_t kind, char *bytes);

/* The job behind a future of this kind, or NULL. */
np_filejob *np_filejob_of(neap_future *future);

#endif

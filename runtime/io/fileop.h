/* fileop.h: one call of the kernel on files.  It is data, so that a thread of a pool can make it or a ring take it over.

   Whoever has it owns its path, buffer and block until `op.result` is there: a ring through np_op's life (backend.h,
   `file`), a thread until np_fileop_call returns.  Descriptors of files have no np_desc: they are never ready or not. */
#ifndef NP_FILEOP_H
#define NP_FILEOP_H

#include "io/op.h"

enum {
    NP_FILE_OPEN, /* result: the descriptor */
    NP_FILE_CLOSE,
    NP_FILE_READ,  /* up to op.len bytes; result: the count */
    NP_FILE_WRITE, /* likewise */
    NP_FILE_SYNC,  /* flags NP_FILE_DATA: what is needed to read the data, no more */
    NP_FILE_STAT,  /* of `path`, or of `fd` if that is NULL, into op.buf, a struct statx */
    NP_FILE_RENAME,
    NP_FILE_UNLINK, /* flags: AT_REMOVEDIR */
    NP_FILE_MKDIR,
    NP_FILE_SYMLINK, /* named `to`, with the text `path` */
    NP_FILE_LINK,
    NP_FILE_CALL /* anything else: `call` makes it, always on a thread */
};

enum {
    NP_FILE_DATA = 1
};

enum {
    NP_FILE_HERE =
        -1, /* an offset: where the descriptor itself stands, or where the kernel appends */
    NP_FILE_MOST = 16 << 20 /* bytes of one call: between two it can be stopped */
};

typedef struct np_fileop np_fileop;
struct np_fileop {
    np_op op;
    int fd;
    int flags; /* of the system call */
    uint32_t mode;
    uint8_t kind; /* NP_FILE_* */
    bool
        never_waits; /* a read or write that would wait for the other end of a pipe, or a terminal, is to fail */
    bool in_ring; /* the kernel has it */
    bool lost; /* and may still have it: neither its memory nor its descriptor can be used again */
    int64_t offset;   /* in the file, or NP_FILE_HERE */
    const char *path; /* ended by a zero, as all texts here */
    const char *to;   /* of what has two */
    int64_t (*call)(np_fileop *fo);
};

static inline np_fileop *np_fileop_of(np_op *op) {
    return np_container(op, np_fileop, op);
}

/* Makes the call here, on whichever thread: a result or a code.  An interrupted call is repeated. */
int64_t np_fileop_call(np_fileop *fo);

/* Reads what is in memory already: a count, 0 at the end, NEAP_EAGAIN if it has to wait for the medium, or NEAP_ENOTSUP if
   that cannot be known. */
int64_t np_fileop_peek(np_fileop *fo);

#endif

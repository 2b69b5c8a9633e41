/* want.h: what somebody wants to read: how many of the bytes that are there are the answer. */
#ifndef NP_WANT_H
#define NP_WANT_H

#include "core/inbuf.h"

enum {
    NP_WANT_SOME = 1, /* whatever there is, up to n */
    NP_WANT_EXACTLY,  /* n */
    NP_WANT_UNTIL,    /* up to and with the first delimiter, at most n */
    NP_WANT_ALL,      /* to the end, at most n */
    NP_WANT_FILL      /* n, which stay where they are; less before the end */
};

enum {
    NP_WANT_MOST_DELIMS = 16
};

typedef struct np_want {
    uint8_t kind;
    bool rest; /* of UNTIL: what stands before the end will do, too */
    uint8_t delims_len;
    size_t n;
    size_t scanned;         /* so many bytes are known to hold no end of a delimiter */
    const neap_iov *delims; /* of UNTIL */
} np_want;

#define NP_WANT_MORE INT64_MIN

/* The number of bytes at the front that are the answer (0: the end, and nothing before it), NP_WANT_MORE, or a code.
   `end` is what comes behind the bytes, as in neap_stream. */
int64_t np_want_look(np_want *want, const np_inbuf *in, int32_t end);

/* How many more bytes could be of use. */
size_t np_want_room(const np_want *want, const np_inbuf *in);

/* Copies the delimiters, which are the caller's, to memory of the want; false: none. */
bool np_want_keep(np_want *want, np_alloc *alloc);
void np_want_drop(np_want *want, np_alloc *alloc);

#endif

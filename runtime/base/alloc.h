/* alloc.h: the one door to memory.  Every block of a loop comes through its np_alloc, which calls the host's
   functions and counts; the counters are what the leak tests read.  It has references of its own because buffers may
   outlive their loop on another thread. */
#ifndef NP_ALLOC_H
#define NP_ALLOC_H

#include <stdatomic.h>

#include "base.h"

struct np_alloc {
    neap_allocator fns;
    atomic_uint refs;
    atomic_uint_least64_t bytes;  /* allocated now */
    atomic_uint_least64_t blocks; /* allocated now */
    atomic_uint_least64_t total;  /* allocations ever made */
};

/* Makes one from the host's functions, or from malloc when `fns` is NULL; NULL when there is no memory. */
np_alloc *np_alloc_new(const neap_allocator *fns);
np_alloc *np_alloc_ref(np_alloc *a);
void np_alloc_unref(np_alloc *a);

void *np_alloc_get(np_alloc *a, size_t n);
void *np_alloc_resize(np_alloc *a, void *p, size_t old, size_t n);
void np_alloc_put(np_alloc *a, void *p, size_t n); /* p may be NULL */

/* A copy of the text, or NULL when there is no memory; ended by np_alloc_put_text. */
char *np_alloc_text(np_alloc *a, const char *text);
void np_alloc_put_text(np_alloc *a, char *text);

#endif

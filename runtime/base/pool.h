/* pool.h: small blocks by size, cut from slabs, one set per loop and used on its thread only.  A steady program takes
   its futures, tasks and operations from here without touching the allocator.

   A block ends with its number in its slab, so that it finds its slab without any search, and a slab whose blocks are
   all back returns to the allocator, but for one per size: what a burst took, the end of the burst gives back.

   A few pages, blocks of one larger size for bytes on their way, are kept likewise. */
#ifndef NP_POOL_H
#define NP_POOL_H

#include "alloc.h"

#define NP_POOL_GRAIN 8
#define NP_POOL_CLASSES 48 /* sizes up to NP_POOL_GRAIN * NP_POOL_CLASSES bytes are pooled */

#ifndef NP_POOL_SLAB
#define NP_POOL_SLAB \
    16384 /* bytes; 0 in sanitizer builds: no slabs, so that they see each use after free */
#endif

#define NP_POOL_PAGE 1280 /* bytes */
#define NP_POOL_PAGES 8   /* are kept */

typedef struct np_slab np_slab;

typedef struct np_pool {
    np_alloc *alloc;
    np_slab *open[NP_POOL_CLASSES]; /* slabs with room, the last used first */
    void *pages;                    /* each begins with a pointer to the next */
    unsigned pages_len;
    bool trimmed; /* empty slabs and pages are not kept any more */
} np_pool;

void np_pool_init(np_pool *pool, np_alloc *alloc);
void *np_pool_get(np_pool *pool, size_t n); /* zeroed; NULL when there is no memory */
void np_pool_put(np_pool *pool, void *p, size_t n);
void *np_pool_get_page(np_pool *pool); /* not zeroed; NULL when there is no memory */
void np_pool_put_page(np_pool *pool, void *page);
void np_pool_trim(np_pool *pool); /* gives back what is kept and keeps no more */

#endif

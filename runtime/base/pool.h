/* pool.h: free lists of small blocks by size, one set per loop and used on its thread only.  A steady program takes
   its futures, tasks and operations from here without touching the allocator. */
#ifndef NP_POOL_H
#define NP_POOL_H

#include "alloc.h"

#define NP_POOL_GRAIN 16
#define NP_POOL_CLASSES 24 /* blocks up to NP_POOL_GRAIN * NP_POOL_CLASSES bytes are pooled */

#ifndef NP_POOL_KEEP
#define NP_POOL_KEEP \
    4096 /* blocks kept per class; sanitizer builds keep none, so that they see each use after free */
#endif

typedef struct np_pool_block np_pool_block;

typedef struct np_pool {
    np_alloc *alloc;
    np_pool_block *free[NP_POOL_CLASSES];
    uint32_t kept[NP_POOL_CLASSES];
    uint32_t keep; /* how many a class may keep; 0 once the loop is closed */
} np_pool;

void np_pool_init(np_pool *pool, np_alloc *alloc);
void *np_pool_get(np_pool *pool, size_t n); /* zeroed; NULL when there is no memory */
void np_pool_put(np_pool *pool, void *p, size_t n);

/* What a block for n bytes measures: one from the allocator itself, of this size, can be put into the pool. */
size_t np_pool_block_size(size_t n);
void np_pool_trim(np_pool *pool); /* gives back all that is kept and keeps no more */

#endif

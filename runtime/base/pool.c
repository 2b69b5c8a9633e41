#include "base/pool.h"

#include <string.h>

struct np_pool_block {
    np_pool_block *next;
};

void np_pool_init(np_pool *pool, np_alloc *alloc) {
    memset(pool, 0, sizeof *pool);
    pool->alloc = alloc;
    pool->keep = NP_POOL_KEEP;
}

static size_t class_of(size_t n) {
    return (n + NP_POOL_GRAIN - 1) / NP_POOL_GRAIN - 1;
}

static size_t class_size(size_t class) {
    return (class + 1) * NP_POOL_GRAIN;
}

size_t np_pool_block_size(size_t n) {
    return class_size(class_of(n));
}

void *np_pool_get(np_pool *pool, size_t n) {
    size_t class = class_of(n);
    void *p;
    if (class < NP_POOL_CLASSES && pool->free[class] != NULL) {
        np_pool_block *block = pool->free[class];
        pool->free[class] = block->next;
        pool->kept[class]--;
        p = block;
    } else {
        p = np_alloc_get(pool->alloc, class_size(class));
    }
    return p == NULL ? NULL : memset(p, 0, n);
}

void np_pool_put(np_pool *pool, void *p, size_t n) {
    size_t class = class_of(n);
    if (class < NP_POOL_CLASSES && pool->kept[class] < pool->keep) {
        np_pool_block *block = p;
        block->next = pool->free[class];
        pool->free[class] = block;
        pool->kept[class]++;
        return;
    }
    np_alloc_put(pool->alloc, p, class_size(class));
}

void np_pool_trim(np_pool *pool) {
    pool->keep = 0;
    for (size_t class = 0; class < NP_POOL_CLASSES; class ++) {
        while (pool->free[class] != NULL) {
            np_pool_block *block = pool->free[class];
            pool->free[class] = block->next;
            np_alloc_put(pool->alloc, block, class_size(class));
        }
        pool->kept[class] = 0;
    }
}

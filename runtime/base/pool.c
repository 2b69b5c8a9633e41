#include "base/pool.h"

#include <string.h>

#define LINE 64 /* bytes of a cache line */

typedef uint16_t number; /* of a block in its slab; its last bytes */

/* Stands right before its first block, which begins a cache line: blocks of whole lines share none. */
struct np_slab {
    void *memory;         /* from the allocator */
    np_slab *next, *prev; /* in its class's list, while it has room */
    void *free;           /* blocks that came back; each begins with a pointer to the next */
    uint16_t used;
    uint16_t cut; /* blocks that were ever handed out */
    uint16_t count;
};

void np_pool_init(np_pool *pool, np_alloc *alloc) {
    memset(pool, 0, sizeof *pool);
    pool->alloc = alloc;
}

/* ---- Sizes */

/* A block that is free holds a pointer before its number. */
static size_t class_of(size_t n) {
    size_t used = n > sizeof(void *) ? n : sizeof(void *);
    return (used + sizeof(number) + NP_POOL_GRAIN - 1) / NP_POOL_GRAIN - 1;
}

static size_t block_size(size_t class) {
    return (class + 1) * NP_POOL_GRAIN;
}

static bool is_pooled(size_t class) {
    return NP_POOL_SLAB > 0 && class < NP_POOL_CLASSES;
}

static number *number_of(void *block, size_t size) {
    return (number *)(void *)((char *)block + size) - 1;
}

static char *first_block(np_slab *slab) {
    return (char *)(slab + 1);
}

/* ---- Slabs */

static void link_slab(np_pool *pool, size_t class, np_slab *slab) {
    slab->prev = NULL;
    slab->next = pool->open[class];
    if (slab->next != NULL)
        slab->next->prev = slab;
    pool->open[class] = slab;
}

static void unlink_slab(np_pool *pool, size_t class, np_slab *slab) {
    if (slab->next != NULL)
        slab->next->prev = slab->prev;
    if (slab->prev != NULL)
        slab->prev->next = slab->next;
    else
        pool->open[class] = slab->next;
}

static np_slab *add_slab(np_pool *pool, size_t class) {
    char *memory = np_alloc_get(pool->alloc, NP_POOL_SLAB);
    if (memory == NULL)
        return NULL;
    size_t misfit = ((uintptr_t)memory + sizeof(np_slab)) % LINE;
    size_t at = sizeof(np_slab) + (misfit == 0 ? 0 : LINE - misfit);
    np_slab *slab = (np_slab *)(void *)(memory + at) - 1;
    *slab =
        (np_slab){.memory = memory, .count = (uint16_t)((NP_POOL_SLAB - at) / block_size(class))};
    link_slab(pool, class, slab);
    return slab;
}

static void drop_slab(np_pool *pool, size_t class, np_slab *slab) {
    unlink_slab(pool, class, slab);
    np_alloc_put(pool->alloc, slab->memory, NP_POOL_SLAB);
}

/* ---- Blocks */

static void *take(np_slab *slab, size_t size) {
    void *block = slab->free;
    if (block != NULL) {
        slab->free = *(void **)block;
    } else {
        block = first_block(slab) + slab->cut * size;
        *number_of(block, size) = slab->cut++;
    }
    slab->used++;
    return block;
}

void *np_pool_get(np_pool *pool, size_t n) {
    size_t class = class_of(n);
    if (!is_pooled(class)) {
        void *p = np_alloc_get(pool->alloc, n);
        return p == NULL ? NULL : memset(p, 0, n);
    }
    np_slab *slab = pool->open[class];
    if (slab == NULL && (slab = add_slab(pool, class)) == NULL)
        return NULL;
    void *block = take(slab, block_size(class));
    if (slab->used == slab->count)
        unlink_slab(pool, class, slab);
    return memset(block, 0, n);
}

void np_pool_put(np_pool *pool, void *p, size_t n) {
    size_t class = class_of(n), size = block_size(class);
    if (!is_pooled(class)) {
        np_alloc_put(pool->alloc, p, n);
        return;
    }
    np_slab *slab = (np_slab *)(void *)((char *)p - *number_of(p, size) * size) - 1;
    if (slab->used == slab->count)
        link_slab(pool, class, slab);
    *(void **)p = slab->free;
    slab->free = p;
    slab->used--;
    bool alone = slab->next == NULL && slab->prev == NULL;
    if (slab->used == 0 && (pool->trimmed || !alone))
        drop_slab(pool, class, slab);
}

/* ---- Pages */

void *np_pool_get_page(np_pool *pool) {
    void *page = pool->pages;
    if (page == NULL)
        return np_alloc_get(pool->alloc, NP_POOL_PAGE);
    pool->pages = *(void **)page;
    pool->pages_len--;
    return page;
}

void np_pool_put_page(np_pool *pool, void *page) {
    if (NP_POOL_SLAB == 0 || pool->trimmed || pool->pages_len == NP_POOL_PAGES) {
        np_alloc_put(pool->alloc, page, NP_POOL_PAGE);
        return;
    }
    *(void **)page = pool->pages;
    pool->pages = page;
    pool->pages_len++;
}

/* ---- The end */

void np_pool_trim(np_pool *pool) {
    pool->trimmed = true;
    while (pool->pages_len > 0)
        np_alloc_put(pool->alloc, np_pool_get_page(pool), NP_POOL_PAGE);
    for (size_t class = 0; class < NP_POOL_CLASSES; class ++) {
        for (np_slab *slab = pool->open[class], *next; slab != NULL; slab = next) {
            next = slab->next;
            if (slab->used == 0)
                drop_slab(pool, class, slab);
        }
    }
}

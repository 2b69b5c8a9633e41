#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

static void *libc_alloc(void *ctx, size_t n) {
    (void)ctx;
    return malloc(n);
}

static void *libc_realloc(void *ctx, void *p, size_t old, size_t n) {
    (void)ctx;
    (void)old;
    return realloc(p, n);
}

static void libc_free(void *ctx, void *p, size_t n) {
    (void)ctx;
    (void)n;
    free(p);
}

np_alloc *np_alloc_new(const neap_allocator *fns) {
    const neap_allocator libc = {sizeof libc, NULL, libc_alloc, libc_realloc, libc_free};
    if (fns == NULL)
        fns = &libc;
    np_alloc *a = fns->alloc(fns->ctx, sizeof *a);
    if (a == NULL)
        return NULL;
    a->fns = *fns;
    atomic_init(&a->refs, 1);
    atomic_init(&a->bytes, sizeof *a);
    atomic_init(&a->blocks, 1);
    atomic_init(&a->total, 1);
    return a;
}

np_alloc *np_alloc_ref(np_alloc *a) {
    atomic_fetch_add_explicit(&a->refs, 1, memory_order_relaxed);
    return a;
}

void np_alloc_unref(np_alloc *a) {
    if (atomic_fetch_sub_explicit(&a->refs, 1, memory_order_acq_rel) == 1)
        a->fns.free(a->fns.ctx, a, sizeof *a);
}

static void count(np_alloc *a, int64_t bytes, int64_t blocks) {
    atomic_fetch_add_explicit(&a->bytes, (uint64_t)bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&a->blocks, (uint64_t)blocks, memory_order_relaxed);
    if (blocks > 0)
        atomic_fetch_add_explicit(&a->total, 1, memory_order_relaxed);
}

void *np_alloc_get(np_alloc *a, size_t n) {
    void *p = a->fns.alloc(a->fns.ctx, n);
    if (p != NULL)
        count(a, (int64_t)n, 1);
    return p;
}

void *np_alloc_resize(np_alloc *a, void *p, size_t old, size_t n) {
    if (p == NULL)
        return np_alloc_get(a, n);
    void *q = a->fns.realloc(a->fns.ctx, p, old, n);
    if (q != NULL) {
        count(a, (int64_t)n - (int64_t)old, 0);
        atomic_fetch_add_explicit(&a->total, 1, memory_order_relaxed);
    }
    return q;
}

void np_alloc_put(np_alloc *a, void *p, size_t n) {
    if (p == NULL)
        return;
    count(a, -(int64_t)n, -1);
    a->fns.free(a->fns.ctx, p, n);
}

char *np_alloc_text(np_alloc *a, const char *text) {
    size_t n = strlen(text) + 1;
    char *copy = np_alloc_get(a, n);
    if (copy != NULL)
        memcpy(copy, text, n);
    return copy;
}

void np_alloc_put_text(np_alloc *a, char *text) {
    if (text != NULL)
        np_alloc_put(a, text, strlen(text) + 1);
}

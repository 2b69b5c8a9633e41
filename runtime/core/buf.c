#include "core/buf.h"

#include <string.h>

struct neap_buf {
    np_alloc *alloc;
    atomic_uint refs;
    size_t cap;
    size_t len;
    char bytes[];
};

neap_buf *np_buf_new(np_alloc *alloc, size_t cap) {
    neap_buf *buf = cap > SIZE_MAX / 2 ? NULL : np_alloc_get(alloc, sizeof *buf + cap);
    if (buf == NULL)
        return NULL;
    buf->alloc = np_alloc_ref(alloc);
    atomic_init(&buf->refs, 1);
    buf->cap = cap;
    buf->len = 0;
    return buf;
}

neap_buf *np_buf_resize(neap_buf *buf, size_t cap) {
    if (cap > SIZE_MAX / 2)
        return NULL;
    neap_buf *moved = np_alloc_resize(buf->alloc, buf, sizeof *buf + buf->cap, sizeof *buf + cap);
    if (moved != NULL)
        moved->cap = cap;
    return moved;
}

char *np_buf_bytes(neap_buf *buf) {
    return buf->bytes;
}

size_t np_buf_cap(const neap_buf *buf) {
    return buf->cap;
}

bool np_buf_is_shared(const neap_buf *buf) {
    return atomic_load_explicit(&buf->refs, memory_order_acquire) > 1;
}

void np_buf_set_len(neap_buf *buf, size_t len) {
    buf->len = len;
}

int32_t neap_buf_new(neap_loop *loop, const void *data, size_t len, neap_buf **ret_buf) {
    if (loop == NULL || ret_buf == NULL)
        return NEAP_EINVAL;
    neap_buf *buf = np_buf_new(loop->alloc, len);
    if (buf == NULL)
        return NEAP_ENOMEM;
    if (data != NULL && len > 0)
        memcpy(buf->bytes, data, len);
    buf->len = len;
    *ret_buf = buf;
    return 0;
}

void *neap_buf_data(const neap_buf *buf) {
    return (void *)(uintptr_t)buf->bytes;
}

size_t neap_buf_len(const neap_buf *buf) {
    return buf->len;
}

neap_buf *neap_buf_ref(neap_buf *buf) {
    atomic_fetch_add_explicit(&buf->refs, 1, memory_order_relaxed);
    return buf;
}

void neap_buf_unref(neap_buf *buf) {
    if (buf == NULL || atomic_fetch_sub_explicit(&buf->refs, 1, memory_order_acq_rel) != 1)
        return;
    np_alloc *alloc = buf->alloc;
    np_alloc_put(alloc, buf, sizeof *buf + buf->cap);
    np_alloc_unref(alloc);
}

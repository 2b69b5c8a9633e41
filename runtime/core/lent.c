#include "core/lent.h"

#include <string.h>

#include "core/inbuf.h"

neap_buf *np_lent(neap_loop *loop) {
    np_lent_end(loop);
    np_inbuf_evict(loop);
    if (loop->lent != NULL && np_buf_is_shared(loop->lent))
        neap_buf_unref(np_lent_take(loop));
    if (loop->lent == NULL)
        loop->lent = np_buf_new(loop->alloc, NP_LENT_BYTES);
    return loop->lent;
}

neap_buf *np_lent_take(neap_loop *loop) {
    neap_buf *buf = loop->lent;
    loop->lent = NULL;
    return buf;
}

/* Without memory for a copy the lent memory itself is kept. */
static void keep(neap_future *f) {
    neap_loop *loop = f->obj.loop;
    size_t len = f->value.bytes.len;
    neap_buf *buf = np_buf_new(loop->alloc, len);
    if (buf == NULL) {
        f->kind = NP_KIND_SLICE; /* begins with the same bytes */
        f->value.slice.buf = neap_buf_ref(loop->lent_from);
        return;
    }
    memcpy(np_buf_bytes(buf), f->value.bytes.data, len);
    np_buf_set_len(buf, len);
    f->kind = NP_KIND_BUF;
    f->value.buf = buf;
}

void np_lent_show(neap_future *f, neap_buf *buf, void *data, size_t len) {
    neap_loop *loop = f->obj.loop;
    np_lent_end(loop);
    f->kind = NP_KIND_LENT;
    f->value.bytes.data = data;
    f->value.bytes.len = len;
    loop->lent_from = buf;
    if (!np_list_empty(&f->waiters)) {
        keep(f);
        return;
    }
    np_future_ref(f);
    loop->lent_future = f;
}

void np_lent_end_slow(neap_loop *loop) {
    neap_future *f = loop->lent_future;
    loop->lent_future = NULL;
    if (f->obj.refs > (f == loop->step_awaited ? 2 : 1))
        keep(f);
    else
        f->kind = NEAP_KIND_NONE; /* the step that saw the bytes asked for more */
    np_future_unref(f);
}

#include "core/inbuf.h"

#include <string.h>

enum {
    ROOM_LEAST = 4096,   /* less is not worth a call, unless no more is wanted */
    ROOM_MOST = 1 << 20, /* nobody gets more memory for bytes that have not come */
    OWN_LEAST = 1024,
    SMALL = 4064 /* of a small buffer: with what stands before the bytes not more than a page */
};

static size_t tail_room(const np_inbuf *in) {
    return in->buf == NULL || in->sealed ? 0 : np_buf_cap(in->buf) - in->at - in->len;
}

static bool is_small(const np_inbuf *in) {
    return in->buf != NULL && np_buf_cap(in->buf) == SMALL;
}

bool np_inbuf_is_of_loop(const neap_loop *loop, const np_inbuf *in) {
    return np_inbuf_is_lent(loop, in) || is_small(in);
}

static void drop_small(neap_loop *loop, neap_buf *buf) {
    if (buf == loop->lent_from)
        np_lent_end(loop);
    neap_buf_unref(buf);
}

/* The newest stays: what was just taken from it may be looked at.  A closed loop keeps none. */
static void put_small(neap_loop *loop, neap_buf *buf) {
    if (atomic_load_explicit(&loop->life, memory_order_relaxed) != NP_OPEN) {
        drop_small(loop, buf);
        return;
    }
    if (loop->spares_len == NP_SPARES) {
        drop_small(loop, loop->spares[0]);
        memmove(loop->spares, loop->spares + 1, --loop->spares_len * sizeof *loop->spares);
    }
    loop->spares[loop->spares_len++] = buf;
}

static void let_go(neap_loop *loop, np_inbuf *in) {
    if (np_inbuf_is_lent(loop, in))
        loop->lent_in = NULL;
    else if (is_small(in))
        put_small(loop, in->buf);
    else
        neap_buf_unref(in->buf);
    in->buf = NULL;
    in->at = 0;
    in->sealed = false;
}

void np_inbuf_rest(neap_loop *loop, np_inbuf *in) {
    if (in->len == 0 && in->buf != NULL)
        let_go(loop, in);
}

void np_inbuf_clear(neap_loop *loop, np_inbuf *in) {
    in->len = 0;
    np_inbuf_rest(loop, in);
}

/* To a buffer of its own of that size, behind `len` other bytes. */
static bool move_out(neap_loop *loop, np_inbuf *in, size_t cap, const char *front, size_t len) {
    neap_buf *own = np_buf_new(loop->alloc, cap);
    if (own == NULL)
        return false;
    if (len > 0)
        memcpy(np_buf_bytes(own), front, len);
    memcpy(np_buf_bytes(own) + len, np_inbuf_data(in), in->len);
    if (in->buf != NULL)
        let_go(loop, in);
    in->buf = own;
    in->len += len;
    return true;
}

void np_inbuf_evict(neap_loop *loop) {
    np_inbuf *in = loop->lent_in;
    if (in == NULL)
        return;
    np_inbuf_rest(loop, in);
    if (loop->lent_in == NULL)
        return;
    size_t cap = in->len < OWN_LEAST / 2 ? OWN_LEAST : 2 * in->len;
    if (in->len <= NP_LENT_BYTES / 4 && move_out(loop, in, cap, NULL, 0))
        return;
    loop->lent_in = NULL;
    in->buf = np_lent_take(loop);
}

/* What stands in a small buffer comes along. */
static bool lend(neap_loop *loop, np_inbuf *in) {
    np_inbuf_rest(loop, in);
    neap_buf *lent = np_lent(loop);
    if (lent == NULL)
        return false;
    if (in->len > 0)
        memcpy(np_buf_bytes(lent), np_inbuf_data(in), in->len);
    if (in->buf != NULL)
        let_go(loop, in);
    loop->lent_in = in;
    in->buf = lent;
    in->at = 0;
    return true;
}

static bool make_room(neap_loop *loop, np_inbuf *in, size_t want) {
    size_t more = want < ROOM_MOST ? want : ROOM_MOST;
    if (more < in->len)
        more = in->len < want ? in->len : want;
    if (more < ROOM_LEAST)
        more = ROOM_LEAST;
    bool own = in->buf != NULL && !np_inbuf_is_lent(loop, in);
    bool movable = own && !in->sealed && !np_buf_is_shared(in->buf);
    if (movable && in->at >= in->len && np_buf_cap(in->buf) - in->len >= more) {
        memmove(np_buf_bytes(in->buf), np_inbuf_data(in), in->len);
        in->at = 0;
        return true;
    }
    return more < SIZE_MAX / 2 - in->len && move_out(loop, in, in->len + more, NULL, 0);
}

char *np_inbuf_aim(neap_loop *loop, np_inbuf *in, size_t want, size_t *ret_room) {
    bool ok = true;
    if (want <= NP_LENT_BYTES && (in->len == 0 || is_small(in)))
        ok = lend(loop, in);
    else if (tail_room(in) < want && tail_room(in) < ROOM_LEAST)
        ok = make_room(loop, in, want);
    if (!ok && tail_room(in) == 0)
        return NULL;
    *ret_room = tail_room(in);
    return np_buf_bytes(in->buf) + in->at + in->len;
}

/* One that somebody has kept is that one's. */
static neap_buf *take_spare(neap_loop *loop) {
    neap_buf *buf = loop->spares_len > 0 ? loop->spares[--loop->spares_len] : NULL;
    if (buf != NULL && np_buf_is_shared(buf)) {
        neap_buf_unref(buf);
        buf = NULL;
    }
    return buf != NULL ? buf : np_buf_new(loop->alloc, SMALL);
}

char *np_inbuf_aim_small(neap_loop *loop, np_inbuf *in, size_t *ret_room) {
    np_inbuf_rest(loop, in);
    in->buf = take_spare(loop);
    *ret_room = SMALL;
    return in->buf == NULL ? NULL : np_buf_bytes(in->buf);
}

void np_inbuf_drop_spares(neap_loop *loop) {
    while (loop->spares_len > 0)
        neap_buf_unref(loop->spares[--loop->spares_len]);
}

/* A larger buffer of its own may serve again. */
void np_inbuf_emptied(neap_loop *loop, np_inbuf *in) {
    if (np_inbuf_is_of_loop(loop, in))
        let_go(loop, in);
}

neap_buf *np_inbuf_share(neap_loop *loop, const np_inbuf *in, size_t n, bool outlives,
                         const char **ret_data) {
    const char *data = np_inbuf_data(in);
    bool few = outlives && np_inbuf_is_of_loop(loop, in) && n <= NP_LENT_BYTES / 4;
    neap_buf *own = few ? np_buf_new(loop->alloc, n) : NULL;
    *ret_data = own == NULL ? data : np_buf_bytes(own);
    if (own == NULL)
        return in->buf == NULL ? NULL : neap_buf_ref(in->buf);
    if (n > 0)
        memcpy(np_buf_bytes(own), data, n);
    return own;
}

static bool inside(const char *data, size_t len, neap_buf *buf) {
    const char *start = buf == NULL ? NULL : np_buf_bytes(buf);
    return start != NULL && data >= start && data + len <= start + np_buf_cap(buf);
}

/* Memory that was let go when it was empty; whether `data` stands there. */
static bool take_again(neap_loop *loop, np_inbuf *in, const char *data, size_t len) {
    neap_buf *spare = loop->spares_len > 0 ? loop->spares[loop->spares_len - 1] : NULL;
    if (loop->lent_in == NULL && inside(data, len, loop->lent)) {
        np_lent_end(loop);
        np_inbuf_rest(loop, in);
        loop->lent_in = in;
        in->buf = loop->lent;
    } else if (inside(data, len, spare)) {
        loop->spares_len--;
        np_inbuf_rest(loop, in);
        in->buf = spare;
    }
    return in->buf != NULL && inside(data, len, in->buf);
}

int32_t np_inbuf_unread(neap_loop *loop, np_inbuf *in, const char *data, size_t len) {
    if (in->buf != NULL && in->at >= len && data == np_inbuf_data(in) - len) {
        in->at -= len;
        in->len += len;
        return 0;
    }
    if (in->len == 0 && take_again(loop, in, data, len)) {
        in->at = (size_t)(data - np_buf_bytes(in->buf));
        in->len = len;
        in->sealed = true;
        return 0;
    }
    bool fits = len < SIZE_MAX / 4;
    return fits && move_out(loop, in, in->len + 2 * len + OWN_LEAST, data, len) ? 0 : NEAP_ENOMEM;
}

#include "net/want.h"

#include <string.h>

/* ---- Delimiters */

static const char *find(const char *data, size_t len, const neap_iov *delim) {
    return delim->len == 1 ? memchr(data, *(const char *)delim->data, len)
                           : memmem(data, len, delim->data, delim->len);
}

/* Where the first delimiter that is complete ends, or 0. */
static size_t find_first_end(const np_want *want, const np_inbuf *in) {
    const char *data = np_inbuf_data(in);
    size_t best = 0;
    for (size_t i = 0; i < want->delims_len; i++) {
        const neap_iov *delim = &want->delims[i];
        size_t from = want->scanned >= delim->len ? want->scanned - delim->len + 1 : 0;
        size_t to = best > 0 ? best - 1 : in->len;
        const char *at = to > from ? find(data + from, to - from, delim) : NULL;
        if (at != NULL)
            best = (size_t)(at - data) + delim->len;
    }
    return best;
}

static int64_t look_until(np_want *want, const np_inbuf *in) {
    size_t end = find_first_end(want, in);
    if (end > 0)
        return end <= want->n ? (int64_t)end : NEAP_ELIMIT;
    want->scanned = in->len;
    bool full = want->rest ? in->len > want->n : in->len >= want->n; /* the end may come now */
    return full ? NEAP_ELIMIT : NP_WANT_MORE;
}

/* ---- All kinds */

static int64_t look(np_want *want, const np_inbuf *in) {
    switch (want->kind) {
    case NP_WANT_SOME:
        return in->len == 0 ? NP_WANT_MORE : (int64_t)(in->len < want->n ? in->len : want->n);
    case NP_WANT_UNTIL:
        return look_until(want, in);
    case NP_WANT_ALL:
        return in->len > want->n ? NEAP_ELIMIT : NP_WANT_MORE;
    default:
        return in->len >= want->n ? (int64_t)want->n : NP_WANT_MORE;
    }
}

/* Nothing more comes. */
static int64_t look_at_end(const np_want *want, const np_inbuf *in, int32_t end) {
    if (end < 0)
        return end;
    bool all = want->kind == NP_WANT_ALL || want->kind == NP_WANT_FILL || want->rest;
    return all || in->len == 0 ? (int64_t)in->len : NEAP_EINCOMPLETE;
}

int64_t np_want_look(np_want *want, const np_inbuf *in, int32_t end) {
    int64_t n = look(want, in);
    return n == NP_WANT_MORE && end <= 0 ? look_at_end(want, in, end) : n;
}

size_t np_want_room(const np_want *want, const np_inbuf *in) {
    if (want->kind == NP_WANT_SOME)
        return want->n < NP_LENT_BYTES ? want->n : NP_LENT_BYTES;
    bool counted = want->kind == NP_WANT_EXACTLY || want->kind == NP_WANT_FILL;
    size_t missing = want->n > in->len ? want->n - in->len : 0;
    if (!counted && missing > in->len) /* who knows how many: as many again */
        missing = in->len;
    return missing > NP_LENT_BYTES ? missing : NP_LENT_BYTES;
}

/* ---- Keeping */

static size_t kept_size(const np_want *want) {
    size_t size = want->delims_len * sizeof *want->delims;
    for (size_t i = 0; i < want->delims_len; i++)
        size += want->delims[i].len;
    return size;
}

bool np_want_keep(np_want *want, np_alloc *alloc) {
    neap_iov *kept = want->delims_len == 0 ? NULL : np_alloc_get(alloc, kept_size(want));
    if (kept == NULL)
        return want->delims_len == 0;
    char *to = (char *)(kept + want->delims_len);
    for (size_t i = 0; i < want->delims_len; i++) {
        size_t len = want->delims[i].len;
        memcpy(to, want->delims[i].data, len);
        kept[i] = (neap_iov){to, len};
        to += len;
    }
    want->delims = kept;
    return true;
}

void np_want_drop(np_want *want, np_alloc *alloc) {
    if (want->delims_len > 0)
        np_alloc_put(alloc, (void *)(uintptr_t)want->delims, kept_size(want));
    want->delims_len = 0;
    want->delims = NULL;
}

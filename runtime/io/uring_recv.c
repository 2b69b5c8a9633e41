/* uring_recv.c: streams that the kernel receives for us.

   A stream's bytes pass three places, in this order: the buffers that its slot holds, completions that nobody has
   collected yet, the kernel.  Completions are posted only inside our own calls of the ring, so between these the first two
   stand still: whoever finds both empty may ask the kernel itself, and the order of the bytes stays.

   What the kernel interface gets wrong, and what is done about it:
   - A multishot receive goes on while nobody reads: with more than a few buffers waiting for a reader it is cancelled, and
     the rest stays in the kernel.
   - It ends when there is no buffer: more are made, or the stream is polled until some are back.
   - Each piece takes a whole buffer: small ones are joined to the one before. */
#include <errno.h>
#include <string.h>

#include "base/fd.h"
#include "io/uring.h"

/* ---- What came */

static bool join(np_uring *u, const np_uring_slot *slot, uint16_t buf, uint32_t len) {
    np_uring_buf *last = &u->bufs[slot->last];
    if (slot->first == NP_UR_NO_BUF || last->at + last->len + len > NP_UR_BUF_BYTES)
        return false;
    memcpy(np_uring_bytes(u, slot->last) + last->at + last->len, np_uring_bytes(u, buf), len);
    last->len += len;
    return true;
}

static void append(np_uring *u, np_uring_slot *slot, uint16_t buf, uint32_t len) {
    if (join(u, slot, buf, len)) {
        np_uring_give_back(u, buf);
        return;
    }
    u->bufs[buf] = (np_uring_buf){.len = len, .next = NP_UR_NO_BUF, .held = true};
    if (slot->first == NP_UR_NO_BUF)
        slot->first = buf;
    else
        u->bufs[slot->last].next = buf;
    slot->last = buf;
    slot->held++;
}

/* There was no buffer, which ended the receive: it goes on if there are some now (false).  Else its readers ask the kernel
   themselves. */
static bool starved(np_io *io, uint32_t fd) {
    np_uring *u = np_uring_of(io);
    if (u->bufs_free == 0 && !np_uring_bufs_grow(io))
        return true;
    if (u->slots[fd].held <= NP_UR_BUFS_FEW)
        np_uring_want(io, fd, u->slots[fd].want | 1u << NP_UR_RECV);
    return u->slots[fd].held > NP_UR_BUFS_FEW;
}

/* The descriptor may have a new owner, or none: then only the buffer counts. */
void np_uring_received(np_io *io, uint32_t fd, const struct io_uring_cqe *cqe, bool wanted) {
    np_uring *u = np_uring_of(io);
    np_uring_slot *slot = fd < u->slots_len ? &u->slots[fd] : NULL;
    if ((cqe->flags & IORING_CQE_F_BUFFER) != 0) {
        uint16_t buf = (uint16_t)(cqe->flags >> IORING_CQE_BUFFER_SHIFT);
        u->bufs_free--;
        if (slot != NULL && cqe->res > 0)
            append(u, slot, buf, (uint32_t)cqe->res);
        else
            np_uring_give_back(u, buf);
    }
    if (slot == NULL || cqe->res == -ECANCELED ||
        (cqe->res == -ENOBUFS && wanted && !starved(io, fd)))
        return;
    if (cqe->res <= 0 && cqe->res != -ENOBUFS && cqe->res != -EINTR && slot->end == NP_UR_OPEN)
        slot->end = cqe->res;
    slot->events |= NP_EV_READ;
}

uint32_t np_uring_drop(np_uring *u, np_uring_slot *slot) {
    uint32_t bytes = 0;
    while (slot->first != NP_UR_NO_BUF) {
        uint16_t buf = slot->first;
        slot->first = u->bufs[buf].next;
        bytes += u->bufs[buf].len;
        np_uring_give_back(u, buf);
    }
    slot->held = 0;
    slot->end = NP_UR_OPEN;
    return bytes;
}

/* ---- Taking */

static size_t take_some(np_uring *u, np_uring_slot *slot, char *to, size_t room) {
    uint16_t at = slot->first;
    np_uring_buf *buf = &u->bufs[at];
    size_t n = room < buf->len ? room : buf->len;
    memcpy(to, np_uring_bytes(u, at) + buf->at, n);
    buf->at += (uint32_t)n;
    buf->len -= (uint32_t)n;
    if (buf->len == 0) {
        slot->first = buf->next;
        slot->held--;
        np_uring_give_back(u, at);
    }
    return n;
}

static int64_t take_bytes(np_uring *u, np_uring_slot *slot, np_op *op) {
    size_t n = 0;
    while (slot->first != NP_UR_NO_BUF && n < op->len)
        n += take_some(u, slot, (char *)op->buf + n, op->len - n);
    return (int64_t)n;
}

/* An error is told once, as the kernel does; the end is told by the kernel itself from now on. */
static int64_t take_end(np_uring_slot *slot) {
    int32_t end = slot->end;
    slot->end = NP_UR_OPEN;
    return end;
}

/* Nothing is here: the kernel may have more than it has told.  What it has not told, it will. */
static int64_t ask(const np_uring_slot *slot, np_op *op) {
    int64_t result = np_op_attempt(op);
    np_desc *desc = op->desc;
    bool watched = (desc->bits & NP_D_WATCHED_READ) != 0;
    bool armed = (slot->want & slot->armed & 1u << NP_UR_RECV) != 0;
    if (armed || (watched && result == NP_WAIT))
        desc->bits = (uint16_t)(desc->bits & ~NP_D_READ);
    return result;
}

int64_t np_uring_take(np_io *io, np_op *op) {
    np_uring *u = np_uring_of(io);
    np_uring_slot *slot = &u->slots[op->desc->fd];
    if (!np_uring_has(slot) && io_uring_cq_ready(&u->ring) > 0)
        (void)np_uring_collect(io); /* what came for others waits for the next turn */
    if (!np_uring_has(slot))
        return ask(slot, op);
    if (op->kind == NP_OP_POLL)
        return NEAP_READ;
    if (op->kind != NP_OP_RECV)
        return ask(slot, op);
    if (op->addr != NULL) {
        const struct sockaddr_storage none = {0};
        np_addr_from_raw(op->addr, &none, 0);
    }
    int64_t result = slot->first != NP_UR_NO_BUF ? take_bytes(u, slot, op) : take_end(slot);
    np_uring_mark(io, (uint32_t)op->desc->fd);
    return result;
}

/* uring_buf.c: the buffers that the kernel may receive into.

   They are numbered.  Each is either in the pool, a ring in memory that kernel and we share, or held: it has bytes that
   nobody has taken.  Their memory is allocated in steps, the first when the first stream waits, further ones when the
   kernel ran out of buffers.  Their place never changes, because the kernel knows it. */
#include <errno.h>
#include <sys/mman.h>

#include "io/uring.h"

enum {
    POOL_BYTES = NP_UR_BUFS_MAX * sizeof(struct io_uring_buf),
    STEP_BYTES = NP_UR_BUFS_STEP * NP_UR_BUF_BYTES
};

static_assert((NP_UR_BUFS_MAX & (NP_UR_BUFS_MAX - 1)) == 0, "the pool is a ring");
static_assert(NP_UR_BUFS_MAX % NP_UR_BUFS_STEP == 0, "steps fill the ring");

char *np_uring_bytes(np_uring *u, uint16_t buf) {
    return u->steps[buf / NP_UR_BUFS_STEP] + buf % NP_UR_BUFS_STEP * NP_UR_BUF_BYTES;
}

void np_uring_give_back(np_uring *u, uint16_t buf) {
    u->bufs[buf].held = false;
    u->bufs_free++;
    io_uring_buf_ring_add(u->pool, np_uring_bytes(u, buf), NP_UR_BUF_BYTES, buf,
                          io_uring_buf_ring_mask(NP_UR_BUFS_MAX), 0);
    io_uring_buf_ring_advance(u->pool, 1);
}

int np_uring_bufs_open(np_uring *u) {
    void *pool = mmap(NULL, POOL_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pool == MAP_FAILED)
        return NEAP_ENOMEM;
    struct io_uring_buf_reg reg = {.ring_addr = (uintptr_t)pool, .ring_entries = NP_UR_BUFS_MAX};
    int rc = io_uring_register_buf_ring(&u->ring, &reg, 0);
    if (rc < 0) {
        munmap(pool, POOL_BYTES);
        return rc;
    }
    io_uring_buf_ring_init(pool);
    u->pool = pool;
    return 0;
}

/* A new pool gets all that are not held. */
void np_uring_bufs_refill(np_uring *u) {
    u->bufs_free = 0;
    for (uint16_t buf = 0; buf < u->bufs_len; buf++)
        if (!u->bufs[buf].held)
            np_uring_give_back(u, buf);
}

bool np_uring_bufs_grow(np_io *io) {
    np_uring *u = np_uring_of(io);
    char *step = u->bufs_len == NP_UR_BUFS_MAX ? NULL : np_alloc_get(io->alloc, STEP_BYTES);
    if (step == NULL)
        return false;
    u->steps[u->bufs_len / NP_UR_BUFS_STEP] = step;
    for (int i = 0; i < NP_UR_BUFS_STEP; i++)
        np_uring_give_back(u, u->bufs_len++);
    return true;
}

void np_uring_bufs_unmap(np_uring *u) {
    munmap(u->pool, POOL_BYTES);
    u->pool = NULL;
}

void np_uring_bufs_close(np_io *io) {
    np_uring *u = np_uring_of(io);
    for (uint16_t buf = 0; buf < u->bufs_len; buf += NP_UR_BUFS_STEP)
        np_alloc_put(io->alloc, u->steps[buf / NP_UR_BUFS_STEP], STEP_BYTES);
    np_uring_bufs_unmap(u);
}

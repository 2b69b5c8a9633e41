/* uring.c: the backend over io_uring: opening, waiting, hosts, the end.

   What the kernel interface gets wrong, and what is done about it:
   - It may be compiled in and forbidden (a sysctl, seccomp), or too old: every refusal of the set-up is "not supported", so
     that another backend is chosen.
   - Completions could be posted at the return of any system call, interrupting a host's own waits by the way: the ring is
     told to post them in our calls alone (DEFER_TASKRUN, Linux 6.1), which nothing older can.
   - Such a ring belongs to one thread for good.  When the loop was given to another one, that thread makes a new ring. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "io/uring.h"

enum {
    SQ_ENTRIES = 256,
    CQ_ENTRIES_MIN = 1024
};

/* ---- The ring */

static int code_of(int rc) {
    switch (rc) {
    case -ENOMEM:
    case -EMFILE:
    case -ENFILE:
        return rc;
    default:
        return NEAP_ENOTSUP;
    }
}

/* With its pool of buffers, and telling the host if there is one. */
static int make_ring(np_uring *u) {
    struct io_uring_params params = {.flags = IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE |
                                              IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER |
                                              IORING_SETUP_DEFER_TASKRUN |
                                              IORING_SETUP_TASKRUN_FLAG,
                                     .cq_entries = u->cq_entries};
    int rc = io_uring_queue_init_params(SQ_ENTRIES, &u->ring, &params);
    if (rc < 0)
        return code_of(rc);
    rc = u->fetch_fd < 0 ? 0 : io_uring_register_eventfd(&u->ring, u->fetch_fd);
    if (rc == 0)
        rc = np_uring_bufs_open(u);
    if (rc < 0)
        io_uring_queue_exit(&u->ring);
    return rc < 0 ? code_of(rc) : 0;
}

static int uring_open(np_io *io, uint32_t events_max) {
    np_uring *u = np_alloc_get(io->alloc, sizeof *u);
    if (u == NULL)
        return NEAP_ENOMEM;
    *u = (np_uring){.host_fd = -1, .timer_fd = -1, .fetch_fd = -1, .timer = NP_NEVER};
    u->cq_entries = events_max > CQ_ENTRIES_MIN ? events_max : CQ_ENTRIES_MIN;
    np_uring_init_slots(u);
    np_list_init(&u->files);
    int rc = make_ring(u);
    if (rc < 0) {
        np_alloc_put(io->alloc, u, sizeof *u);
        return rc;
    }
    io->impl = u;
    return 0;
}

static void uring_close(np_io *io) {
    np_uring *u = np_uring_of(io);
    io_uring_queue_exit(&u->ring);
    np_uring_host_close(u);
    if (u->lost && !io->abandoned)
        return; /* a buffer may still be written: leaked on purpose */
    np_uring_bufs_close(io);
    np_alloc_put(io->alloc, u->slots, u->slots_len * sizeof *u->slots);
    np_alloc_put(io->alloc, u, sizeof *u);
    io->impl = NULL;
}

/* What the old ring has posted counts; what it has not posted is still in the kernel and will be asked for again. */
int np_uring_move(np_io *io) {
    np_uring *u = np_uring_of(io);
    np_uring next = {.cq_entries = u->cq_entries, .fetch_fd = u->fetch_fd};
    int rc = make_ring(&next);
    if (rc < 0)
        return rc;
    (void)np_uring_collect(io);
    np_uring_files_lost(io);
    io_uring_queue_exit(&u->ring);
    np_uring_bufs_unmap(u);
    u->ring = next.ring;
    u->pool = next.pool;
    np_uring_bufs_refill(u);
    u->wake_armed = false;
    for (uint32_t fd = 0; fd < u->slots_len; fd++) {
        u->slots[fd].armed = 0;
        u->slots[fd].leaving = 0;
        np_uring_mark(io, fd);
        np_uring_list(u, NP_UR_CHANGED, fd);
    }
    return 0;
}

/* ---- Operations */

static bool may_feed(np_io *io) {
    np_uring *u = np_uring_of(io);
    return u->bufs_free > 0 || (u->bufs_len == 0 && np_uring_bufs_grow(io));
}

static int watch(np_io *io, np_op *op) {
    np_desc *desc = op->desc;
    uint32_t fd = (uint32_t)desc->fd;
    int rc = np_uring_reserve(io, desc->fd);
    if (rc < 0)
        return rc;
    np_uring *u = np_uring_of(io);
    np_uring_slot *slot = &u->slots[fd];
    if (op->dir == NP_DIR_READ && np_uring_has(slot)) {
        slot->events |= NP_EV_READ;
        np_uring_list(u, NP_UR_FIRED, fd);
        return 0;
    }
    unsigned kind = NP_UR_READ;
    if (op->dir == NP_DIR_WRITE)
        kind = NP_UR_WRITE;
    else if (op->kind == NP_OP_RECV && np_uring_streams(desc) && may_feed(io))
        kind = NP_UR_RECV;
    np_uring_want(io, fd, slot->want | 1u << kind);
    return 0;
}

/* A host may go to sleep any time: it must not wait for what was only noted. */
static void tell_kernel(np_io *io) {
    np_uring *u = np_uring_of(io);
    if (u->host_fd < 0)
        return;
    np_uring_flush(io);
    (void)np_uring_enter(io, 0);
    if (np_uring_due(u))
        np_uring_host_wake(u);
}

/* Somebody waits: the kernel is at it.  Nobody does: it does not go on for long. */
static void attend(np_io *io, uint32_t fd) {
    np_desc *desc = io->slots[fd].desc;
    if (desc == NULL || fd >= np_uring_of(io)->slots_len)
        return;
    for (int dir = 0; dir < 2; dir++) {
        np_list *queue = &desc->queue[dir];
        np_op *head = np_list_empty(queue) ? NULL : np_container(queue->next, np_op, link);
        if (head == NULL || head->state == NP_OP_ARMED || (desc->bits & np_watched_bit(dir)) != 0)
            continue;
        (void)watch(io, head); /* its slot is there, so it cannot fail */
        desc->bits = (uint16_t)(desc->bits & ~np_dir_bit(dir));
    }
    const np_uring_slot *slot = &np_uring_of(io)->slots[fd];
    if (slot->held > NP_UR_BUFS_FEW && np_list_empty(&desc->queue[NP_DIR_READ]))
        np_uring_want(io, fd, slot->want & ~(1u << NP_UR_RECV));
}

/* A short read took the last bytes: from the next turn on the kernel receives, or a busy peer would keep us calling recv.
   What that needs is there or made by the first receive that has to wait. */
static int64_t uring_begin(np_io *io, np_op *op) {
    const np_uring *u = np_uring_of(io);
    const np_desc *desc = op->desc;
    int64_t result = np_ready_begin(io, op);
    bool drained = op->kind == NP_OP_RECV && result > 0 && (size_t)result < op->len;
    bool unwatched = (desc->bits & (NP_D_ATTACHED | NP_D_WATCHED_READ)) == NP_D_ATTACHED;
    if (!drained || !unwatched || !np_uring_streams(desc) || (uint32_t)desc->fd >= u->slots_len)
        return result;
    const np_uring_slot *slot = &u->slots[desc->fd];
    if (u->bufs_free > 0 && !np_uring_has(slot))
        np_uring_want(io, (uint32_t)desc->fd, slot->want | 1u << NP_UR_RECV);
    return result;
}

static int uring_park(np_io *io, np_op *op) {
    int rc = np_ready_park(io, op, watch);
    if (rc == 0)
        tell_kernel(io);
    return rc;
}

static bool uring_cancel(np_io *io, np_op *op) {
    uint32_t fd = (uint32_t)op->desc->fd;
    bool free = np_ready_cancel(io, op);
    attend(io, fd);
    tell_kernel(io);
    return free;
}

static int64_t uring_perform(np_io *io, np_op *op) {
    uint32_t fd = (uint32_t)op->desc->fd;
    int64_t result = np_ready_perform(io, op);
    attend(io, fd);
    return result;
}

/* Bytes that were received and not read make a close a reset, as if they were still in the kernel. */
static void forget(np_io *io, uint32_t fd, int32_t code) {
    np_uring *u = np_uring_of(io);
    const struct linger reset = {.l_onoff = 1};
    if (!io->abandoned)
        np_uring_settle(io, fd);
    u->slots[fd].want = 0;
    u->slots[fd].armed = 0;
    u->slots[fd].events = 0;
    if (np_uring_drop(u, &u->slots[fd]) > 0 && code == NEAP_ECLOSED && !io->abandoned)
        (void)setsockopt((int)fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
}

static void del(np_io *io, np_desc *desc) {
    (void)io;
    (void)desc; /* forgotten already */
}

static void uring_detach(np_io *io, np_desc *desc, int32_t code) {
    if ((desc->bits & NP_D_ATTACHED) != 0 && (uint32_t)desc->fd < np_uring_of(io)->slots_len)
        forget(io, (uint32_t)desc->fd, code);
    np_ready_detach(io, desc, code, del);
}

static void uring_drain(np_io *io) {
    np_uring *u = np_uring_of(io);
    np_ready_drain(io);
    for (uint32_t fd = 0; !io->abandoned && fd < u->slots_len; fd++)
        np_uring_want(io, fd, 0); /* all are cancelled by the first that is settled */
    for (uint32_t fd = 0; !io->abandoned && fd < u->slots_len; fd++)
        np_uring_settle(io, fd);
    np_uring_files_drain(io);
}

static int uring_file(np_io *io, np_fileop *fo) {
    int rc = np_uring_file(io, fo);
    if (rc == 0)
        tell_kernel(io);
    return rc;
}

static void uring_file_stop(np_io *io, np_fileop *fo) {
    np_uring_file_stop(io, fo);
    tell_kernel(io);
}

/* ---- Waiting */

static void tell(np_io *io) {
    np_uring *u = np_uring_of(io);
    uint32_t fd;
    while ((fd = np_uring_pop(u, NP_UR_FIRED)) != NP_UR_OUT) {
        unsigned events = u->slots[fd].events;
        u->slots[fd].events = 0;
        if (events != 0)
            np_ready_event(io, fd, io->slots[fd].generation, events);
        attend(io, fd);
    }
}

static int wait_hosted(np_io *io, int64_t timeout_ns) {
    np_uring *u = np_uring_of(io);
    int rc = np_uring_enter(io, 0);
    if (rc == 0 && timeout_ns != 0 && !np_uring_due(u)) {
        rc = np_uring_host_sleep(u, timeout_ns);
        (void)np_uring_enter(io, 0);
    }
    return rc;
}

static int uring_wait(np_io *io, int64_t timeout_ns) {
    np_uring *u = np_uring_of(io);
    np_uring_flush(io);
    if (timeout_ns != 0 && np_uring_due(u))
        timeout_ns = 0;
    int rc = u->host_fd < 0 ? np_uring_enter(io, timeout_ns) : wait_hosted(io, timeout_ns);
    int n = np_uring_collect(io);
    tell(io);
    if (u->host_fd >= 0)
        n += np_uring_host_clear(u);
    return n > 0 ? n : rc;
}

/* ---- Hosts */

static int uring_fd(np_io *io) {
    np_uring *u = np_uring_of(io);
    if (u->host_fd < 0) {
        int rc = np_uring_host_open(io);
        if (rc < 0)
            return rc;
        np_uring_unwatch_wake(io);
    }
    return u->host_fd;
}

static int uring_arm(np_io *io, int64_t when_ns) {
    tell_kernel(io);
    return np_uring_host_arm(np_uring_of(io), when_ns);
}

const np_backend np_backend_uring = {
    .name = "io_uring",
    .open = uring_open,
    .close = uring_close,
    .begin = uring_begin,
    .park = uring_park,
    .cancel = uring_cancel,
    .take = np_uring_take,
    .perform = uring_perform,
    .detach = uring_detach,
    .wait = uring_wait,
    .file = uring_file,
    .file_stop = uring_file_stop,
    .drain = uring_drain,
    .fd = uring_fd,
    .arm = uring_arm,
};

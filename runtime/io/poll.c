/* poll.c: the poller over poll(2), for systems and sandboxes without epoll, and as the plain second opinion in tests.

   What the kernel interface gets wrong, and what is done about it:
   - It is told the whole set at each call: the set is built from the descriptors that have parked operations.
   - It is level-triggered; only directions with parked operations are asked for, so nothing spins.
   - POLLNVAL is the only notice that a descriptor was closed behind our back: its operations end with EBADF.
   - There is no descriptor that stands for the set, so hosts cannot wait for it. */
#include <errno.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "io/ready.h"

typedef struct poll_state {
    struct pollfd *set; /* set[0] is the wake descriptor */
    uint32_t cap;
} poll_state;

static int poll_open(np_io *io, uint32_t events_max) {
    (void)events_max;
    poll_state *st = np_alloc_get(io->alloc, sizeof *st);
    if (st == NULL)
        return NEAP_ENOMEM;
    *st = (poll_state){0};
    io->impl = st;
    return 0;
}

static void poll_close(np_io *io) {
    poll_state *st = io->impl;
    np_alloc_put(io->alloc, st->set, st->cap * sizeof *st->set);
    np_alloc_put(io->alloc, st, sizeof *st);
    io->impl = NULL;
}

/* Room for one more descriptor is made when it registers, so that waiting needs no memory. */
static int reserve(np_io *io) {
    poll_state *st = io->impl;
    uint32_t need = io->slots_len + 1;
    if (need <= st->cap)
        return 0;
    struct pollfd *set =
        np_alloc_resize(io->alloc, st->set, st->cap * sizeof *set, need * sizeof *set);
    if (set == NULL)
        return NEAP_ENOMEM;
    st->set = set;
    st->cap = need;
    return 0;
}

static int add(np_io *io, np_op *op) {
    np_desc *desc = op->desc;
    int rc = np_unlikely(desc->fd < 0) ? NEAP_EBADF : reserve(io);
    if (rc < 0)
        return rc;
    desc->bits |= NP_D_WATCHED_READ | NP_D_WATCHED_WRITE;
    io->registrations++;
    return 0;
}

static void del(np_io *io, np_desc *desc) {
    (void)desc;
    io->registrations++;
}

static int poll_park(np_io *io, np_op *op) {
    return np_ready_park(io, op, add);
}

static void poll_detach(np_io *io, np_desc *desc, int32_t code) {
    np_ready_detach(io, desc, code, del);
}

/* An armed head keeps its readiness: asking again would only repeat it. */
static bool wants(np_desc *desc, int dir) {
    if (np_list_empty(&desc->queue[dir]))
        return false;
    return np_container(desc->queue[dir].next, np_op, link)->state != NP_OP_ARMED;
}

static short interest(np_desc *desc) {
    int events = 0;
    if (wants(desc, NP_DIR_READ))
        events |= POLLIN | POLLPRI | POLLRDHUP;
    if (wants(desc, NP_DIR_WRITE))
        events |= POLLOUT;
    return (short)events;
}

static nfds_t build(np_io *io, struct pollfd *set) {
    nfds_t n = 0;
    set[n++] = (struct pollfd){io->wake_fd, POLLIN, 0};
    for (uint32_t fd = 0; fd < io->slots_len; fd++) {
        np_desc *desc = io->slots[fd].desc;
        short events = desc == NULL ? 0 : interest(desc);
        if (events != 0)
            set[n++] = (struct pollfd){(int)fd, events, 0};
    }
    return n;
}

static unsigned translate(short revents) {
    unsigned out = 0;
    if ((revents & (POLLIN | POLLPRI | POLLRDHUP | POLLHUP | POLLERR)) != 0)
        out |= NP_EV_READ;
    if ((revents & (POLLOUT | POLLHUP | POLLERR)) != 0)
        out |= NP_EV_WRITE;
    if ((revents & (POLLRDHUP | POLLHUP | POLLERR | POLLPRI)) != 0)
        out |= NP_EV_STICKY;
    if ((revents & (POLLRDHUP | POLLHUP)) != 0)
        out |= NP_EV_HUP;
    return out;
}

static void deliver(np_io *io, const struct pollfd *p) {
    if ((p->revents & POLLNVAL) != 0) {
        np_desc *desc = io->slots[p->fd].desc;
        if (desc != NULL)
            poll_detach(io, desc, NEAP_EBADF);
    } else if (p->revents != 0) {
        np_ready_event(io, (uint32_t)p->fd, io->slots[p->fd].generation, translate(p->revents));
    }
}

static int poll_wait(np_io *io, int64_t timeout_ns) {
    poll_state *st = io->impl;
    struct pollfd only_wake[1];
    struct pollfd *set = st->set != NULL ? st->set : only_wake;
    nfds_t len = st->set != NULL ? build(io, set) : 1;
    if (st->set == NULL)
        only_wake[0] = (struct pollfd){io->wake_fd, POLLIN, 0};
    struct timespec ts = {timeout_ns / NP_NS_PER_S, timeout_ns % NP_NS_PER_S};
    int n = ppoll(set, len, timeout_ns < 0 ? NULL : &ts, NULL);
    if (n < 0)
        return -errno;
    if (n > 0 && set[0].revents != 0) {
        uint64_t count;
        (void)!read(io->wake_fd, &count, sizeof count);
    }
    for (nfds_t i = 1; n > 0 && i < len; i++)
        deliver(io, &set[i]);
    return n;
}

static int poll_fd(np_io *io) {
    (void)io;
    return NEAP_ENOTSUP;
}

static int poll_arm(np_io *io, int64_t when_ns) {
    (void)io;
    (void)when_ns;
    return 0;
}

const np_backend np_backend_poll = {
    .name = "poll",
    .open = poll_open,
    .close = poll_close,
    .begin = np_ready_begin,
    .park = poll_park,
    .cancel = np_ready_cancel,
    .perform = np_ready_perform,
    .detach = poll_detach,
    .wait = poll_wait,
    .drain = np_ready_drain,
    .fd = poll_fd,
    .arm = poll_arm,
};

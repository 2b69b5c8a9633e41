/* epoll.c: the poller over epoll.

   What the kernel interface gets wrong, and what is done about it:
   - A registration belongs to the open file, not to the number: it outlives close while a duplicate lives.  Files that
     others may hold are taken out before close, and every event carries a generation that must match.
   - Level-triggered interest costs a system call at each change: each descriptor is registered once, edge-triggered, in
     both directions.
   - Regular files are refused (EPERM); that is passed on.
   - epoll_wait counts in milliseconds: epoll_pwait2 is used where it exists, else the timeout is rounded up. */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>

#include "base/clock.h"
#include "base/fd.h"
#include "io/ready.h"

#define EVENTS_MAX_DEFAULT 256
#define WAKE_WORD UINT64_MAX
#define TIMER_WORD (UINT64_MAX - 1)

typedef struct epoll_state {
    int fd;
    int timer_fd;  /* -1 until a host asked for the pollable descriptor */
    int64_t armed; /* what timer_fd is set to; NP_NEVER: off */
    uint32_t events_max;
    bool no_pwait2;
    struct epoll_event events[];
} epoll_state;

static size_t state_size(uint32_t events_max) {
    return sizeof(epoll_state) + events_max * sizeof(struct epoll_event);
}

static int add_word(epoll_state *st, int fd, uint32_t events, uint64_t word) {
    struct epoll_event ev = {.events = events, .data.u64 = word};
    return epoll_ctl(st->fd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

static int epoll_open(np_io *io, uint32_t events_max) {
    if (events_max == 0)
        events_max = EVENTS_MAX_DEFAULT;
    epoll_state *st = np_alloc_get(io->alloc, state_size(events_max));
    if (st == NULL)
        return NEAP_ENOMEM;
    *st = (epoll_state){.timer_fd = -1, .armed = NP_NEVER, .events_max = events_max};
    st->fd = epoll_create1(EPOLL_CLOEXEC);
    int rc = st->fd < 0 ? -errno : add_word(st, io->wake_fd, EPOLLIN | EPOLLET, WAKE_WORD);
    if (rc < 0) {
        np_fd_close(st->fd);
        np_alloc_put(io->alloc, st, state_size(events_max));
        return rc;
    }
    io->impl = st;
    return 0;
}

static void epoll_close(np_io *io) {
    epoll_state *st = io->impl;
    np_fd_close(st->timer_fd);
    np_fd_close(st->fd);
    np_alloc_put(io->alloc, st, state_size(st->events_max));
    io->impl = NULL;
}

static int add(np_io *io, np_op *op) {
    np_desc *desc = op->desc;
    uint64_t word = (uint64_t)io->slots[desc->fd].generation << 32 | (uint32_t)desc->fd;
    int rc =
        add_word(io->impl, desc->fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET, word);
    if (rc < 0)
        return rc;
    desc->bits |= NP_D_WATCHED_READ | NP_D_WATCHED_WRITE;
    io->registrations++;
    return 0;
}

/* A file that nobody else holds leaves the set by its close. */
static void del(np_io *io, np_desc *desc) {
    epoll_state *st = io->impl;
    if ((desc->bits & NP_D_SHARED) == 0)
        return;
    struct epoll_event ev = {0};
    (void)epoll_ctl(st->fd, EPOLL_CTL_DEL, desc->fd, &ev);
    io->registrations++;
}

static int epoll_park(np_io *io, np_op *op) {
    return np_ready_park(io, op, add);
}

static void epoll_detach(np_io *io, np_desc *desc, int32_t code) {
    np_ready_detach(io, desc, code, del);
}

static int wait_ms(epoll_state *st, int64_t timeout_ns) {
    int64_t ms = timeout_ns < 0 ? -1 : (timeout_ns + 999999) / 1000000;
    return epoll_wait(st->fd, st->events, (int)st->events_max,
                      ms > INT32_MAX ? INT32_MAX : (int)ms);
}

static int wait_ns(epoll_state *st, int64_t timeout_ns) {
    if (timeout_ns <= 0 || st->no_pwait2)
        return wait_ms(st, timeout_ns);
    struct timespec ts = {timeout_ns / NP_NS_PER_S, timeout_ns % NP_NS_PER_S};
    int n = epoll_pwait2(st->fd, st->events, (int)st->events_max, &ts, NULL);
    if (n < 0 && (errno == ENOSYS || errno == EPERM)) {
        st->no_pwait2 = true;
        return wait_ms(st, timeout_ns);
    }
    return n;
}

static unsigned translate(uint32_t events) {
    unsigned out = 0;
    if ((events & (EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0)
        out |= NP_EV_READ;
    if ((events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0)
        out |= NP_EV_WRITE;
    if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR | EPOLLPRI)) != 0)
        out |= NP_EV_STICKY;
    if ((events & (EPOLLRDHUP | EPOLLHUP)) != 0)
        out |= NP_EV_HUP;
    return out;
}

static int epoll_wait_ops(np_io *io, int64_t timeout_ns) {
    epoll_state *st = io->impl;
    int n = wait_ns(st, timeout_ns);
    if (n < 0)
        return -errno;
    for (int i = 0; i < n; i++) {
        uint64_t word = st->events[i].data.u64;
        if (word == TIMER_WORD)
            st->armed = NP_NEVER; /* it fired; the edge is consumed */
        else if (word != WAKE_WORD)
            np_ready_event(io, (uint32_t)word, (uint32_t)(word >> 32),
                           translate(st->events[i].events));
    }
    return n;
}

static int epoll_fd(np_io *io) {
    epoll_state *st = io->impl;
    if (st->timer_fd < 0) {
        int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
        int rc = fd < 0 ? -errno : add_word(st, fd, EPOLLIN | EPOLLET, TIMER_WORD);
        if (rc < 0) {
            np_fd_close(fd);
            return rc;
        }
        st->timer_fd = fd;
    }
    return st->fd;
}

static int epoll_arm(np_io *io, int64_t when_ns) {
    epoll_state *st = io->impl;
    if (st->timer_fd < 0 || when_ns == st->armed)
        return 0;
    int rc = np_fd_arm(st->timer_fd, when_ns);
    if (rc == 0)
        st->armed = when_ns;
    return rc;
}

const np_backend np_backend_epoll = {
    .name = "epoll",
    .open = epoll_open,
    .close = epoll_close,
    .begin = np_ready_begin,
    .park = epoll_park,
    .cancel = np_ready_cancel,
    .perform = np_ready_perform,
    .detach = epoll_detach,
    .wait = epoll_wait_ops,
    .drain = np_ready_drain,
    .fd = epoll_fd,
    .arm = epoll_arm,
};

/* uring_host.c: the pollable descriptor of a ring.

   An epoll set of three, all edges: an eventfd that the kernel writes when there is something to fetch, the one of
   np_io_wake, and a timer.  A wait consumes the edges at its end.

   What the kernel interface gets wrong, and what is done about it:
   - A ring that posts completions in our calls alone does not make its own descriptor readable: hence the eventfd.
   - The eventfd is also written when our own calls post completions: it is looked at after them.
   - A ring that is woken by an eventfd (or a timer's) tells its own one late: while there is a host, the ring does not watch
     these two, and sleeping means to poll the set. */
#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "io/uring.h"

enum {
    WORD_FETCH,
    WORD_WAKE,
    WORD_TIMER,
    WORDS
};

static int add(np_uring *u, int fd, uint64_t word) {
    struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.u64 = word};
    return epoll_ctl(u->host_fd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

static int fill(np_io *io) {
    np_uring *u = np_uring_of(io);
    u->host_fd = epoll_create1(EPOLL_CLOEXEC);
    u->timer_fd = u->host_fd < 0 ? -1 : timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    u->fetch_fd = u->timer_fd < 0 ? -1 : eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (u->fetch_fd < 0)
        return -errno;
    int rc = add(u, u->fetch_fd, WORD_FETCH);
    if (rc == 0)
        rc = add(u, atomic_load(&io->wake_fd), WORD_WAKE);
    return rc < 0 ? rc : add(u, u->timer_fd, WORD_TIMER);
}

void np_uring_host_close(np_uring *u) {
    np_fd_close(u->host_fd);
    np_fd_close(u->timer_fd);
    np_fd_close(u->fetch_fd);
    u->host_fd = -1;
    u->timer_fd = -1;
    u->fetch_fd = -1;
}

int np_uring_host_open(np_io *io) {
    np_uring *u = np_uring_of(io);
    int rc = fill(io);
    if (rc == 0)
        rc = io_uring_register_eventfd(&u->ring, u->fetch_fd);
    if (rc == -EEXIST)
        rc = np_uring_move(io); /* registers it, too */
    if (rc < 0)
        np_uring_host_close(u);
    return rc;
}

void np_uring_host_wake(np_uring *u) {
    (void)eventfd_write(u->fetch_fd, 1);
}

int np_uring_host_sleep(np_uring *u, int64_t timeout_ns) {
    struct pollfd set = {u->host_fd, POLLIN, 0};
    struct timespec ts = {timeout_ns / NP_NS_PER_S, timeout_ns % NP_NS_PER_S};
    return ppoll(&set, 1, timeout_ns < 0 ? NULL : &ts, NULL) < 0 ? -errno : 0;
}

int np_uring_host_clear(np_uring *u) {
    struct epoll_event events[WORDS];
    int n = epoll_wait(u->host_fd, events, WORDS, 0);
    int news = 0;
    for (int i = 0; i < n; i++) {
        news += events[i].data.u64 != WORD_FETCH;
        if (events[i].data.u64 == WORD_TIMER)
            u->timer = NP_NEVER; /* it fired */
    }
    if (np_uring_due(u))
        np_uring_host_wake(u);
    return news;
}

int np_uring_host_arm(np_uring *u, int64_t when_ns) {
    if (u->timer_fd < 0 || when_ns == u->timer)
        return 0;
    int rc = np_fd_arm(u->timer_fd, when_ns);
    if (rc == 0)
        u->timer = when_ns;
    return rc;
}

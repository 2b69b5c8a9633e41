#include "io/backend.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fd.h"

/* In order of preference. */
static const np_backend *const backends[] = {&np_backend_epoll, &np_backend_poll,
                                             &np_backend_uring};

#define COUNT(a) (sizeof(a) / sizeof *(a))

static bool is_named(const np_backend *backend, const char *name) {
    return backend->name != NULL && strcmp(backend->name, name) == 0;
}

int32_t neap_has(const char *feature) {
    for (size_t i = 0; feature != NULL && i < COUNT(backends); i++)
        if (is_named(backends[i], feature))
            return 1;
    return 0;
}

static int open_one(np_io *io, const np_backend *backend, uint32_t events_max) {
    io->backend = backend;
    return backend->open(io, events_max);
}

static int open_named(np_io *io, const char *name, uint32_t events_max) {
    int rc = NEAP_ENOTSUP;
    for (size_t i = 0; i < COUNT(backends); i++) {
        if (backends[i]->name == NULL || (name != NULL && !is_named(backends[i], name)))
            continue;
        rc = open_one(io, backends[i], events_max);
        if (rc == 0 || rc == NEAP_ENOMEM || rc == NEAP_EMFILE)
            break;
    }
    return rc;
}

int np_io_open(np_io *io, np_alloc *alloc, const char *name, uint32_t events_max) {
    memset(io, 0, sizeof *io);
    np_list_init(&io->completed);
    io->alloc = alloc;
    atomic_init(&io->wakers, 0);
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    atomic_init(&io->wake_fd, fd);
    if (fd < 0)
        return -errno;
    int rc = open_named(io, name, events_max);
    if (rc < 0) {
        io->backend = NULL;
        np_io_close(io);
    }
    return rc;
}

/* A waker that came before sees the descriptor still open, one that comes later sees none. */
static void close_wake_fd(np_io *io) {
    int fd = atomic_exchange(&io->wake_fd, -1);
    while (atomic_load(&io->wakers) > 0)
        sched_yield();
    np_fd_close(fd);
}

void np_io_close(np_io *io) {
    if (io->backend != NULL)
        io->backend->close(io);
    io->backend = NULL;
    np_alloc_put(io->alloc, io->slots, io->slots_len * sizeof *io->slots);
    io->slots = NULL;
    io->slots_len = 0;
    close_wake_fd(io);
}

void np_io_wake(np_io *io) {
    int saved = errno;
    const uint64_t one = 1;
    ssize_t n;
    atomic_fetch_add(&io->wakers, 1);
    int fd = atomic_load(&io->wake_fd);
    do
        n = fd < 0 ? 0 : write(fd, &one, sizeof one);
    while (n < 0 && errno == EINTR);
    atomic_fetch_sub(&io->wakers, 1);
    errno = saved; /* EAGAIN: the counter is full, so a wake-up is pending */
}

static int reserve(np_io *io, uint32_t fd) {
    if (fd < io->slots_len)
        return 0;
    uint32_t len = io->slots_len == 0 ? 64 : io->slots_len;
    while (len <= fd)
        len *= 2;
    np_slot *slots =
        np_alloc_resize(io->alloc, io->slots, io->slots_len * sizeof *slots, len * sizeof *slots);
    if (slots == NULL)
        return NEAP_ENOMEM;
    memset(slots + io->slots_len, 0, (len - io->slots_len) * sizeof *slots);
    io->slots = slots;
    io->slots_len = len;
    return 0;
}

int np_io_attach(np_io *io, np_desc *desc, bool fresh) {
    if ((desc->bits & NP_D_ATTACHED) != 0)
        return 0;
    int rc = reserve(io, (uint32_t)desc->fd);
    if (rc < 0)
        return rc;
    np_slot *slot = &io->slots[desc->fd];
    if (slot->desc != NULL) {
        if (!fresh)
            return NEAP_EBUSY_FD;
        io->backend->detach(io, slot->desc, NEAP_EBADF);
    }
    slot->desc = desc;
    desc->bits |= NP_D_ATTACHED;
    return 0;
}

np_desc *np_io_owner(np_io *io, int fd) {
    return fd >= 0 && (uint32_t)fd < io->slots_len ? io->slots[fd].desc : NULL;
}

/* uring_req.c: the requests of descriptors, from the wish to the completion.

   A slot says what the kernel should do for a descriptor (want) and what it does (armed).  Changes are only noted; the next
   call of the ring turns what is left of them into submission entries, so a wait costs no system call of its own.  Of one
   kind there is one request per descriptor: a cancelled one has to come back before the next is made, so its user data
   (kind, number, generation) is unmistakable.

   What the kernel interface gets wrong, and what is done about it:
   - A request holds the file: after close(2) the peer would see no end and the port stay taken.  Before a descriptor
     is let go its requests are cancelled and awaited.
   - Multishot requests may end at any time (a full completion ring, no buffer): ending is no error, it is made again.
   - Every poll also answers to RDHUP, also one for writing, and a one-shot poll is a level: over a full socket whose peer
     has stopped sending it would spin.  Multishot polls are edges.
   - A wait that submitted something hides that a signal ended it: it is known by what is missing. */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "base/clock.h"
#include "io/uring.h"

enum {
    FD_MAX = 1 << 28,     /* numbers that fit into the user data */
    OVERFLOW_ROUNDS = 16, /* completions beyond the ring are fetched at once as often */
    SETTLE_ROUNDS = 1000, /* milliseconds to wait for cancelled requests */
    KIND_SHIFT = 60,
    FD_SHIFT = 32
};

#define FOREVER_S (INT64_C(1) << 32)

static unsigned bit_of(int kind) {
    return 1u << kind;
}

uint64_t np_uring_word(int kind, uint64_t rest) {
    return (uint64_t)kind << KIND_SHIFT | rest;
}

static uint64_t word_of(uint64_t kind, uint32_t fd, uint32_t generation) {
    return kind << KIND_SHIFT | (uint64_t)fd << FD_SHIFT | generation;
}

/* ---- Slots and their lists */

void np_uring_init_slots(np_uring *u) {
    for (int i = 0; i < NP_UR_LISTS; i++)
        u->lists[i].first = NP_UR_LAST;
}

int np_uring_reserve(np_io *io, int fd) {
    np_uring *u = np_uring_of(io);
    if (fd >= FD_MAX)
        return NEAP_EMFILE;
    if ((uint32_t)fd < u->slots_len)
        return 0;
    np_uring_slot *slots = np_alloc_resize(io->alloc, u->slots, u->slots_len * sizeof *slots,
                                           io->slots_len * sizeof *slots);
    if (slots == NULL)
        return NEAP_ENOMEM;
    for (uint32_t i = u->slots_len; i < io->slots_len; i++)
        slots[i] = (np_uring_slot){
            .next = {NP_UR_OUT, NP_UR_OUT}, .end = NP_UR_OPEN, .first = NP_UR_NO_BUF};
    u->slots = slots;
    u->slots_len = io->slots_len;
    return 0;
}

void np_uring_list(np_uring *u, int which, uint32_t fd) {
    if (u->slots[fd].next[which] != NP_UR_OUT)
        return;
    u->slots[fd].next[which] = NP_UR_LAST;
    if (u->lists[which].first == NP_UR_LAST)
        u->lists[which].first = fd;
    else
        u->slots[u->lists[which].last].next[which] = fd;
    u->lists[which].last = fd;
}

uint32_t np_uring_pop(np_uring *u, int which) {
    uint32_t fd = u->lists[which].first;
    if (fd == NP_UR_LAST)
        return NP_UR_OUT;
    u->lists[which].first = u->slots[fd].next[which];
    u->slots[fd].next[which] = NP_UR_OUT;
    return fd;
}

void np_uring_mark(np_io *io, uint32_t fd) {
    np_desc *desc = io->slots[fd].desc;
    const np_uring_slot *slot = &np_uring_of(io)->slots[fd];
    if (desc == NULL)
        return;
    bool has = np_uring_has(slot);
    bool fed = has || ((slot->want | slot->armed) & bit_of(NP_UR_RECV)) != 0;
    bool reads = (slot->want & (bit_of(NP_UR_RECV) | bit_of(NP_UR_READ))) != 0;
    bool writes = (slot->want & bit_of(NP_UR_WRITE)) != 0;
    unsigned bits = desc->bits & ~(unsigned)(NP_D_WATCHED_READ | NP_D_WATCHED_WRITE | NP_D_FED);
    bits |= (reads ? NP_D_WATCHED_READ : NP_D_READ) | (writes ? NP_D_WATCHED_WRITE : NP_D_WRITE);
    if (fed)
        bits |= NP_D_FED;
    if (has)
        bits |= NP_D_READ;
    else if ((slot->want & slot->armed & bit_of(NP_UR_RECV)) != 0)
        bits &= ~(unsigned)NP_D_READ;
    desc->bits = (uint16_t)bits;
}

void np_uring_want(np_io *io, uint32_t fd, unsigned want) {
    np_uring *u = np_uring_of(io);
    if (u->slots[fd].want == want)
        return;
    u->slots[fd].want = (uint8_t)want;
    np_uring_list(u, NP_UR_CHANGED, fd);
    np_uring_mark(io, fd);
}

/* ---- Submitting */

struct io_uring_sqe *np_uring_entry(np_io *io) {
    np_uring *u = np_uring_of(io);
    struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
    if (sqe != NULL)
        return sqe;
    int rc = io_uring_submit(&u->ring);
    if (rc == -EEXIST)
        rc = np_uring_move(io);
    return rc < 0 ? NULL : io_uring_get_sqe(&u->ring);
}

/* A stream is polled only until it can be received for; a descriptor of the user's, only while somebody waits. */
static bool read_once(const np_desc *desc) {
    return (desc->bits & NP_D_RAW) != 0 || np_uring_streams(desc);
}

static bool connects(const np_desc *desc) {
    const np_list *queue = &desc->queue[NP_DIR_WRITE];
    return !np_list_empty(queue) && np_container(queue->next, np_op, link)->kind == NP_OP_CONNECT;
}

static void prepare(struct io_uring_sqe *sqe, int kind, const np_desc *desc) {
    if (kind == NP_UR_RECV) {
        io_uring_prep_recv_multishot(sqe, desc->fd, NULL, 0, 0);
        sqe->ioprio |= IORING_RECVSEND_POLL_FIRST; /* somebody has just found nothing */
        sqe->flags |= IOSQE_BUFFER_SELECT;
    } else if (kind == NP_UR_WRITE && connects(desc)) {
        io_uring_prep_poll_add(sqe, desc->fd, POLLOUT);
    } else if (kind == NP_UR_WRITE) {
        io_uring_prep_poll_multishot(sqe, desc->fd, POLLOUT);
    } else if (read_once(desc)) {
        io_uring_prep_poll_add(sqe, desc->fd, POLLIN | POLLRDHUP);
    } else {
        io_uring_prep_poll_multishot(sqe, desc->fd, POLLIN | POLLPRI | POLLRDHUP);
    }
}

static bool submit(np_io *io, uint32_t fd, int kind) {
    struct io_uring_sqe *sqe = np_uring_entry(io);
    if (sqe == NULL)
        return false;
    prepare(sqe, kind, io->slots[fd].desc);
    io_uring_sqe_set_data64(sqe, word_of((uint64_t)kind, fd, io->slots[fd].generation));
    np_uring_of(io)->slots[fd].armed |= (uint8_t)bit_of(kind);
    np_uring_mark(io, fd);
    io->registrations++;
    return true;
}

static bool withdraw(np_io *io, uint32_t fd, int kind) {
    struct io_uring_sqe *sqe = np_uring_entry(io);
    if (sqe == NULL)
        return false;
    io_uring_prep_cancel64(sqe, word_of((uint64_t)kind, fd, io->slots[fd].generation), 0);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    io_uring_sqe_set_data64(sqe, word_of(NP_UR_CANCEL, 0, 0));
    np_uring_of(io)->slots[fd].leaving |= (uint8_t)bit_of(kind);
    io->registrations++;
    return true;
}

static bool follow(np_io *io, uint32_t fd) {
    np_uring *u = np_uring_of(io);
    bool ok = true;
    for (int kind = 0; ok && kind < NP_UR_KINDS; kind++) {
        unsigned wanted = u->slots[fd].want & bit_of(kind);
        unsigned armed = u->slots[fd].armed & bit_of(kind);
        if (wanted != 0 && armed == 0)
            ok = submit(io, fd, kind);
        else if (wanted == 0 && (armed & ~u->slots[fd].leaving) != 0)
            ok = withdraw(io, fd, kind);
    }
    return ok;
}

static bool watch_wake(np_io *io) {
    struct io_uring_sqe *sqe = np_uring_entry(io);
    if (sqe == NULL)
        return false;
    io_uring_prep_poll_multishot(sqe, atomic_load(&io->wake_fd), POLLIN);
    io_uring_sqe_set_data64(sqe, word_of(NP_UR_WAKE, 0, 0));
    return true;
}

void np_uring_unwatch_wake(np_io *io) {
    np_uring *u = np_uring_of(io);
    struct io_uring_sqe *sqe = u->wake_armed ? np_uring_entry(io) : NULL;
    if (sqe == NULL)
        return;
    io_uring_prep_cancel64(sqe, word_of(NP_UR_WAKE, 0, 0), 0);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    io_uring_sqe_set_data64(sqe, word_of(NP_UR_CANCEL, 0, 0));
    (void)np_uring_enter(io, 0);
    (void)np_uring_collect(io);
}

void np_uring_flush(np_io *io) {
    np_uring *u = np_uring_of(io);
    if (!u->wake_armed && u->host_fd < 0)
        u->wake_armed = watch_wake(io);
    uint32_t fd;
    while ((fd = np_uring_pop(u, NP_UR_CHANGED)) != NP_UR_OUT) {
        if (!follow(io, fd)) {
            np_uring_list(u, NP_UR_CHANGED, fd);
            return;
        }
    }
}

static bool unposted(const np_uring *u) {
    unsigned flags = IO_URING_READ_ONCE(*u->ring.sq.kflags);
    return (flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
}

bool np_uring_due(const np_uring *u) {
    return u->lists[NP_UR_FIRED].first != NP_UR_LAST || io_uring_cq_ready(&u->ring) > 0 ||
           unposted(u);
}

static int fetch(np_uring *u) {
    if (io_uring_sq_ready(&u->ring) == 0 && !unposted(u))
        return 0;
    int rc = io_uring_submit_and_get_events(&u->ring);
    return rc < 0 ? rc : 0;
}

static int sleep_for(np_uring *u, int64_t timeout_ns) {
    struct __kernel_timespec ts = {.tv_sec = FOREVER_S};
    if (timeout_ns > 0)
        ts = (struct __kernel_timespec){timeout_ns / NP_NS_PER_S, timeout_ns % NP_NS_PER_S};
    bool silent = io_uring_sq_ready(&u->ring) > 0;
    int64_t end = silent && timeout_ns > 0 ? np_clock_ns() + timeout_ns : NP_NEVER;
    struct io_uring_cqe *cqe;
    int rc = io_uring_submit_and_wait_timeout(&u->ring, &cqe, 1, &ts, NULL);
    if (rc == -ETIME || io_uring_cq_ready(&u->ring) > 0)
        return 0;
    if (rc >= 0)
        return end != NP_NEVER && np_clock_ns() >= end ? 0 : NEAP_EINTR;
    return rc;
}

static int enter(np_uring *u, int64_t timeout_ns) {
    int rc = timeout_ns == 0 ? fetch(u) : sleep_for(u, timeout_ns);
    return rc == -EAGAIN || rc == -EBUSY ? 0 : rc; /* short of memory for now */
}

int np_uring_enter(np_io *io, int64_t timeout_ns) {
    int rc = enter(np_uring_of(io), timeout_ns);
    if (np_likely(rc != -EEXIST))
        return rc;
    rc = np_uring_move(io);
    if (rc < 0)
        return rc;
    np_uring_flush(io);
    return enter(np_uring_of(io), timeout_ns);
}

/* ---- Completions */

static unsigned read_events(int32_t res) {
    unsigned out = NP_EV_READ;
    if (res < 0)
        return out; /* the operation will be told the same */
    if ((res & (POLLRDHUP | POLLHUP | POLLERR | POLLPRI)) != 0)
        out |= NP_EV_STICKY;
    if ((res & (POLLRDHUP | POLLHUP)) != 0)
        out |= NP_EV_HUP;
    return out;
}

static void ended(np_uring *u, uint32_t fd, int kind) {
    np_uring_slot *slot = &u->slots[fd];
    uint8_t bit = (uint8_t)bit_of(kind);
    bool cancelled = (slot->leaving & bit) != 0;
    slot->armed &= (uint8_t)~bit;
    slot->leaving &= (uint8_t)~bit;
    if (!cancelled)
        slot->want &= (uint8_t)~bit;
    else if ((slot->want & bit) != 0)
        np_uring_list(u, NP_UR_CHANGED, fd);
}

static int news(np_io *io, const struct io_uring_cqe *cqe) {
    np_uring *u = np_uring_of(io);
    int kind = (int)(cqe->user_data >> KIND_SHIFT);
    if (kind == NP_UR_FILE) {
        np_uring_file_ended(io, cqe);
        return 1;
    }
    uint32_t fd = (uint32_t)(cqe->user_data >> FD_SHIFT) & (FD_MAX - 1);
    bool more = (cqe->flags & IORING_CQE_F_MORE) != 0;
    if (kind == NP_UR_WAKE)
        u->wake_armed = more;
    if (kind >= NP_UR_KINDS)
        return kind == NP_UR_WAKE && cqe->res > 0;
    bool stale = io->slots[fd].generation != (uint32_t)cqe->user_data;
    bool wanted = !stale && (u->slots[fd].want & bit_of(kind)) != 0;
    if (!more && !stale)
        ended(u, fd, kind);
    if (kind == NP_UR_RECV)
        np_uring_received(io, stale ? NP_UR_OUT : fd, cqe, wanted);
    else if (!stale && cqe->res != -ECANCELED)
        u->slots[fd].events |= (uint8_t)(kind == NP_UR_READ ? read_events(cqe->res) : NP_EV_WRITE);
    if (stale)
        return 0;
    np_uring_mark(io, fd);
    np_uring_list(u, NP_UR_FIRED, fd);
    return cqe->res != -ECANCELED;
}

int np_uring_collect(np_io *io) {
    np_uring *u = np_uring_of(io);
    int n = 0;
    for (int round = 0; round < OVERFLOW_ROUNDS; round++) {
        struct io_uring_cqe *cqe;
        unsigned head;
        unsigned seen = 0;
        io_uring_for_each_cqe(&u->ring, head, cqe) {
            n += news(io, cqe);
            seen++;
        }
        io_uring_cq_advance(&u->ring, seen);
        if (!io_uring_cq_has_overflow(&u->ring) || fetch(u) < 0)
            break;
    }
    return n;
}

void np_uring_settle(np_io *io, uint32_t fd) {
    np_uring *u = np_uring_of(io);
    np_uring_want(io, fd, 0);
    for (int round = 0; u->slots[fd].armed != 0 && round < SETTLE_ROUNDS; round++) {
        np_uring_flush(io);
        (void)np_uring_enter(io, round == 0 ? 0 : NP_NS_PER_S / 1000);
        (void)np_uring_collect(io);
    }
    u->lost |= (u->slots[fd].armed & bit_of(NP_UR_RECV)) != 0;
    u->slots[fd].armed = 0;
    u->slots[fd].leaving = 0;
}

/* run.c: the ways to run the loop: for ever, until a future is done, one turn, in phases inside a host's loop. */
#include "base/clock.h"
#include "base/options.h"
#include "core/events.h"
#include "core/future.h"

/* ---- Runs */

/* Why the run ends before its time, or 0. */
static int32_t take_raised(neap_loop *loop) {
    int32_t code = loop->raised != 0 ? loop->raised : loop->interrupted ? NEAP_EINTR : 0;
    loop->raised = 0;
    loop->interrupted = false;
    return code;
}

int32_t neap_loop_run(neap_loop *loop) {
    int32_t rc = loop == NULL ? NEAP_EINVAL : np_begin_turn(loop);
    if (rc < 0)
        return rc;
    do
        rc = np_tick(loop, -1);
    while (rc >= 0 && !loop->stopping && loop->raised == 0 && !loop->interrupted);
    loop->stopping = false;
    int32_t raised = take_raised(loop);
    np_leave(loop);
    return rc < 0 ? rc : raised;
}

bool np_loop_is_stuck(neap_loop *loop) {
    return !np_loop_can_wake(loop) && !np_mailbox_full(&loop->mail) &&
           np_list_empty(&loop->io.completed) && !loop->stopping;
}

/* Where a run ends at the latest: times of both clocks, and a number of ticks. */
typedef struct bounds {
    int64_t time;
    int64_t real;
    uint64_t ticks;
} bounds;

static const bounds endless = {NP_NEVER, NP_NEVER, UINT64_MAX};

static bool is_over(const neap_loop *loop, const bounds *b) {
    return loop->now >= b->time || loop->ticks >= b->ticks ||
           (b->real != NP_NEVER && np_clock_ns() >= b->real);
}

/* How long the next tick may wait. */
static int64_t time_left(const neap_loop *loop, const bounds *b) {
    bool virtual = (loop->flags & NEAP_LOOP_VIRTUAL_CLOCK) != 0;
    int64_t end = !virtual && b->real < b->time ? b->real : b->time;
    if (end == NP_NEVER)
        return -1;
    return end > loop->now ? end - loop->now : 0;
}

/* A future that was done before still gets its tick; one that a callback stops for ends after its batch. */
static int32_t run_until(neap_loop *loop, neap_future *f, const bounds *b) {
    int32_t rc;
    do {
        if (np_future_pending(f) && np_loop_is_stuck(loop) && !np_loop_awaits_shutdown(loop)) {
            np_report_deadlock(loop, f);
            return NEAP_EDEADLOCK;
        }
        rc = np_tick(loop, np_future_pending(f) ? time_left(loop, b) : 0);
        if (rc < 0)
            return rc;
        if (loop->raised != 0 || (loop->interrupted && np_future_pending(f)))
            return take_raised(loop);
        if (np_future_pending(f) && is_over(loop, b))
            return NEAP_ETIMEOUT;
    } while (np_future_pending(f) && !loop->stopping);
    return np_future_pending(f) ? NEAP_ESTOPPED_EARLY : 0;
}

static void noted(np_waiter *w) {
    (void)w;
}

static int32_t run_bounded(neap_loop *loop, neap_future *future, const bounds *b) {
    int32_t rc = loop == NULL || future == NULL ? NEAP_EINVAL : np_enter(loop);
    if (rc == 0 && future->obj.loop != loop)
        rc = NEAP_EOTHER_LOOP;
    if (rc == 0)
        rc = np_begin_turn(loop);
    if (rc < 0)
        return rc;
    np_future_ref(future);
    np_waiter runner = {
        .fire =
            noted}; /* keeps the poll from sleeping once the future is done, wherever that happens */
    np_ready_init(&runner.node, NP_RUN_WAITER);
    if (np_future_pending(future))
        np_future_wait(future, &runner.node);
    else
        np_future_seen(future); /* the caller reads it */
    rc = run_until(loop, future, b);
    if (runner.node.where != NP_AT_NONE)
        np_dequeue(&runner.node);
    loop->stopping = false;
    loop->interrupted = false;
    np_future_unref(future);
    np_leave(loop);
    return rc;
}

int32_t neap_loop_run_until(neap_loop *loop, neap_future *future) {
    return run_bounded(loop, future, &endless);
}

int32_t neap_loop_run_within(neap_loop *loop, neap_future *future, const neap_limits *limits) {
    neap_limits l;
    int32_t rc =
        loop == NULL || limits == NULL ? NEAP_EINVAL : np_options_read(&l, sizeof l, limits);
    if (rc == 0)
        rc = l.time_ns < 0 || l.real_ns < 0 ? NEAP_EINVAL : np_enter(loop);
    if (rc < 0)
        return rc;
    bounds b = endless;
    if (l.time_ns > 0)
        b.time = np_time_add(neap_loop_update_time(loop), l.time_ns);
    if (l.real_ns > 0)
        b.real = np_time_add(np_clock_ns(), l.real_ns);
    if (l.ticks > 0 && l.ticks < UINT64_MAX - loop->ticks)
        b.ticks = loop->ticks + l.ticks;
    return run_bounded(loop, future, &b);
}

int32_t neap_loop_run_once(neap_loop *loop, int64_t timeout_ns) {
    int32_t rc = loop == NULL ? NEAP_EINVAL : np_begin_turn(loop);
    if (rc < 0)
        return rc;
    rc = np_tick(loop, timeout_ns);
    loop->stopping = false;
    int32_t raised = take_raised(loop);
    np_leave(loop);
    return raised != 0 ? raised : rc;
}

int32_t neap_loop_stop(neap_loop *loop) {
    int32_t rc = loop == NULL ? NEAP_EINVAL : np_enter(loop);
    if (rc < 0)
        return rc;
    loop->stopping = true;
    np_loop_nudge(loop);
    return 0;
}

int32_t neap_loop_raise(neap_loop *loop, int32_t code) {
    int32_t rc = loop == NULL || code == 0 ? NEAP_EINVAL : np_enter(loop);
    if (rc < 0)
        return rc;
    if (loop->inside == 0)
        return NEAP_EINVALID_STATE;
    loop->raised = code;
    return 0;
}

/* ---- Inside a host's loop */

int32_t neap_loop_fd(neap_loop *loop) {
    int32_t rc = loop == NULL ? NEAP_EINVAL : np_enter(loop);
    if (rc < 0)
        return rc;
    int32_t fd = loop->io.backend->fd(&loop->io);
    if (fd < 0 || loop->hosted)
        return fd;
    loop->hosted = true;
    loop->inside++; /* now its state has to show: as after any turn */
    np_leave(loop);
    return fd;
}

int32_t neap_loop_next_deadline(neap_loop *loop, int64_t *ret_when) {
    int32_t rc = loop == NULL || ret_when == NULL ? NEAP_EINVAL : np_enter(loop);
    if (rc < 0)
        return rc;
    const np_heap_entry *first = np_heap_first(&loop->timers);
    if (first == NULL)
        return 0;
    *ret_when = first->when;
    return 1;
}

int32_t neap_loop_prepare(neap_loop *loop, int64_t *ret_timeout) {
    int32_t rc = loop == NULL || ret_timeout == NULL ? NEAP_EINVAL : np_begin_turn(loop);
    if (rc < 0)
        return rc;
    bool came = np_take_mail(loop);
    (void)neap_loop_update_time(loop);
    *ret_timeout = came || !np_list_empty(&loop->events) ? 0 : np_timeout(loop);
    rc = *ret_timeout == 0;
    np_leave(loop);
    return rc;
}

int32_t neap_loop_wait(neap_loop *loop, int64_t timeout_ns) {
    int32_t rc = loop == NULL ? NEAP_EINVAL : np_begin_turn(loop);
    if (rc < 0)
        return rc;
    rc = np_poll(loop, timeout_ns);
    np_leave(loop);
    return rc;
}

int32_t neap_loop_dispatch(neap_loop *loop, uint32_t max) {
    int32_t rc = loop == NULL ? NEAP_EINVAL : np_begin_turn(loop);
    if (rc < 0)
        return rc;
    loop->ticks++;
    np_take_mail(loop);
    np_reap(loop);
    (void)neap_loop_update_time(loop);
    np_due_timers(loop);
    rc = np_run_batch(loop, max);
    loop->stopping = false;
    int32_t raised = take_raised(loop);
    np_leave(loop);
    return raised != 0 ? raised : rc;
}

/* ---- From other threads */

int32_t neap_loop_wake(neap_loop *loop) {
    int32_t rc = loop == NULL ? NEAP_EINVAL : np_enter_any(loop);
    if (rc == 0)
        np_io_wake(&loop->io);
    return rc;
}

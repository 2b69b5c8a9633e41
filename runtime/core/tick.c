/* tick.c: one tick, and the ways to run it.

   post-box -> timeout -> poll -> completions -> due timers -> the batch that was ready when the batch began.
   What a batch makes ready waits for the next tick, so nothing can starve a poll. */
#include "base/clock.h"
#include "base/shuffle.h"
#include "core/events.h"
#include "core/future.h"
#include "core/handle.h"
#include "core/task.h"

#define JOBS_LOOK_NS (NP_NS_PER_S / 100)

/* ---- Parts of the tick */

enum {
    GATHERED_ENTRIES = 8,
    GATHERED_CYCLES = 200000 /* some 0.1 ms */
};

static void deliver_signals(neap_loop *loop) {
    uint64_t bits = atomic_exchange_explicit(&loop->signals, 0, memory_order_acquire);
    if (bits != 0 && loop->on_signals != NULL)
        loop->on_signals(loop, bits);
}

void np_run_internal(neap_loop *loop) {
    if (np_likely(np_list_empty(&loop->internal)))
        return;
    do {
        np_waiter *w = np_container(np_list_pop(&loop->internal), np_waiter, node.link);
        w->node.where = NP_AT_NONE;
        w->fire(w);
    } while (!np_list_empty(&loop->internal));
    np_stamp(loop);
}

bool np_take_mail(neap_loop *loop) {
    if (np_unlikely(atomic_load_explicit(&loop->signals, memory_order_relaxed) != 0))
        deliver_signals(loop);
    if (np_likely(!np_mailbox_full(&loop->mail)))
        return false;
    np_mail *mail = np_mailbox_take(&loop->mail);
    while (mail != NULL) {
        np_mail *next = mail->next;
        loop->mail.deliver(mail,
                           atomic_load_explicit(&loop->life, memory_order_relaxed) != NP_OPEN);
        mail = next;
    }
    return true;
}

static bool has_deadline(const neap_loop *loop, uint32_t background) {
    const np_heap_entry *first = np_heap_first(&loop->timers);
    return first != NULL && first->when != NP_NEVER && loop->timers.len > background;
}

/* Anything in the world that could make something ready, besides other threads, signals and background tasks. */
bool np_loop_can_wake(neap_loop *loop) {
    np_backstage b = {0, 0};
    if (np_unlikely(!np_list_empty(&loop->background)))
        b = np_background_wakers(loop);
    return !np_list_empty(&loop->ready) || !np_list_empty(&loop->internal) ||
           !np_list_empty(&loop->events) || !np_list_empty(&loop->pulled) ||
           !np_list_empty(&loop->blocked) || has_deadline(loop, b.timers) ||
           loop->io.parked > b.operations || loop->holds > 0 || loop->jobs > 0;
}

/* How long the poll may last: 0 if there is work, else until the first deadline. */
int64_t np_timeout(neap_loop *loop) {
    bool work = !np_list_empty(&loop->ready) || !np_list_empty(&loop->internal) ||
                !np_list_empty(&loop->io.completed);
    if (work || loop->stopping || loop->raised != 0)
        return 0;
    const np_heap_entry *first = np_heap_first(&loop->timers);
    if (first == NULL || first->when == NP_NEVER)
        return -1;
    return first->when > loop->now ? first->when - loop->now : 0;
}

void np_reap(neap_loop *loop) {
    while (!np_list_empty(&loop->io.completed)) {
        np_op *op = np_container(np_list_pop(&loop->io.completed), np_op, link);
        op->done(op);
    }
}

void np_due_timers(neap_loop *loop) {
    const np_heap_entry *first;
    while ((first = np_heap_first(&loop->timers)) != NULL && first->when <= loop->now) {
        if (np_unlikely(np_heap_node_of(&loop->timers, first) == NULL)) {
            np_fatal(loop, __FILE__, __LINE__, "the timers' heap is damaged");
            return;
        }
        np_timer_was_late(loop, loop->now - first->when);
        np_timer *t = np_container(np_heap_pop(&loop->timers), np_timer, heap);
        t->due(loop, t, false);
    }
}

static void log_poll(neap_loop *loop, int64_t timeout_ns, int64_t elapsed_ns, int events) {
    int32_t level = elapsed_ns >= NP_NS_PER_S ? NEAP_LOG_INFO : NEAP_LOG_DEBUG;
    double took_ms = (double)elapsed_ns / 1e6;
    if (timeout_ns < 0)
        np_logf(loop, level, "poll took %.3f ms: %d events", took_ms, events);
    else if (events > 0)
        np_logf(loop, level, "poll %.3f ms took %.3f ms: %d events", (double)timeout_ns / 1e6,
                took_ms, events);
    else
        np_logf(loop, level, "poll %.3f ms took %.3f ms: timeout", (double)timeout_ns / 1e6,
                took_ms);
}

static void read_clock(neap_loop *loop) {
    if ((loop->flags & NEAP_LOOP_VIRTUAL_CLOCK) == 0)
        loop->now = np_clock_ns();
}

/* Sleeping is announced before the last look into the post-box, and posters look for sleepers after posting: one of
   the two sees the other. */
static bool fall_asleep(neap_loop *loop) {
    atomic_store_explicit(&loop->asleep, true, memory_order_seq_cst);
    atomic_thread_fence(memory_order_seq_cst);
    return !np_mailbox_full(&loop->mail) &&
           atomic_load_explicit(&loop->signals, memory_order_seq_cst) == 0;
}

int32_t np_poll(neap_loop *loop, int64_t timeout_ns) {
    if (timeout_ns != 0 && !fall_asleep(loop))
        timeout_ns = 0;
    np_trace(loop, NEAP_TRACE_POLL, timeout_ns, NULL, NULL, NULL);
    int64_t begun = np_unlikely(loop->on_log != NULL) ? np_clock_ns() : 0;
    int n = loop->io.backend->wait(&loop->io, timeout_ns);
    atomic_store_explicit(&loop->asleep, false, memory_order_relaxed);
    loop->polls++;
    loop->blocked_polls += timeout_ns != 0;
    read_clock(loop);
    if (n == NEAP_EINTR) {
        loop->interrupted = (loop->flags & NEAP_LOOP_EINTR) != 0;
        n = 0;
    }
    np_trace(loop, NEAP_TRACE_POLLED, n, NULL, NULL, NULL);
    if (n < 0)
        return n;
    loop->kernel_events += (uint64_t)n;
    if (np_unlikely(begun != 0) && timeout_ns != 0)
        log_poll(loop, timeout_ns, np_clock_ns() - begun, n);
    np_reap(loop);
    return n;
}

/* ---- The batch */

/* Inline in the batch, whatever the compiler thinks of it, for the reason that np_task_run has. */
__attribute__((always_inline)) inline void np_run_node(neap_loop *loop, np_ready *node) {
    loop->runs++;
    if (node->kind == NP_RUN_TASK)
        np_task_run(np_container(node, neap_task, node));
    else if (np_likely(node->kind == NP_RUN_CALL))
        np_handle_run(np_container(node, neap_handle, node));
    else
        np_fatal(loop, __FILE__, __LINE__, "something in the ready queue is no entry");
    np_run_internal(loop);
}

/* In a child after a fork it is the parent's to do. */
static void run_gathered(neap_loop *loop) {
    if (np_unlikely(np_guard_forked(&loop->guard)))
        return;
    np_list_splice(&loop->internal, &loop->gathered);
    np_run_internal(loop);
}

/* What the next few entries will ask of the kernel is asked in a row. */
static void fetch(neap_loop *loop) {
    np_list *at = loop->batch.next;
    for (int n = 0; n < GATHERED_ENTRIES && at != &loop->batch; n++, at = at->next) {
        np_ready *node = np_container(at, np_ready, link);
        if (node->kind == NP_RUN_TASK)
            np_task_fetch(np_container(node, neap_task, node));
    }
}

/* Enough entries lie behind, or have taken so long that nobody should wait for more of them. */
static bool is_time_to_run_gathered(const neap_loop *loop, uint32_t entries, uint64_t since) {
    return entries % GATHERED_ENTRIES == 0 || loop->stamp - since > GATHERED_CYCLES;
}

int32_t np_run_batch(neap_loop *loop, uint32_t max) {
    uint32_t n = 0;
    np_run_internal(loop);
    np_list_splice(&loop->batch, &loop->ready);
    if (np_unlikely(loop->shuffle != 0))
        np_list_shuffle(&loop->batch, &loop->shuffle);
    loop->turn_spent = 0;
    bool fetches = loop->fetchers > 1;
    loop->fetchers = 0;
    np_stamp(loop);
    uint64_t begun = loop->stamp, since = begun;
    loop->in_batch = true;
    while (!np_list_empty(&loop->batch) && loop->raised == 0 && (max == 0 || n < max) &&
           !np_guard_forked(&loop->guard)) {
        if (fetches && n % GATHERED_ENTRIES == 0)
            fetch(loop);
        np_ready *node = np_container(loop->batch.next, np_ready, link);
        np_dequeue(node);
        np_run_node(loop, node);
        if (is_time_to_run_gathered(loop, ++n, since)) {
            run_gathered(loop);
            since = loop->stamp;
        }
    }
    loop->in_batch = false;
    run_gathered(loop);
    np_batch_ended(loop, begun);
    np_list_splice_front(&loop->ready, &loop->batch);
    if (np_unlikely(np_guard_forked(&loop->guard)))
        return NEAP_EFORKED; /* the rest is the parent's */
    np_report_failures(loop);
    return (int32_t)n;
}

/* ---- The tick */

/* Loopback is almost synchronous, but not quite: what a socket has sent may reach another of this loop a little later.
   Whoever writes to raw descriptors is not seen, so the watched ones always count. */
static int64_t settle_time(const neap_loop *loop) {
    bool moving = loop->io.stirred || !np_list_empty(&loop->watches);
    return moving && loop->io.parked > 0 ? loop->settle_ns : 0;
}

static bool has_news(neap_loop *loop) {
    return !np_list_empty(&loop->ready) || !np_list_empty(&loop->internal) ||
           np_mailbox_full(&loop->mail) || loop->interrupted ||
           atomic_load_explicit(&loop->signals, memory_order_relaxed) != 0;
}

/* Polls for so much real time; says whether nothing at all came in it. */
static int32_t poll_quietly(neap_loop *loop, int64_t bound_ns, bool *ret_quiet) {
    bool settles = bound_ns >= settle_time(loop);
    int64_t end = bound_ns > 0 ? np_time_add(np_clock_ns(), bound_ns) : 0;
    int32_t n = np_poll(loop, bound_ns);
    *ret_quiet = n == 0 && !has_news(loop) && (bound_ns == 0 || np_clock_ns() >= end);
    if (*ret_quiet && settles)
        loop->io.stirred = false;
    return n;
}

/* Jobs in pools take real time, in which a virtual clock stands; now and then somebody may look at limits of real time. */
static int32_t poll_for_jobs(neap_loop *loop, int64_t timeout_ns) {
    bool virtual = (loop->flags & NEAP_LOOP_VIRTUAL_CLOCK) != 0;
    return np_poll(loop, virtual && timeout_ns != 0 ? JOBS_LOOK_NS : timeout_ns);
}

/* With a virtual clock a wait for a deadline takes no time: if nothing else happens the clock goes there. */
static int32_t poll_virtual(neap_loop *loop, int64_t timeout_ns) {
    bool quiet;
    if (loop->jobs > 0)
        return poll_for_jobs(loop, timeout_ns);
    if (timeout_ns <= 0)
        return np_poll(loop, timeout_ns);
    int32_t n = poll_quietly(loop, settle_time(loop), &quiet);
    if (quiet)
        loop->now = np_time_add(loop->now, timeout_ns);
    return n;
}

static int64_t shorter(int64_t a, int64_t b) {
    if (a < 0 || b < 0)
        return a < 0 ? b : a;
    return a < b ? a : b;
}

/* With nothing parked there is nothing to ask the kernel, unless we want to sleep or a host watches for edges. */
static bool must_poll(const neap_loop *loop, int64_t timeout_ns) {
    return timeout_ns != 0 || loop->io.parked > 0 || loop->hosted;
}

static int64_t time_left(neap_loop *loop, int64_t end) {
    int64_t most = end == NP_NEVER ? -1 : end > loop->now ? end - loop->now : 0;
    return shorter(np_timeout(loop), most);
}

/* Asks the hook for quiet times, and polls, for as long as it wants to be asked again before the wait is over.  Answers
   what the last poll said, and how long is still to be waited. */
static int32_t wait_quietly(neap_loop *loop, int64_t timeout_max_ns, int64_t *timeout_ns) {
    int64_t end = timeout_max_ns < 0 ? NP_NEVER : np_time_add(loop->now, timeout_max_ns);
    int32_t rc = 0;
    for (int32_t quiet = 0; rc == 0 && *timeout_ns != 0 && loop->on_idle != NULL; quiet = 1) {
        int64_t bound = loop->on_idle(loop, quiet, loop->idle_hook.user);
        if (quiet) /* it may have worked */
            read_clock(loop);
        *timeout_ns = time_left(loop, end);
        if (bound < 0 || shorter(bound, *timeout_ns) != bound)
            break;
        rc = np_poll(loop, bound);
        bool came = np_take_mail(loop);
        *timeout_ns = came || loop->interrupted ? 0 : time_left(loop, end);
    }
    return rc;
}

/* All is blocked: serves who waits for that, if nothing comes for as long as that one wants. */
static int32_t poll_blocked(neap_loop *loop, int64_t timeout_ns) {
    if (loop->jobs > 0)
        return poll_for_jobs(loop, timeout_ns);
    int64_t settle_ns = settle_time(loop), cushion_ns = np_blocked_cushion(loop);
    int64_t silence_ns = settle_ns > cushion_ns ? settle_ns : cushion_ns;
    int64_t bound_ns = shorter(silence_ns, timeout_ns);
    bool quiet;
    int32_t n = poll_quietly(loop, bound_ns, &quiet);
    if (quiet && bound_ns == silence_ns && !np_list_empty(&loop->blocked))
        np_blocked_serve(loop);
    return n;
}

/* Waits until there is something to do, but not longer than that. */
static int32_t wait_for_work(neap_loop *loop, int64_t timeout_max_ns) {
    int64_t timeout_ns = np_timeout(loop);
    if (timeout_ns > 0) { /* the batch took time */
        read_clock(loop);
        timeout_ns = np_timeout(loop);
    }
    bool virtual = (loop->flags & NEAP_LOOP_VIRTUAL_CLOCK) != 0;
    if (np_unlikely(!np_list_empty(&loop->blocked)) && timeout_ns != 0)
        return poll_blocked(loop, virtual ? timeout_max_ns : shorter(timeout_ns, timeout_max_ns));
    timeout_ns = shorter(timeout_ns, timeout_max_ns);
    if (virtual)
        return must_poll(loop, timeout_ns) ? poll_virtual(loop, timeout_ns) : 0;
    if (timeout_ns != 0 && loop->on_idle != NULL && !loop->hosted) {
        int32_t rc = wait_quietly(loop, timeout_max_ns, &timeout_ns);
        if (rc != 0)
            return rc;
    }
    if (must_poll(loop, timeout_ns))
        return np_poll(loop, timeout_ns);
    if (loop->timers.len > 0)
        read_clock(loop);
    return 0;
}

/* What mail or a completion has settled may be all that the caller waits for, though it makes nothing ready. */
int32_t np_tick(neap_loop *loop, int64_t timeout_max_ns) {
    loop->ticks++;
    bool news = np_take_mail(loop) || !np_list_empty(&loop->io.completed);
    np_reap(loop);
    int32_t rc = wait_for_work(loop, np_unlikely(news) ? 0 : timeout_max_ns);
    if (rc < 0)
        return rc;
    np_take_mail(loop);
    np_due_timers(loop);
    return np_run_batch(loop, 0);
}

/* ---- Entering and leaving */

int32_t np_begin_turn(neap_loop *loop) {
    int32_t rc = np_enter(loop);
    if (rc < 0)
        return rc;
    if (np_unlikely(np_guard_slow_check(&loop->guard)))
        return NEAP_EFORKED;
    if (loop->inside > 0)
        return NEAP_EREENTRANT;
    loop->inside++;
    return 0;
}

/* What a sleeping host relies on: the descriptor is readable if there is work, and set to the first deadline. */
static void settle_host(neap_loop *loop) {
    const np_heap_entry *first = np_heap_first(&loop->timers);
    bool virtual = (loop->flags & NEAP_LOOP_VIRTUAL_CLOCK) != 0;
    loop->io.backend->arm(&loop->io, first == NULL || virtual ? NP_NEVER : first->when);
    bool work = np_timeout(loop) == 0 || !np_list_empty(&loop->events);
    if (!fall_asleep(loop) || work)
        np_loop_wake_if_asleep(loop);
}

void np_leave(neap_loop *loop) {
    if (loop->inside == 1)
        np_trace(loop, NEAP_TRACE_RUN_END, 0, NULL, NULL, NULL);
    loop->inside--;
    if (loop->inside == 0 && loop->hosted && np_enter(loop) == 0)
        settle_host(loop);
}

void np_loop_wake_if_asleep(neap_loop *loop) {
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_exchange_explicit(&loop->asleep, false, memory_order_seq_cst))
        np_io_wake(&loop->io);
}

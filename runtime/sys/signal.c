/* signal.c: signals, for those who ask.

   The one static object of the library: a table by signal number, empty unless a signal is watched.  A slot lists the loops that
   want the signal.  The handler runs on any thread at any time: it walks the list without a lock, marks each loop and
   wakes it.  Writers hold the slot's lock, change the list by single stores, and free a node only when no handler is
   inside (`inside` counts them), so the handler never sees freed memory. */
#include <errno.h>
#include <sched.h>
#include <signal.h>

#include "core/handle.h"
#include "sys/sys.h"

#define SIGNALS 64 /* Linux: 1 to 64 */

typedef struct target target;
struct target {
    _Atomic(target *) next;
    neap_loop *loop;
    uint32_t watches; /* of this loop for this signal */
};

typedef struct slot {
    _Atomic(target *) first;
    atomic_uint inside;
    atomic_flag lock;
    atomic_uint chain;       /* watches that want what was there before to be called, too */
    struct sigaction before; /* valid while first is set */
} slot;

static slot slots[SIGNALS + 1];

typedef struct watch {
    np_list link; /* in loop->signal_watches */
    neap_handle *handle;
    int signo;
    bool chain;
} watch;

/* ---- The handler's side */

static void call_before(const struct sigaction *before, int signo, siginfo_t *info, void *context) {
    if ((before->sa_flags & SA_SIGINFO) != 0)
        before->sa_sigaction(signo, info, context);
    else if (before->sa_handler != SIG_DFL && before->sa_handler != SIG_IGN)
        before->sa_handler(signo);
}

static void mark(neap_loop *loop, int signo) {
    atomic_fetch_or_explicit(&loop->signals, UINT64_C(1) << (signo - 1), memory_order_seq_cst);
    np_loop_wake_if_asleep(loop);
}

static void on_signal(int signo, siginfo_t *info, void *context) {
    int saved = errno;
    slot *s = &slots[signo];
    atomic_fetch_add_explicit(&s->inside, 1, memory_order_seq_cst);
    target *t = atomic_load_explicit(&s->first, memory_order_seq_cst);
    for (; t != NULL; t = atomic_load_explicit(&t->next, memory_order_acquire))
        mark(t->loop, signo);
    if (atomic_load_explicit(&s->chain, memory_order_relaxed) > 0)
        call_before(&s->before, signo, info, context);
    atomic_fetch_sub_explicit(&s->inside, 1, memory_order_seq_cst);
    errno = saved;
}

int32_t neap_signal_deliver(neap_loop *loop, int32_t signo) {
    if (loop == NULL || signo < 1 || signo > SIGNALS)
        return NEAP_EINVAL;
    mark(loop, signo);
    return 0;
}

/* ---- The table */

static void lock(slot *s, sigset_t *ret_mask) {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all,
                    ret_mask); /* the handler must not interrupt the holder of the lock */
    while (atomic_flag_test_and_set_explicit(&s->lock, memory_order_acquire))
        sched_yield();
}

static void unlock(slot *s, const sigset_t *mask) {
    atomic_flag_clear_explicit(&s->lock, memory_order_release);
    pthread_sigmask(SIG_SETMASK, mask, NULL);
}

static target *find_target(slot *s, neap_loop *loop) {
    target *t = atomic_load_explicit(&s->first, memory_order_relaxed);
    while (t != NULL && t->loop != loop)
        t = atomic_load_explicit(&t->next, memory_order_relaxed);
    return t;
}

static int32_t install(slot *s, int signo) {
    struct sigaction sa = {.sa_flags = SA_SIGINFO | SA_RESTART};
    sa.sa_sigaction = on_signal;
    sigfillset(&sa.sa_mask);
    return sigaction(signo, &sa, &s->before) < 0 ? -errno : 0;
}

/* Puts back what was there, unless somebody has replaced us meanwhile. */
static void uninstall(slot *s, int signo) {
    struct sigaction now;
    if (sigaction(signo, NULL, &now) == 0 && (now.sa_flags & SA_SIGINFO) != 0 &&
        now.sa_sigaction == on_signal)
        (void)sigaction(signo, &s->before, NULL);
}

static int32_t add_target(slot *s, int signo, neap_loop *loop, target *fresh, bool *ret_used) {
    target *t = find_target(s, loop);
    *ret_used = t == NULL;
    if (t != NULL) {
        t->watches++;
        return 0;
    }
    target *first = atomic_load_explicit(&s->first, memory_order_relaxed);
    int32_t rc = first == NULL ? install(s, signo) : 0;
    if (rc < 0)
        return rc;
    fresh->loop = loop;
    fresh->watches = 1;
    atomic_store_explicit(&fresh->next, first, memory_order_relaxed);
    atomic_store_explicit(&s->first, fresh, memory_order_seq_cst);
    return 0;
}

/* Gives back the target to free, or NULL if other watches of the loop remain. */
static target *remove_target(slot *s, int signo, neap_loop *loop) {
    target *t = find_target(s, loop);
    if (t == NULL || --t->watches > 0)
        return NULL;
    _Atomic(target *) *at = &s->first;
    while (atomic_load_explicit(at, memory_order_relaxed) != t)
        at = &atomic_load_explicit(at, memory_order_relaxed)->next;
    atomic_store_explicit(at, atomic_load_explicit(&t->next, memory_order_relaxed),
                          memory_order_seq_cst);
    if (atomic_load_explicit(&s->first, memory_order_relaxed) == NULL)
        uninstall(s, signo);
    while (atomic_load_explicit(&s->inside, memory_order_seq_cst) > 0)
        sched_yield();
    return t;
}

/* ---- Watches */

static void end_watch(neap_handle *h) {
    watch *w = np_source_call_of(h)->owner;
    neap_loop *loop = h->obj.loop;
    slot *s = &slots[w->signo];
    sigset_t mask;
    np_source_call_of(h)->source = NULL;
    lock(s, &mask);
    if (w->chain)
        atomic_fetch_sub(&s->chain, 1);
    target *gone = remove_target(s, w->signo, loop);
    unlock(s, &mask);
    if (gone != NULL)
        np_pool_put(&loop->pool, gone, sizeof *gone);
    np_list_unlink(&w->link);
    np_pool_put(&loop->pool, w, sizeof *w);
}

static void stay(neap_handle *h) {
    (void)h;
}

static const np_call_source source = {.stop = end_watch, .after = stay};

static int32_t install_watch(neap_loop *loop, watch *w, uint32_t flags) {
    slot *s = &slots[w->signo];
    target *fresh = np_pool_get(&loop->pool, sizeof *fresh);
    if (fresh == NULL)
        return NEAP_ENOMEM;
    bool used;
    sigset_t mask;
    lock(s, &mask);
    int32_t rc = add_target(s, w->signo, loop, fresh, &used);
    w->chain = rc == 0 && (flags & NEAP_SIGNAL_CHAIN) != 0;
    if (w->chain)
        atomic_fetch_add(&s->chain, 1);
    unlock(s, &mask);
    if (rc < 0 || !used)
        np_pool_put(&loop->pool, fresh, sizeof *fresh);
    return rc;
}

static int32_t add_watch(neap_loop *loop, int signo, uint32_t flags, neap_handle **ret_handle) {
    watch *w = np_pool_get(&loop->pool, sizeof *w);
    neap_handle *h = w == NULL ? NULL : np_handle_new(loop, NP_CALL_SIGNAL);
    int32_t rc = NEAP_ENOMEM;
    if (h != NULL) {
        w->signo = signo;
        w->handle = h;
        rc = install_watch(loop, w, flags);
    }
    if (rc < 0) {
        if (h != NULL)
            np_handle_drop(h);
        if (w != NULL)
            np_pool_put(&loop->pool, w, sizeof *w);
        return rc;
    }
    np_list_init(&w->link);
    np_list_append(&loop->signal_watches, &w->link);
    np_source_call *call = np_source_call_of(h);
    call->source = &source;
    call->owner = w;
    call->signo = signo;
    *ret_handle = h;
    return 0;
}

int32_t neap_signal_watch(neap_loop *loop, int32_t signo, uint32_t flags, neap_signal_fn fn,
                          void *user, neap_destroy_fn destroy, neap_handle **ret_handle) {
    bool valid = loop != NULL && fn != NULL && signo >= 1 && signo <= SIGNALS && signo != SIGKILL &&
                 signo != SIGSTOP && (flags & ~(uint32_t)NEAP_SIGNAL_CHAIN) == 0;
    int32_t rc = valid ? np_enter(loop) : NEAP_EINVAL;
    neap_handle *h = NULL;
    if (rc == 0) {
        np_sys_attach(loop);
        rc = add_watch(loop, signo, flags, &h);
    }
    if (rc < 0) {
        if (destroy != NULL)
            destroy(user);
        return rc;
    }
    np_handle_take(h, user, destroy);
    h->fn.signal = fn;
    np_handle_give(h, ret_handle);
    return 0;
}

void np_signals_arrived(neap_loop *loop, uint64_t bits) {
    for (np_list *at = loop->signal_watches.next; at != &loop->signal_watches; at = at->next) {
        watch *w = np_container(at, watch, link);
        bool wanted = (bits & UINT64_C(1) << (w->signo - 1)) != 0;
        if (wanted && w->handle->node.where == NP_AT_NONE)
            np_enqueue(loop, &w->handle->node);
    }
}

void np_signal_close_all(neap_loop *loop) {
    while (!np_list_empty(&loop->signal_watches))
        np_handle_cancel(np_container(loop->signal_watches.next, watch, link)->handle);
}

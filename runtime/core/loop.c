/* loop.c: the loop's life, its memory, and what can be asked of it. */
#include "core/loop.h"

#include <string.h>

#include "base/clock.h"
#include "base/options.h"
#include "base/shuffle.h"
#include "core/future.h"

#define SLOW_DEFAULT_NS (NP_NS_PER_S / 10)
#define SETTLE_DEFAULT_NS (NP_NS_PER_S / 1000)

struct np_data {
    np_data *next;
    const void *tag;
    void *ptr;
    neap_destroy_fn destroy;
};

int32_t neap_version(void) {
    return 100; /* 0.1.0 */
}

int32_t np_life_code(const neap_loop *loop) {
    unsigned char life = atomic_load_explicit(&loop->life, memory_order_relaxed);
    return life == NP_CORRUPT ? NEAP_ECORRUPT : NEAP_ELOOP_CLOSED;
}

bool np_loop_owns_objects(const neap_loop *loop) {
    return atomic_load_explicit(&loop->life, memory_order_acquire) != NP_CLOSED &&
           np_thread_self() == loop->owner;
}

/* ---- New and gone */

static int32_t read_options(const neap_loop_options *from, neap_loop_options *to) {
    int32_t rc = np_options_read(to, sizeof *to, from);
    if (rc < 0)
        return rc;
    const uint32_t known =
        NEAP_LOOP_DEBUG | NEAP_LOOP_VIRTUAL_CLOCK | NEAP_LOOP_STEP_TIMES | NEAP_LOOP_EINTR;
    const neap_allocator *a = to->allocator;
    bool whole = a == NULL || (a->size >= sizeof *a && a->alloc != NULL && a->realloc != NULL &&
                               a->free != NULL);
    return (to->flags & ~known) != 0 || !whole ? NEAP_EINVAL : 0;
}

static void init_lists(neap_loop *loop) {
    np_list *lists[] = {
        &loop->ready,   &loop->batch,          &loop->internal,    &loop->gathered,
        &loop->pulled,  &loop->events,         &loop->lent_events, &loop->tasks,
        &loop->futures, &loop->failed,         &loop->orphans,     &loop->socks,
        &loop->servers, &loop->starved,        &loop->files,       &loop->file_jobs,
        &loop->watches, &loop->signal_watches, &loop->on_shutdown, &loop->shutdown_futures,
        &loop->blocked, &loop->background,     &loop->processes};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        np_list_init(lists[i]);
}

static void init_times(neap_loop *loop, const neap_loop_options *o) {
    bool virtual = (o->flags & NEAP_LOOP_VIRTUAL_CLOCK) != 0;
    loop->now = virtual ? 0 : np_clock_ns();
    loop->slow_ns = o->slow_ns == 0 ? SLOW_DEFAULT_NS : o->slow_ns < 0 ? NP_NEVER : o->slow_ns;
    loop->settle_ns = o->settle_ns == 0 ? SETTLE_DEFAULT_NS : o->settle_ns < 0 ? 0 : o->settle_ns;
    bool counted = np_cycles_steady() || (o->flags & NEAP_LOOP_STEP_TIMES) != 0;
    loop->timed = virtual ? NP_TIMED_VIRTUAL : counted ? NP_TIMED_COUNTER : NP_TIMED_NOT;
    loop->origin_cycles = np_cycles();
    loop->origin_ns = np_clock_ns();
    np_steps_watch(loop);
}

static void free_memory(neap_loop *loop) {
    np_alloc *alloc = loop->alloc;
    np_data_drop_all(loop);
    np_guard_fini(&loop->guard);
    np_alloc_put_text(alloc, loop->name);
    np_mailbox_fini(&loop->mail);
    np_alloc_put(alloc, loop, sizeof *loop);
    np_alloc_unref(alloc);
}

static int32_t open_parts(neap_loop *loop, const neap_loop_options *o) {
    loop->name = np_alloc_text(loop->alloc, o->name != NULL ? o->name : "loop");
    if (loop->name == NULL)
        return NEAP_ENOMEM;
    int32_t rc = np_guard_init(&loop->guard);
    return rc < 0 ? rc : np_io_open(&loop->io, loop->alloc, o->backend, o->events_max);
}

static neap_loop *make(np_alloc *alloc, const neap_loop_options *o) {
    neap_loop *loop = np_alloc_get(alloc, sizeof *loop);
    if (loop == NULL)
        return NULL;
    memset(loop, 0, sizeof *loop);
    loop->alloc = alloc;
    atomic_init(&loop->io.wake_fd, -1);
    loop->flags = o->flags;
    loop->shuffle = np_random_begin(o->shuffle_seed);
    loop->owner = np_thread_self();
    atomic_init(&loop->refs, 1);
    atomic_init(&loop->life, NP_OPEN);
    atomic_init(&loop->asleep, false);
    atomic_init(&loop->signals, 0);
    np_mailbox_init(&loop->mail, np_obj_deliver);
    np_pool_init(&loop->pool, alloc);
    np_heap_init(&loop->timers, alloc);
    init_lists(loop);
    init_times(loop, o);
    return loop;
}

int32_t neap_loop_new(const neap_loop_options *options, neap_loop **ret_loop) {
    neap_loop_options o;
    int32_t rc = ret_loop == NULL ? NEAP_EINVAL : read_options(options, &o);
    if (rc < 0)
        return rc;
    np_alloc *alloc = np_alloc_new(o.allocator);
    if (alloc == NULL)
        return NEAP_ENOMEM;
    neap_loop *loop = make(alloc, &o);
    if (loop == NULL) {
        np_alloc_unref(alloc);
        return NEAP_ENOMEM;
    }
    rc = open_parts(loop, &o);
    if (rc < 0) {
        free_memory(loop);
        return rc;
    }
    *ret_loop = loop;
    return 0;
}

neap_loop *neap_loop_ref(neap_loop *loop) {
    np_loop_keep(loop);
    return loop;
}

void np_loop_let_go(neap_loop *loop) {
    if (atomic_fetch_sub_explicit(&loop->refs, 1, memory_order_acq_rel) == 1)
        free_memory(loop);
}

/* The last user's reference ends the loop; what objects keep is only memory. */
void neap_loop_unref(neap_loop *loop) {
    if (loop == NULL)
        return;
    if (np_loop_owns_objects(loop) && loop->inside == 0) {
        unsigned objects = loop->objects > 0 ? 1 : 0;
        if (atomic_load_explicit(&loop->refs, memory_order_acquire) == objects + 1)
            np_loop_shut(loop, NEAP_CLOSE_SILENT);
    }
    np_loop_let_go(loop);
}

int32_t neap_loop_bind_thread(neap_loop *loop) {
    if (np_guard_forked(&loop->guard))
        return NEAP_EFORKED;
    if (atomic_load(&loop->life) != NP_OPEN)
        return np_life_code(loop);
    if (loop->inside > 0)
        return NEAP_ELOOP_RUNNING;
    loop->owner = np_thread_self();
    return 0;
}

/* ---- Questions */

int32_t neap_loop_in_thread(const neap_loop *loop) {
    return np_thread_self() == loop->owner;
}

int32_t neap_loop_is_running(const neap_loop *loop) {
    return atomic_load_explicit(&loop->inside, memory_order_relaxed) > 0;
}

int32_t neap_loop_is_closed(const neap_loop *loop) {
    unsigned char life = atomic_load_explicit(&loop->life, memory_order_relaxed);
    return life == NP_CLOSED || life == NP_CLOSING;
}

const char *neap_loop_name(const neap_loop *loop) {
    return loop->name;
}

const char *neap_loop_backend(const neap_loop *loop) {
    return loop->io.backend != NULL ? loop->io.backend->name : "closed";
}

int64_t neap_loop_time(neap_loop *loop) {
    int32_t rc = np_look(loop);
    return rc < 0 ? rc : loop->now;
}

int64_t neap_loop_update_time(neap_loop *loop) {
    int32_t rc = np_look(loop);
    if (rc < 0)
        return rc;
    if ((loop->flags & NEAP_LOOP_VIRTUAL_CLOCK) == 0)
        loop->now = np_clock_ns();
    return loop->now;
}

int32_t neap_loop_advance(neap_loop *loop, int64_t ns) {
    int32_t rc = np_enter(loop);
    if (rc < 0)
        return rc;
    if ((loop->flags & NEAP_LOOP_VIRTUAL_CLOCK) == 0)
        return NEAP_ENOTSUP;
    if (ns < 0)
        return NEAP_EINVAL;
    loop->now = np_time_add(loop->now, ns);
    return 0;
}

int32_t neap_loop_hold(neap_loop *loop) {
    int32_t rc = np_enter(loop);
    if (rc == 0)
        loop->holds++;
    return rc;
}

int32_t neap_loop_release(neap_loop *loop) {
    int32_t rc = np_enter(loop);
    if (rc < 0)
        return rc;
    if (loop->holds == 0)
        return NEAP_EINVALID_STATE;
    loop->holds--;
    return 0;
}

int32_t neap_loop_alive(neap_loop *loop) {
    int32_t rc = np_enter(loop);
    if (rc < 0)
        return rc;
    return np_loop_can_wake(loop) || np_mailbox_full(&loop->mail) ||
           !np_list_empty(&loop->io.completed) || !np_list_empty(&loop->signal_watches);
}

int32_t neap_loop_debug(neap_loop *loop, int32_t on) {
    int32_t rc = np_enter(loop);
    if (rc < 0)
        return rc;
    int32_t old = (loop->flags & NEAP_LOOP_DEBUG) != 0;
    if (on > 0)
        loop->flags |= NEAP_LOOP_DEBUG;
    else if (on == 0)
        loop->flags &= ~(uint32_t)NEAP_LOOP_DEBUG;
    return old;
}

int32_t neap_loop_set_slow(neap_loop *loop, int64_t slow_ns) {
    int32_t rc = np_enter(loop);
    if (rc < 0)
        return rc;
    loop->slow_ns = slow_ns < 0 ? NP_NEVER : slow_ns;
    np_steps_watch(loop);
    return 0;
}

/* ---- Data by tag */

static np_data **find_data(neap_loop *loop, const void *tag) {
    np_data **at = &loop->data;
    while (*at != NULL && (*at)->tag != tag)
        at = &(*at)->next;
    return at;
}

static void drop_data(neap_loop *loop, np_data **at) {
    np_data *d = *at;
    *at = d->next;
    if (d->destroy != NULL)
        d->destroy(d->ptr);
    np_alloc_put(loop->alloc, d, sizeof *d);
}

void np_data_drop_all(neap_loop *loop) {
    while (loop->data != NULL)
        drop_data(loop, &loop->data);
}

static int32_t set_data(neap_loop *loop, const void *tag, void *ptr, neap_destroy_fn destroy) {
    int32_t rc = np_enter(loop);
    if (rc < 0)
        return rc;
    np_data *fresh = NULL;
    if (ptr != NULL && (fresh = np_alloc_get(loop->alloc, sizeof *fresh)) == NULL)
        return NEAP_ENOMEM;
    np_data **at = find_data(loop, tag);
    if (*at != NULL)
        drop_data(loop, at);
    if (fresh != NULL) {
        *fresh = (np_data){loop->data, tag, ptr, destroy};
        loop->data = fresh;
    }
    return 0;
}

int32_t neap_loop_set_data(neap_loop *loop, const void *tag, void *ptr, neap_destroy_fn destroy) {
    int32_t rc = set_data(loop, tag, ptr, destroy);
    if (rc < 0 && destroy != NULL)
        destroy(ptr);
    return rc;
}

void *neap_loop_get_data(neap_loop *loop, const void *tag) {
    if (np_look(loop) < 0)
        return NULL;
    np_data *d = *find_data(loop, tag);
    return d != NULL ? d->ptr : NULL;
}

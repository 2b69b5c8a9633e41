/* pool.c: threads that take jobs from a queue.  A thread is made when a job comes and all others have one, and ends when it
   has had none for a while. */
#include "sys/pool.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/options.h"
#include "base/pin.h"

enum {
    THREADS_DEFAULT = 4,
    QUEUE_DEFAULT = 1024,
    NAME_SHOWN = 128
};
#define IDLE_DEFAULT_NS (10 * NP_NS_PER_S)

/* ---- Made and gone */

static void free_memory(neap_pool *p) {
    np_alloc *alloc = p->alloc;
    if (p->options.destroy != NULL)
        p->options.destroy(p->options.user);
    pthread_cond_destroy(&p->work);
    pthread_cond_destroy(&p->quiet);
    pthread_mutex_destroy(&p->lock);
    np_guard_fini(&p->guard);
    np_alloc_put_text(alloc, (char *)(uintptr_t)p->options.name);
    np_alloc_put(alloc, p, sizeof *p);
    np_alloc_unref(alloc);
}

void np_pool_let_go(neap_pool *p) {
    if (atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) == 1)
        free_memory(p);
}

static void fill_options(neap_pool_options *o) {
    o->threads_max = o->threads_max == 0 ? THREADS_DEFAULT : o->threads_max;
    o->queue_max = o->queue_max == 0 ? QUEUE_DEFAULT : o->queue_max;
    o->idle_ns = o->idle_ns == 0 ? IDLE_DEFAULT_NS : o->idle_ns < 0 ? NP_NEVER : o->idle_ns;
}

static void init_waits(neap_pool *p) {
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&p->work, &attr);
    pthread_cond_init(&p->quiet, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&p->lock, NULL);
}

static neap_pool *make(np_alloc *alloc, const neap_pool_options *o) {
    neap_pool *p = np_alloc_get(alloc, sizeof *p);
    char *name = p == NULL ? NULL : np_alloc_text(alloc, o->name != NULL ? o->name : "pool");
    if (p != NULL)
        memset(p, 0, sizeof *p);
    if (name == NULL || np_guard_init(&p->guard) < 0) {
        np_alloc_put_text(alloc, name);
        np_alloc_put(alloc, p, sizeof *p);
        return NULL;
    }
    p->alloc = alloc;
    p->options = *o;
    p->options.name = name;
    fill_options(&p->options);
    atomic_init(&p->users, 1);
    atomic_init(&p->refs, 1);
    init_waits(p);
    np_list *lists[] = {&p->queue, &p->running, &p->watchers, &p->workers, &p->ended};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        np_list_init(lists[i]);
    p->figures.size = sizeof p->figures;
    return p;
}

int32_t np_pool_new(np_alloc *alloc, const neap_pool_options *o, neap_pool **ret_pool) {
    neap_pool *p = make(alloc, o);
    if (p == NULL)
        return NEAP_ENOMEM;
    np_alloc_ref(alloc);
    *ret_pool = p;
    return 0;
}

static int32_t new_pool(const neap_pool_options *options, neap_pool_options *o,
                        neap_pool **ret_pool) {
    int32_t rc = np_options_read(o, sizeof *o, options);
    if (rc == 0 && ret_pool == NULL)
        rc = NEAP_EINVAL;
    if (rc < 0)
        return rc;
    np_alloc *alloc = np_alloc_new(o->allocator);
    if (alloc == NULL)
        return NEAP_ENOMEM;
    rc = np_pool_new(alloc, o, ret_pool);
    np_alloc_unref(alloc);
    return rc;
}

int32_t neap_pool_new(const neap_pool_options *options, neap_pool **ret_pool) {
    const size_t with_destroy = offsetof(neap_pool_options, destroy) + sizeof options->destroy;
    neap_pool_options o;
    int32_t rc = new_pool(options, &o, ret_pool);
    if (rc < 0 && options != NULL && options->size >= with_destroy && options->destroy != NULL)
        options->destroy(options->user);
    return rc;
}

neap_pool *neap_pool_ref(neap_pool *pool) {
    atomic_fetch_add_explicit(&pool->users, 1, memory_order_relaxed);
    return pool;
}

const char *neap_pool_name(const neap_pool *pool) {
    return pool->options.name;
}

/* ---- Under the lock */

bool np_pool_wait(pthread_cond_t *cond, pthread_mutex_t *mutex, int64_t when) {
    if (when == NP_NEVER)
        return pthread_cond_wait(cond, mutex) == 0;
    struct timespec ts = {.tv_sec = when / NP_NS_PER_S, .tv_nsec = when % NP_NS_PER_S};
    return pthread_cond_timedwait(cond, mutex, &ts) != ETIMEDOUT;
}

void np_pool_send_all_home(np_list *jobs) {
    while (!np_list_empty(jobs))
        np_job_send_home(np_container(np_list_pop(jobs), neap_job, link));
}

void np_pool_refuse(np_list *from, np_list *to, int32_t result) {
    for (np_list *at = from->next; at != from; at = at->next) {
        neap_job *job = np_container(at, neap_job, link);
        job->state = NP_JOB_OVER;
        job->refused = true;
        job->result = result;
    }
    np_list_splice(to, from);
}

/* ---- The queue */

/* Under the lock. */
static bool is_full(const neap_pool *p) {
    uint64_t free = p->options.threads_max - p->figures.running;
    return p->options.queue_max >= 0 && p->figures.queued >= free + (uint64_t)p->options.queue_max;
}

/* Under the lock: sees to it that somebody will take one job more.  Threads that do not run a job look for one, or wait. */
static int32_t find_thread(neap_pool *p) {
    if (p->figures.queued < p->figures.threads - p->figures.running) {
        pthread_cond_signal(&p->work);
        return 0;
    }
    int32_t rc = p->figures.threads < p->options.threads_max ? np_worker_new(p) : 0;
    return p->figures.threads > 0 ? 0 : rc;
}

int32_t np_pool_add(neap_pool *p, neap_job *job) {
    np_list ended;
    np_list_init(&ended);
    pthread_mutex_lock(&p->lock);
    int32_t rc = p->closed ? NEAP_ECLOSED : is_full(p) ? NEAP_EBUSY : find_thread(p);
    if (rc == 0) {
        job->since = np_clock_ns();
        p->figures.queued++;
        np_list_append(&p->queue, &job->link);
    }
    np_list_splice(&ended, &p->ended);
    pthread_mutex_unlock(&p->lock);
    np_workers_join(p, &ended);
    return rc == 0 ? NEAP_PENDING : rc;
}

int32_t np_pool_watch(neap_pool *p, neap_job *job) {
    pthread_mutex_lock(&p->lock);
    int32_t rc = !p->closed ? NEAP_EINVALID_STATE : np_list_empty(&p->workers) ? 0 : NEAP_PENDING;
    if (rc == NEAP_PENDING)
        np_list_append(&p->watchers, &job->link);
    pthread_mutex_unlock(&p->lock);
    return rc;
}

uint8_t np_pool_take_back(neap_job *job) {
    neap_pool *p = job->pool;
    if (np_pool_forked(p))
        return NP_JOB_RUNNING;
    pthread_mutex_lock(&p->lock);
    uint8_t state = job->state;
    if (state == NP_JOB_QUEUED) {
        np_list_unlink(&job->link);
        p->figures.queued -= job->fn != NULL;
        p->figures.dropped += job->fn != NULL;
    }
    atomic_store_explicit(&job->unwanted, true, memory_order_relaxed);
    pthread_mutex_unlock(&p->lock);
    return state;
}

uint8_t np_pool_state_of(neap_job *job) {
    if (np_pool_forked(job->pool))
        return NP_JOB_RUNNING;
    pthread_mutex_lock(&job->pool->lock);
    uint8_t state = job->state;
    pthread_mutex_unlock(&job->pool->lock);
    return state;
}

int32_t neap_pool_get_stats(neap_pool *pool, neap_pool_stats *out, size_t size) {
    if (pool == NULL || out == NULL || size < sizeof out->size)
        return NEAP_EINVAL;
    if (np_pool_forked(pool))
        return NEAP_EFORKED;
    pthread_mutex_lock(&pool->lock);
    neap_pool_stats stats = pool->figures;
    pthread_mutex_unlock(&pool->lock);
    stats.size = size < sizeof stats ? size : sizeof stats;
    memcpy(out, &stats, stats.size);
    return (int32_t)stats.size;
}

/* ---- The end */

/* Under the lock: takes no more jobs; those that go without having run, and who hears that no thread is left, to `over`. */
static bool close_locked(neap_pool *p, bool finishes, np_list *over) {
    bool was_open = !p->closed;
    p->closed = true;
    if (!finishes) {
        p->figures.dropped += p->figures.queued;
        p->figures.queued = 0;
        np_pool_refuse(&p->queue, over, NEAP_ECLOSED);
    }
    pthread_cond_broadcast(&p->work);
    return was_open;
}

int32_t neap_pool_close(neap_pool *pool, uint32_t flags) {
    if (pool == NULL || (flags & ~(uint32_t)NEAP_POOL_FINISH) != 0)
        return NEAP_EINVAL;
    if (np_pool_forked(pool))
        return NEAP_EFORKED;
    np_list over;
    np_list_init(&over);
    pthread_mutex_lock(&pool->lock);
    bool was_open = close_locked(pool, (flags & NEAP_POOL_FINISH) != 0, &over);
    pthread_mutex_unlock(&pool->lock);
    np_pool_send_all_home(&over);
    return was_open;
}

/* Under the lock. */
static void unwant_locked(neap_pool *p) {
    for (np_list *at = p->running.next; at != &p->running; at = at->next)
        atomic_store_explicit(&np_container(at, neap_job, link)->unwanted, true,
                              memory_order_relaxed);
}

void np_pool_unwant(neap_pool *p) {
    if (np_pool_forked(p))
        return;
    pthread_mutex_lock(&p->lock);
    unwant_locked(p);
    pthread_mutex_unlock(&p->lock);
}

static bool is_inside(neap_pool *p) {
    bool inside = false;
    pthread_mutex_lock(&p->lock);
    for (np_list *at = p->workers.next; at != &p->workers; at = at->next)
        inside = inside || np_container(at, np_worker, link)->self == np_thread_self();
    pthread_mutex_unlock(&p->lock);
    return inside;
}

typedef struct left_job {
    char name[NAME_SHOWN];
    int64_t running_ns;
    neap_job_fn fn;
} left_job;

/* A job that still runs and was not named yet. */
static bool next_left(neap_pool *p, left_job *ret_left) {
    bool found = false;
    pthread_mutex_lock(&p->lock);
    for (np_list *at = p->running.next; at != &p->running && !found; at = at->next) {
        neap_job *job = np_container(at, neap_job, link);
        if (job->named)
            continue;
        found = job->named = true;
        ret_left->running_ns = np_clock_ns() - job->since;
        ret_left->fn = job->fn;
        snprintf(ret_left->name, sizeof ret_left->name, "%s", job->name);
    }
    pthread_mutex_unlock(&p->lock);
    return found;
}

/* Code that a thread is still to run must not be unloaded; the library's own is where this stands. */
static int32_t name_left(neap_pool *p, neap_job_left_fn fn, void *user) {
    left_job left;
    int32_t n = 0;
    for (; next_left(p, &left); n++) {
        np_pin((const void *)(uintptr_t)name_left);
        np_pin((const void *)(uintptr_t)left.fn);
        if (fn != NULL)
            fn(left.name, left.running_ns, user);
    }
    return n;
}

/* Waits for the threads; those that have not ended then go on alone. */
static void await_threads(neap_pool *p, int64_t until, np_list *ended, np_list *over) {
    pthread_mutex_lock(&p->lock);
    while (!np_list_empty(&p->workers) && np_pool_wait(&p->quiet, &p->lock, until)) {
    }
    (void)close_locked(p, false, over);
    unwant_locked(p);
    for (np_list *at = p->workers.next; at != &p->workers; at = at->next)
        np_container(at, np_worker, link)->left_behind = true;
    np_list_splice(ended, &p->ended);
    pthread_mutex_unlock(&p->lock);
}

int32_t neap_pool_shutdown(neap_pool *pool, int64_t timeout_ns, uint32_t flags, neap_job_left_fn fn,
                           void *user) {
    if (pool != NULL && !np_pool_forked(pool) && is_inside(pool))
        return NEAP_EREENTRANT;
    int32_t rc = neap_pool_close(pool, flags);
    if (rc < 0)
        return rc;
    np_list ended, over;
    np_list_init(&ended);
    np_list_init(&over);
    int64_t until = timeout_ns < 0 ? NP_NEVER : np_time_add(np_clock_ns(), timeout_ns);
    await_threads(pool, until, &ended, &over);
    np_pool_send_all_home(&over);
    np_workers_join(pool, &ended);
    return name_left(pool, fn, user);
}

/* What is queued will be done, by threads that nobody joins. */
static void orphan(neap_pool *p) {
    np_list ended;
    np_list_init(&ended);
    pthread_mutex_lock(&p->lock);
    (void)close_locked(p, true, NULL);
    p->orphaned = true;
    bool alive = !np_list_empty(&p->workers);
    np_list_splice(&ended, &p->ended);
    pthread_mutex_unlock(&p->lock);
    if (alive)
        np_pin((const void *)(uintptr_t)orphan);
    np_workers_join(p, &ended);
}

void neap_pool_unref(neap_pool *pool) {
    if (pool == NULL || atomic_fetch_sub_explicit(&pool->users, 1, memory_order_acq_rel) != 1)
        return;
    if (!np_pool_forked(pool))
        orphan(pool);
    np_pool_let_go(pool);
}

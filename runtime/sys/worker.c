/* worker.c: a thread of a pool: it takes jobs from the queue until there are none for a while. */
#include <signal.h>
#include <stdio.h>

#include "sys/pool.h"

enum {
    THREAD_NAME_MAX = 16 /* what the system takes */
};

struct np_keepsake {
    np_keepsake *next;
    const void *tag;
    void *ptr;
    neap_destroy_fn destroy;
};

/* ---- What a thread keeps for bindings */

static np_keepsake **find_kept(np_worker *w, const void *tag) {
    np_keepsake **at = &w->kept;
    while (*at != NULL && (*at)->tag != tag)
        at = &(*at)->next;
    return at;
}

static void drop_kept(np_worker *w, np_keepsake **at) {
    np_keepsake *k = *at;
    *at = k->next;
    if (k->destroy != NULL)
        k->destroy(k->ptr);
    np_alloc_put(w->pool->alloc, k, sizeof *k);
}

static bool on_own_thread(const neap_job *job) {
    return job != NULL && job->worker != NULL && job->worker->self == np_thread_self();
}

static int32_t set_kept(neap_job *job, const void *tag, void *ptr, neap_destroy_fn destroy) {
    if (!on_own_thread(job))
        return job == NULL ? NEAP_EINVAL : NEAP_EWRONGTHREAD;
    np_worker *w = job->worker;
    np_keepsake *fresh = ptr == NULL ? NULL : np_alloc_get(w->pool->alloc, sizeof *fresh);
    if (ptr != NULL && fresh == NULL)
        return NEAP_ENOMEM;
    np_keepsake **at = find_kept(w, tag);
    if (*at != NULL)
        drop_kept(w, at);
    if (fresh != NULL) {
        *fresh = (np_keepsake){w->kept, tag, ptr, destroy};
        w->kept = fresh;
    }
    return 0;
}

int32_t neap_job_set_data(neap_job *job, const void *tag, void *ptr, neap_destroy_fn destroy) {
    int32_t rc = set_kept(job, tag, ptr, destroy);
    if (rc < 0 && destroy != NULL)
        destroy(ptr);
    return rc;
}

void *neap_job_get_data(neap_job *job, const void *tag) {
    np_keepsake *k = on_own_thread(job) ? *find_kept(job->worker, tag) : NULL;
    return k != NULL ? k->ptr : NULL;
}

/* ---- From job to job */

/* Under the lock: the next job, or NULL when there is none for so long that the thread should end. */
static neap_job *next_job(neap_pool *p) {
    int64_t until = np_list_empty(&p->queue) ? np_time_add(np_clock_ns(), p->options.idle_ns) : 0;
    bool in_time = true;
    while (np_list_empty(&p->queue) && !p->closed && in_time) {
        p->figures.idle++;
        in_time = np_pool_wait(&p->work, &p->lock, until);
        p->figures.idle--;
    }
    if (np_list_empty(&p->queue))
        return NULL;
    p->figures.queued--;
    return np_container(np_list_pop(&p->queue), neap_job, link);
}

static int64_t longer(int64_t a, int64_t b) {
    return a > b ? a : b;
}

/* Under the lock. */
static void begin(np_worker *w, neap_job *job) {
    neap_pool *p = w->pool;
    int64_t now = np_clock_ns(), waited = now - job->since;
    p->figures.queue_longest_ns = longer(p->figures.queue_longest_ns, waited);
    p->figures.queue_total_ns = np_time_add(p->figures.queue_total_ns, waited);
    p->figures.running++;
    job->since = now;
    job->state = NP_JOB_RUNNING;
    job->worker = w;
    np_list_append(&p->running, &job->link);
}

/* Under the lock. */
static void finish(neap_job *job) {
    neap_pool *p = job->pool;
    p->figures.run_longest_ns = longer(p->figures.run_longest_ns, np_clock_ns() - job->since);
    p->figures.running--;
    p->figures.done++;
    job->state = NP_JOB_OVER;
    np_list_unlink(&job->link);
}

/* Whom nobody will join detaches itself. */
static void leave(np_worker *w) {
    neap_pool *p = w->pool;
    np_list told;
    np_list_init(&told);
    while (w->kept != NULL)
        drop_kept(w, &w->kept);
    if (p->options.thread_stop != NULL)
        p->options.thread_stop(p->options.user);
    pthread_mutex_lock(&p->lock);
    bool detached = p->orphaned || w->left_behind;
    np_list_unlink(&w->link);
    if (!detached)
        np_list_append(&p->ended, &w->link);
    if (p->closed && np_list_empty(&p->workers))
        np_pool_refuse(&p->watchers, &told, 0);
    pthread_cond_broadcast(&p->quiet);
    pthread_mutex_unlock(&p->lock);
    np_pool_send_all_home(&told);
    if (detached) {
        pthread_detach(pthread_self());
        np_alloc_put(p->alloc, w, sizeof *w);
    }
    np_pool_let_go(p);
}

static void name_thread(const neap_pool *p) {
    char name[THREAD_NAME_MAX];
    snprintf(name, sizeof name, "%s", p->options.name);
    (void)pthread_setname_np(pthread_self(), name);
}

static void *work(void *arg) {
    np_worker *w = arg;
    neap_pool *p = w->pool;
    neap_job *job;
    name_thread(p);
    if (p->options.thread_start != NULL)
        p->options.thread_start(p->options.user);
    pthread_mutex_lock(&p->lock);
    w->self = np_thread_self();
    while ((job = next_job(p)) != NULL) {
        begin(w, job);
        pthread_mutex_unlock(&p->lock);
        job->result = job->fn(job, job->user);
        pthread_mutex_lock(&p->lock);
        finish(job);
        pthread_mutex_unlock(&p->lock);
        np_job_send_home(job);
        pthread_mutex_lock(&p->lock);
    }
    p->figures.threads--;
    pthread_mutex_unlock(&p->lock);
    leave(w);
    return NULL;
}

/* ---- Made and joined */

/* It begins with every signal blocked. */
int32_t np_worker_new(neap_pool *p) {
    np_worker *w = np_alloc_get(p->alloc, sizeof *w);
    if (w == NULL)
        return NEAP_ENOMEM;
    *w = (np_worker){.pool = p};
    np_list_init(&w->link);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    np_pool_keep(p);
    int rc = pthread_create(&w->id, NULL, work, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0) {
        np_alloc_put(p->alloc, w, sizeof *w);
        np_pool_let_go(p); /* never the last */
        return -rc;
    }
    p->figures.threads++;
    np_list_append(&p->workers, &w->link);
    return 0;
}

void np_workers_join(neap_pool *p, np_list *ended) {
    while (!np_list_empty(ended)) {
        np_worker *w = np_container(np_list_pop(ended), np_worker, link);
        pthread_join(w->id, NULL);
        np_alloc_put(p->alloc, w, sizeof *w);
    }
}

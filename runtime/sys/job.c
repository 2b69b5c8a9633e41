/* job.c: what a loop has of a job: its future, and the news of its end, which travels in the job itself. */
#include <stdio.h>
#include <string.h>

#include "base/options.h"
#include "sys/pool.h"
#include "sys/sys.h"

typedef struct errand {
    neap_future f;
    neap_job *job; /* NULL: it has let go */
} errand;

static errand *of_future(const neap_future *f) {
    return np_container((neap_future *)(uintptr_t)f, errand, f);
}

/* ---- Home */

void np_job_end(neap_job *job) {
    neap_pool *pool = job->pool;
    neap_loop *loop = job->post.loop;
    if (job->destroy != NULL)
        job->destroy(job->user);
    np_alloc_put(pool->alloc, job, job->size);
    np_pool_let_go(pool);
    if (loop != NULL)
        np_loop_let_go(loop);
}

void np_job_send_home(neap_job *job) {
    neap_loop *loop = job->post.loop;
    if (loop == NULL) {
        np_job_end(job);
        return;
    }
    np_loop_keep(loop); /* the job may end before the loop is awake */
    np_mailbox_put_always(&loop->mail, &job->post.mail);
    np_loop_wake_if_asleep(loop);
    np_loop_let_go(loop);
}

/* The future goes its own way. */
static void part(neap_future *f) {
    errand *e = of_future(f);
    f->obj.loop->jobs--;
    e->job->f = NULL;
    e->job = NULL;
}

static void give_result(neap_future *f, const neap_job *job) {
    int64_t result = job->result;
    if (!job->refused && job->finish != NULL) {
        int32_t rc = job->finish(f, result, job->user);
        np_stamp(f->obj.loop);
        if (!np_future_pending(f))
            return;
        result = rc < 0 ? rc : result;
    }
    if (result < 0) {
        np_future_settle_error(f, result < INT32_MIN ? NEAP_EINVAL : (int32_t)result, NULL);
        return;
    }
    f->kind = job->fn != NULL ? NEAP_KIND_INT : NEAP_KIND_NONE;
    f->value.i = result;
    np_future_settle(f, NEAP_STATE_RESULT);
}

/* Of a job that is over.  The future is no longer the runtime's while the finisher sets it. */
static void settle(neap_future *f, bool discard) {
    neap_job *job = of_future(f)->job;
    np_future_ref(f);
    part(f);
    np_future_deactivate(f);
    if (discard)
        np_future_settle_error(f, NEAP_ECLOSED, NULL);
    else
        give_result(f, job);
    np_future_unref(f);
}

static void arrived(np_obj *obj, bool discard) {
    neap_job *job = np_container(obj, neap_job, post);
    if (job->f != NULL)
        settle(job->f, discard);
    np_job_end(job);
}

static const np_type post_type = {.name = "job", .arrived = arrived};

/* ---- The future */

static void destroy_errand(np_obj *obj) {
    errand *e = of_future(np_container(obj, neap_future, obj));
    np_future_fini(&e->f);
    np_obj_free(obj, sizeof *e);
}

/* A job that is over has won; its mail comes later and finds nobody. */
static int32_t cancel(neap_future *f, const char *msg) {
    neap_job *job = of_future(f)->job;
    uint8_t state = np_pool_take_back(job);
    if (state == NP_JOB_OVER) {
        settle(f, false);
        return 0;
    }
    part(f);
    if (state == NP_JOB_QUEUED)
        np_job_end(job);
    np_future_settle_cancelled(f, msg);
    np_future_deactivate(f);
    return 1;
}

static void end(neap_future *f) {
    neap_job *job = of_future(f)->job;
    uint8_t state = np_pool_take_back(job);
    part(f);
    if (state == NP_JOB_QUEUED)
        np_job_end(job);
    np_future_settle_error(f, NEAP_ECLOSED, NULL);
    np_future_deactivate(f);
}

static const char *what(const neap_future *f) {
    const neap_job *job = of_future(f)->job;
    return job == NULL || job->fn != NULL ? "the job" : "the threads";
}

static void detail(const neap_future *f, char *buf, size_t cap) {
    neap_job *job = of_future(f)->job;
    if (job == NULL)
        return;
    const char *pool = job->pool->options.name;
    if (job->fn == NULL)
        snprintf(buf, cap, " of the pool %s", pool);
    else
        snprintf(buf, cap, " %s (%s the pool %s)", job->name,
                 np_pool_state_of(job) == NP_JOB_QUEUED ? "queued in" : "runs in", pool);
}

static const np_future_type errand_type = {.base = {.name = "errand", .destroy = destroy_errand},
                                           .cancel = cancel,
                                           .end = end,
                                           .what = what,
                                           .detail = detail};

/* ---- Submitting */

static neap_job *new_job(neap_pool *pool, const neap_job_options *o) {
    const char *name = o->name != NULL ? o->name : "job";
    size_t size = sizeof(neap_job) + strlen(name) + 1;
    neap_job *job = np_alloc_get(pool->alloc, size);
    if (job == NULL)
        return NULL;
    memset(job, 0, sizeof *job);
    np_list_init(&job->link);
    np_pool_keep(pool);
    job->pool = pool;
    job->finish = o->finish;
    job->post.type = &post_type;
    job->size = size;
    memcpy(job->name, name, strlen(name) + 1);
    return job;
}

/* The news of its end goes to the loop. */
static void address(neap_job *job, neap_loop *loop) {
    job->post.loop = loop;
    np_loop_keep(loop);
}

/* The job has a future from now on, which the runtime will complete. */
static int32_t expect(neap_job *job, neap_loop *loop) {
    neap_future *f = np_future_new(loop, &errand_type, sizeof(errand));
    if (f == NULL)
        return NEAP_ENOMEM;
    f->flags |= NP_F_RESOURCE | NP_F_ACTIVE;
    of_future(f)->job = job;
    job->f = f;
    address(job, loop);
    loop->jobs++;
    return 0;
}

/* The job was not taken: nothing of it is left, and its `user` is still the caller's. */
static void give_up(neap_job *job) {
    neap_future *f = job->f;
    if (f != NULL) {
        part(f);
        np_future_unref(f);
    }
    job->destroy = NULL;
    np_job_end(job);
}

/* NEAP_PENDING if the job was taken.  The news may only be read on this thread, so the future is still there then. */
static int32_t hand_over(neap_job *job, neap_loop *loop, int32_t (*to)(neap_pool *, neap_job *),
                         neap_future **ret_future) {
    int32_t rc = ret_future != NULL ? expect(job, loop) : 0;
    neap_future *f = job->f;
    if (ret_future == NULL && loop != NULL)
        address(job, loop);
    if (rc == 0)
        rc = to(job->pool, job);
    if (rc != NEAP_PENDING) {
        give_up(job);
    } else if (f != NULL) {
        np_future_ref(f);
        (void)np_future_give(f, ret_future);
    }
    return rc;
}

static int32_t may_submit(neap_pool *pool, neap_loop *loop, neap_future **ret_future) {
    if (pool == NULL || (loop == NULL && ret_future != NULL))
        return NEAP_EINVAL;
    int32_t rc = ret_future != NULL ? np_enter(loop) : loop != NULL ? np_enter_any(loop) : 0;
    return rc < 0 ? rc : np_pool_forked(pool) ? NEAP_EFORKED : 0;
}

static int32_t submit(neap_pool *pool, neap_loop *loop, neap_job_fn fn, void *user,
                      neap_destroy_fn destroy_user, const neap_job_options *options,
                      neap_future **ret_future) {
    neap_job_options o;
    int32_t rc = fn == NULL ? NEAP_EINVAL : may_submit(pool, loop, ret_future);
    if (rc == 0)
        rc = np_options_read(&o, sizeof o, options);
    neap_job *job = rc < 0 ? NULL : new_job(pool, &o);
    if (job == NULL)
        return rc < 0 ? rc : NEAP_ENOMEM;
    job->fn = fn;
    job->user = user;
    job->destroy = destroy_user;
    rc = hand_over(job, loop, np_pool_add, ret_future);
    return rc == NEAP_PENDING ? 0 : rc;
}

int32_t neap_pool_submit(neap_pool *pool, neap_loop *loop, neap_job_fn fn, void *user,
                         neap_destroy_fn destroy, const neap_job_options *options,
                         neap_future **ret_future) {
    int32_t rc = submit(pool, loop, fn, user, destroy, options, ret_future);
    if (rc < 0 && destroy != NULL)
        destroy(user);
    return rc;
}

int32_t neap_pool_closed(neap_pool *pool, neap_loop *loop, neap_future **ret_future) {
    const neap_job_options none = {.size = sizeof none};
    int32_t rc = ret_future == NULL ? NEAP_EINVAL : may_submit(pool, loop, ret_future);
    neap_job *job = rc < 0 ? NULL : new_job(pool, &none);
    if (job == NULL)
        return rc < 0 ? rc : NEAP_ENOMEM;
    return hand_over(job, loop, np_pool_watch, ret_future);
}

int32_t neap_job_wanted(const neap_job *job) {
    return job == NULL ? NEAP_EINVAL : !atomic_load_explicit(&job->unwanted, memory_order_relaxed);
}

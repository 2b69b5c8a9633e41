/* looppool.c: the pools of a loop: its own, made when they are first used and ended with it, or those it was given. */
#include <stdio.h>

#include "sys/pool.h"
#include "sys/sys.h"

#define CLOSE_WAIT_NS (NP_NS_PER_S / 2)

static const neap_pool_options kinds[NP_LOOP_POOLS] = {
    [NEAP_POOL_FILES] = {.name = "files", .threads_max = 4, .queue_max = -1},
    [NEAP_POOL_NAMES] = {.name = "names", .threads_max = 4, .queue_max = -1},
    [NEAP_POOL_USER] = {.name = "user", .threads_max = 8},
};

static int32_t may_use(neap_loop *loop, int32_t which) {
    if (loop == NULL || which < 0 || which >= NP_LOOP_POOLS)
        return NEAP_EINVAL;
    return np_enter(loop);
}

int32_t np_loop_pool(neap_loop *loop, int32_t which, neap_pool **ret_pool) {
    np_loop_pool_slot *slot = &loop->pools[which];
    if (slot->pool == NULL) {
        int32_t rc = np_pool_new(loop->alloc, &kinds[which], &slot->pool);
        if (rc < 0)
            return rc;
        slot->own = true;
        np_sys_attach(loop);
    }
    *ret_pool = slot->pool;
    return 0;
}

int32_t neap_loop_pool(neap_loop *loop, int32_t which, neap_pool **ret_pool) {
    int32_t rc = ret_pool == NULL ? NEAP_EINVAL : may_use(loop, which);
    if (rc == 0)
        rc = np_loop_pool(loop, which, ret_pool);
    if (rc == 0)
        (void)neap_pool_ref(*ret_pool);
    return rc;
}

int32_t neap_loop_set_pool(neap_loop *loop, int32_t which, neap_pool *pool) {
    int32_t rc = may_use(loop, which);
    if (rc < 0)
        return rc;
    np_loop_pool_slot *slot = &loop->pools[which];
    neap_pool *old = slot->pool;
    slot->pool = pool != NULL ? neap_pool_ref(pool) : NULL;
    slot->own = false;
    np_sys_attach(loop);
    neap_pool_unref(old);
    return 0;
}

typedef struct leaving {
    neap_loop *loop;
    const neap_pool *pool;
} leaving;

static void report_left(const char *name, int64_t running_ns, void *user) {
    const leaving *l = user;
    char text[512];
    snprintf(
        text, sizeof text,
        "the job %s of the pool %s has run for %.4g s and did not end with its loop: it goes on "
        "alone",
        name, l->pool->options.name, (double)running_ns / 1e9);
    np_logf(l->loop, NEAP_LOG_WARNING, "%s", text);
    np_report(l->loop,
              (neap_report){.kind = NEAP_REPORT_LEFT, .message = text, .elapsed_ns = running_ns});
}

static void end_own(neap_loop *loop, neap_pool *pool) {
    leaving l = {loop, pool};
    np_pool_unwant(pool);
    (void)neap_pool_shutdown(pool, CLOSE_WAIT_NS, 0, report_left, &l);
}

void np_pools_close_all(neap_loop *loop) {
    for (int i = 0; i < NP_LOOP_POOLS; i++) {
        np_loop_pool_slot *slot = &loop->pools[i];
        neap_pool *pool = slot->pool;
        slot->pool = NULL;
        if (pool != NULL && slot->own)
            end_own(loop, pool);
        neap_pool_unref(pool);
    }
}

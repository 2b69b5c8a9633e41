/* timer.c: the timers' heap in the service of the loop, and sleep. */
#include "base/clock.h"
#include "core/future.h"

void np_timer_init(np_timer *t, void (*due)(neap_loop *loop, np_timer *timer, bool ended)) {
    t->heap.number = NP_HEAP_OUT;
    t->due = due;
}

/* A host that sleeps must learn of a deadline that comes before the one it knows. */
static void nudge_if_first(neap_loop *loop, const np_timer *t) {
    if (np_heap_is_first(&loop->timers, &t->heap))
        np_loop_nudge(loop);
}

int32_t np_timer_start(neap_loop *loop, np_timer *t, int64_t when) {
    int32_t rc = np_heap_add(&loop->timers, &t->heap, when);
    if (rc == 0)
        nudge_if_first(loop, t);
    return rc;
}

void np_timer_move(neap_loop *loop, np_timer *t, int64_t when) {
    np_heap_move(&loop->timers, &t->heap, when);
    nudge_if_first(loop, t);
}

void np_timer_stop(neap_loop *loop, np_timer *t) {
    np_heap_remove(&loop->timers, &t->heap);
}

/* ---- Sleep: a future with a timer inside */

typedef struct sleep_future {
    neap_future f;
    np_timer timer;
} sleep_future;

static void destroy(np_obj *obj) {
    sleep_future *s = np_container(obj, sleep_future, f.obj);
    np_timer_stop(obj->loop, &s->timer);
    np_future_fini(&s->f);
    np_obj_free(obj, sizeof *s);
}

static void due(neap_loop *loop, np_timer *t, bool ended) {
    sleep_future *s = np_container(t, sleep_future, timer);
    (void)loop;
    if (ended)
        np_future_settle_error(&s->f, NEAP_ECLOSED, NULL);
    else
        np_future_settle(&s->f, NEAP_STATE_RESULT);
    np_future_deactivate(&s->f);
}

static int32_t cancel(neap_future *f, const char *msg) {
    sleep_future *s = np_container(f, sleep_future, f);
    np_timer_stop(f->obj.loop, &s->timer);
    np_future_settle_cancelled(f, msg);
    np_future_deactivate(f);
    return 1;
}

static const np_future_type sleep_type = {.base = {.name = "a sleep", .destroy = destroy},
                                          .cancel = cancel};

int32_t neap_sleep(neap_loop *loop, int64_t delay_ns, neap_future **ret_future) {
    if (loop == NULL || ret_future == NULL)
        return NEAP_EINVAL;
    int32_t rc = np_enter(loop);
    if (rc < 0)
        return rc;
    neap_future *f = np_future_new(loop, &sleep_type, sizeof(sleep_future));
    if (f == NULL)
        return NEAP_ENOMEM;
    sleep_future *s = np_container(f, sleep_future, f);
    np_timer_init(&s->timer, due);
    int64_t when = np_time_add(loop->now, delay_ns > 0 ? delay_ns : 0);
    if (when != NP_NEVER) {
        rc = np_timer_start(loop, &s->timer, when);
        if (rc < 0) {
            np_future_unref(f);
            return rc;
        }
        f->flags |= NP_F_ACTIVE; /* the timer will complete it, also if nobody looks */
        np_future_ref(f);
    }
    return np_future_give(f, ret_future);
}

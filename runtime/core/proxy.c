/* proxy.c: shield and wait_for: a future with the outcome of another. */
#include "base/clock.h"
#include "core/future.h"

typedef struct proxy {
    neap_future f;
    np_waiter w;
    np_timer timer;     /* of wait_for */
    neap_future *inner; /* held while pending */
    bool timed_out;
} proxy;

static proxy *of_future(neap_future *f) {
    return np_container(f, proxy, f);
}

static void detach(proxy *p) {
    np_timer_stop(p->f.obj.loop, &p->timer);
    if (p->w.node.where != NP_AT_NONE)
        np_dequeue(&p->w.node);
    if (p->inner != NULL)
        np_future_unref(p->inner);
    p->inner = NULL;
}

static void destroy(np_obj *obj) {
    proxy *p = of_future(np_container(obj, neap_future, obj));
    detach(p);
    np_future_fini(&p->f);
    np_obj_free(obj, sizeof *p);
}

static void end(neap_future *f) {
    detach(of_future(f));
    np_future_settle_error(f, NEAP_ECLOSED, NULL);
    np_future_deactivate(f);
}

static void inner_done(np_waiter *w) {
    proxy *p = np_container(w, proxy, w);
    neap_future *inner = p->inner;
    p->inner = NULL;
    np_timer_stop(p->f.obj.loop, &p->timer);
    if (p->timed_out && inner->state == NEAP_STATE_CANCELLED)
        np_future_settle_error(&p->f, NEAP_ETIMEOUT, NULL);
    else
        np_future_settle_as(&p->f, inner);
    np_future_unref(inner);
    np_future_deactivate(&p->f);
}

static int32_t cancel_shield(neap_future *f, const char *msg) {
    detach(of_future(f));
    np_future_settle_cancelled(f, msg);
    np_future_deactivate(f);
    return 1;
}

static int32_t cancel_wait_for(neap_future *f, const char *msg) {
    return np_future_cancel(of_future(f)->inner, msg);
}

static void timed_out(neap_loop *loop, np_timer *t, bool ended) {
    proxy *p = np_container(t, proxy, timer);
    (void)loop;
    if (ended)
        return;
    p->timed_out = true;
    np_future_cancel(p->inner, "the time is over");
}

static neap_future *part(const neap_future *f, size_t i) {
    return i == 0 ? np_container(f, proxy, f)->inner : NULL;
}

static const np_future_type shield_type = {.base = {.name = "a shield", .destroy = destroy},
                                           .cancel = cancel_shield,
                                           .end = end,
                                           .part = part};
static const np_future_type wait_for_type = {.base = {.name = "a wait_for", .destroy = destroy},
                                             .cancel = cancel_wait_for,
                                             .end = end,
                                             .part = part};

static proxy *make(neap_future *inner, const np_future_type *type) {
    neap_future *f = np_future_new(inner->obj.loop, type, sizeof(proxy));
    if (f == NULL)
        return NULL;
    proxy *p = of_future(f);
    np_ready_init(&p->w.node, NP_RUN_WAITER);
    p->w.fire = inner_done;
    np_timer_init(&p->timer, timed_out);
    return p;
}

static void start(proxy *p, neap_future *inner) {
    p->f.flags |= NP_F_ACTIVE;
    np_future_ref(&p->f);
    np_future_ref(inner);
    p->inner = inner;
    np_future_wait(inner, &p->w.node);
}

static int32_t begin(neap_future *future, neap_future **ret_future, const np_future_type *type,
                     proxy **ret_proxy) {
    int32_t rc = future == NULL || ret_future == NULL ? NEAP_EINVAL : np_enter(future->obj.loop);
    if (rc < 0)
        return rc;
    *ret_proxy = make(future, type);
    return *ret_proxy == NULL ? NEAP_ENOMEM : 0;
}

int32_t neap_shield(neap_future *future, neap_future **ret_future) {
    proxy *p;
    int32_t rc = begin(future, ret_future, &shield_type, &p);
    if (rc < 0)
        return rc;
    if (np_future_pending(future))
        start(p, future);
    else
        np_future_settle_as(&p->f, future);
    return np_future_give(&p->f, ret_future);
}

int32_t neap_wait_for(neap_future *future, int64_t timeout_ns, neap_future **ret_future) {
    proxy *p;
    int32_t rc = begin(future, ret_future, &wait_for_type, &p);
    if (rc < 0)
        return rc;
    if (!np_future_pending(future)) {
        np_future_settle_as(&p->f, future);
        return np_future_give(&p->f, ret_future);
    }
    neap_loop *loop = future->obj.loop;
    int64_t deadline = timeout_ns < 0 ? NP_NEVER : np_time_add(loop->now, timeout_ns);
    if (timeout_ns > 0 && deadline != NP_NEVER &&
        (rc = np_timer_start(loop, &p->timer, deadline)) < 0) {
        np_future_unref(&p->f);
        return rc;
    }
    start(p, future);
    np_future_give(&p->f, ret_future);
    if (timeout_ns == 0)
        timed_out(loop, &p->timer, false);
    return 0;
}

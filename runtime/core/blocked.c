/* blocked.c: who waits until everything else does.  In order of cushion, then of asking. */
#include "core/future.h"

typedef struct blocked_future {
    neap_future f;
    np_list link; /* in loop->blocked while pending */
    int64_t cushion;
} blocked_future;

static blocked_future *at(np_list *link) {
    return np_container(link, blocked_future, link);
}

static void destroy(np_obj *obj) {
    blocked_future *b = np_container(obj, blocked_future, f.obj);
    np_list_unlink(&b->link);
    np_future_fini(&b->f);
    np_obj_free(obj, sizeof *b);
}

static int32_t cancel(neap_future *f, const char *msg) {
    np_list_unlink(&np_container(f, blocked_future, f)->link);
    np_future_settle_cancelled(f, msg);
    np_future_deactivate(f);
    return 1;
}

static void end(neap_future *f) {
    np_list_unlink(&np_container(f, blocked_future, f)->link);
    np_future_settle_error(f, NEAP_ECLOSED, NULL);
    np_future_deactivate(f);
}

static const char *what(const neap_future *f) {
    (void)f;
    return "all others to be blocked";
}

static const np_future_type blocked_type = {
    .base = {.name = "blocked", .destroy = destroy}, .cancel = cancel, .end = end, .what = what};

int64_t np_blocked_cushion(const neap_loop *loop) {
    return at(loop->blocked.next)->cushion;
}

void np_blocked_serve(neap_loop *loop) {
    blocked_future *b = at(np_list_pop(&loop->blocked));
    np_future_settle(&b->f, NEAP_STATE_RESULT);
    np_future_deactivate(&b->f);
}

int32_t neap_wait_all_blocked(neap_loop *loop, int64_t cushion_ns, neap_future **ret_future) {
    int32_t rc = loop == NULL || ret_future == NULL ? NEAP_EINVAL : np_enter(loop);
    if (rc == 0 && loop->hosted)
        rc = NEAP_ENOTSUP;
    if (rc < 0)
        return rc;
    neap_future *f = np_future_new(loop, &blocked_type, sizeof(blocked_future));
    if (f == NULL)
        return NEAP_ENOMEM;
    blocked_future *b = np_container(f, blocked_future, f);
    b->cushion = cushion_ns > 0 ? cushion_ns : 0;
    np_list *next = loop->blocked.next;
    while (next != &loop->blocked && at(next)->cushion <= b->cushion)
        next = next->next;
    np_list_init(&b->link);
    np_list_append(next, &b->link);
    f->flags |= NP_F_ACTIVE;
    np_future_ref(f);
    return np_future_give(f, ret_future);
}

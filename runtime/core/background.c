/* background.c: tasks that look after the program and are no part of it: what they wait for keeps nothing alive, and they end
   when everything else has ended. */
#include "core/scope.h"

enum {
    TURNS = 64 /* of a millisecond at most, for their clean-up */
};

static uint32_t deadlines_of(const neap_task *t) {
    uint32_t n = np_heap_has(&t->timer.heap);
    for (const neap_scope *s = np_task_scope(t); s != NULL && s->owner == t; s = s->parent)
        n += np_heap_has(&s->timer.heap);
    return n;
}

static bool has_operation(const neap_task *t) {
    return t->awaiting != NULL && np_future_pending(t->awaiting) &&
           np_future_type_of(t->awaiting)->operation;
}

np_backstage np_background_wakers(const neap_loop *loop) {
    np_backstage b = {0, 0};
    for (np_list *at = loop->background.next; at != &loop->background; at = at->next) {
        const neap_task *t = np_container(at, neap_task, f.all);
        if (!np_list_empty(&t->f.waiters)) /* the program wants it after all */
            continue;
        b.timers += deadlines_of(t);
        b.operations += has_operation(t);
    }
    return b;
}

static void cancel_all(neap_loop *loop) {
    for (np_list *at = loop->background.next; at != &loop->background; at = at->next)
        np_task_cancel(np_container(at, neap_task, f.all), "the loop shuts down");
}

void np_background_end(neap_loop *loop) {
    cancel_all(loop);
    for (int n = 0; n < TURNS && !np_list_empty(&loop->background); n++)
        if (np_tick(loop, NP_NS_PER_S / 1000) < 0)
            break;
    while (!np_list_empty(&loop->background))
        np_task_abort(np_container(loop->background.next, neap_task, f.all));
}

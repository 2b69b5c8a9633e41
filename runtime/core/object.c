#include "core/object.h"

#include "core/loop.h"

void *np_obj_new(neap_loop *loop, const np_type *type, size_t size) {
    np_obj *obj = np_pool_get(&loop->pool, size);
    if (obj != NULL)
        np_obj_init(obj, loop, type);
    return obj;
}

void np_obj_init(np_obj *obj, neap_loop *loop, const np_type *type) {
    obj->loop = loop;
    obj->type = type;
    atomic_init(&obj->outer, 0);
    obj->refs = 1;
    if (loop->objects++ == 0)
        np_loop_keep(loop);
}

static void count_down(neap_loop *loop) {
    if (--loop->objects == 0)
        np_loop_let_go(loop);
}

void np_obj_free(np_obj *obj, size_t size) {
    neap_loop *loop = obj->loop;
    np_pool_put(&loop->pool, obj, size);
    count_down(loop);
}

void np_obj_free_own(np_obj *obj, size_t size) {
    neap_loop *loop = obj->loop;
    np_alloc_put(loop->alloc, obj, size);
    count_down(loop);
}

void np_obj_publish(np_obj *obj) {
    atomic_store_explicit(&obj->outer, NP_OUTER_ONE, memory_order_relaxed);
}

/* With the mail on its way the inner reference is still there. */
void np_obj_outer_ref(np_obj *obj) {
    if (atomic_load_explicit(&obj->outer, memory_order_relaxed) != 0) {
        atomic_fetch_add_explicit(&obj->outer, NP_OUTER_ONE, memory_order_relaxed);
    } else {
        atomic_store_explicit(&obj->outer, NP_OUTER_ONE, memory_order_relaxed);
        np_obj_ref(obj);
    }
}

static void drop_outer(np_obj *obj) {
    if (obj->type->abandoned != NULL)
        obj->type->abandoned(obj);
    np_obj_unref(obj);
}

static void came_home(np_obj *obj) {
    unsigned old = atomic_fetch_and_explicit(&obj->outer, ~NP_OUTER_QUEUED, memory_order_acq_rel);
    if (old == NP_OUTER_QUEUED)
        drop_outer(obj);
}

void np_obj_deliver(np_mail *mail, bool discard) {
    np_obj *obj = np_container(mail, np_obj, mail);
    if (obj->type->arrived != NULL)
        obj->type->arrived(obj, discard);
    else
        came_home(obj);
}

/* The count goes down from 1 on a thread that may not touch the object's inner counters. */
static void send_home(np_obj *obj) {
    neap_loop *loop = obj->loop;
    np_loop_keep(loop); /* putting may deliver, and delivering may end the loop's memory */
    np_mailbox_put_always(&loop->mail, &obj->mail);
    np_loop_wake_if_asleep(loop);
    np_loop_let_go(loop);
}

static void unref_elsewhere(np_obj *obj) {
    unsigned old = atomic_load_explicit(&obj->outer, memory_order_relaxed);
    unsigned new;
    do
        new = old == NP_OUTER_ONE ? NP_OUTER_QUEUED : old - NP_OUTER_ONE;
    while (!atomic_compare_exchange_weak_explicit(&obj->outer, &old, new, memory_order_acq_rel,
                                                  memory_order_relaxed));
    if (old == NP_OUTER_ONE)
        send_home(obj);
}

/* On the loop's thread; true if that was the last one. */
static bool drop_count(np_obj *obj) {
    if (atomic_load_explicit(&obj->outer, memory_order_acquire) != NP_OUTER_ONE)
        return atomic_fetch_sub_explicit(&obj->outer, NP_OUTER_ONE, memory_order_acq_rel) ==
               NP_OUTER_ONE;
    atomic_store_explicit(&obj->outer, 0, memory_order_relaxed);
    return true;
}

void np_obj_outer_unref(np_obj *obj) {
    if (!np_loop_owns_objects(obj->loop)) {
        unref_elsewhere(obj);
        return;
    }
    if (drop_count(obj))
        drop_outer(obj);
}

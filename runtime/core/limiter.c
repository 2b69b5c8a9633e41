/* limiter.c: limiters: semaphores that know who has their tokens.  The numbers of the holders stand in order in an array that
   has room for all tokens that were ever out at once. */
#include <string.h>

#include "core/lot.h"

struct neap_limiter {
    np_obj obj;
    np_lot waiters;    /* only while all tokens are out */
    uint64_t *holders; /* numbers of tasks, ascending */
    size_t borrowed, room, total;
};

enum {
    ROOM_MIN = 8
};

/* ---- Holders */

/* The first holder that is not below the task's number. */
static size_t place_of(const neap_limiter *l, uint64_t task) {
    size_t low = 0, high = l->borrowed;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (l->holders[middle] < task)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool has(const neap_limiter *l, uint64_t task) {
    size_t place = place_of(l, task);
    return place < l->borrowed && l->holders[place] == task;
}

static int32_t make_room(neap_limiter *l, size_t n) {
    size_t room = l->room == 0 ? ROOM_MIN : l->room;
    while (room < n)
        room *= 2;
    if (room == l->room)
        return 0;
    uint64_t *holders = np_alloc_get(l->obj.loop->alloc, room * sizeof *holders);
    if (holders == NULL)
        return NEAP_ENOMEM;
    if (l->borrowed > 0)
        memcpy(holders, l->holders, l->borrowed * sizeof *holders);
    np_alloc_put(l->obj.loop->alloc, l->holders, l->room * sizeof *holders);
    l->holders = holders;
    l->room = room;
    return 0;
}

static void add(neap_limiter *l, uint64_t task) {
    size_t place = place_of(l, task);
    memmove(&l->holders[place + 1], &l->holders[place], (l->borrowed - place) * sizeof *l->holders);
    l->holders[place] = task;
    l->borrowed++;
}

static void take_out(neap_limiter *l, uint64_t task) {
    size_t place = place_of(l, task);
    l->borrowed--;
    memmove(&l->holders[place], &l->holders[place + 1], (l->borrowed - place) * sizeof *l->holders);
}

/* ---- Made and gone */

static void destroy(np_obj *obj) {
    neap_limiter *l = np_container(obj, neap_limiter, obj);
    np_alloc_put(obj->loop->alloc, l->holders, l->room * sizeof *l->holders);
    np_obj_free(obj, sizeof *l);
}

static const np_type limiter_type = {.name = "a limiter", .destroy = destroy};

int32_t neap_limiter_new(neap_loop *loop, uint32_t total, neap_limiter **ret_limiter) {
    int32_t rc = loop == NULL || ret_limiter == NULL ? NEAP_EINVAL : np_enter(loop);
    neap_limiter *l = rc < 0 ? NULL : np_obj_new(loop, &limiter_type, sizeof *l);
    if (l == NULL)
        return rc < 0 ? rc : NEAP_ENOMEM;
    np_lot_init(&l->waiters, &l->obj);
    l->total = total;
    np_obj_publish(&l->obj);
    *ret_limiter = l;
    return 0;
}

neap_limiter *neap_limiter_ref(neap_limiter *limiter) {
    np_obj_outer_ref(&limiter->obj);
    return limiter;
}

void neap_limiter_unref(neap_limiter *limiter) {
    if (limiter != NULL)
        np_obj_outer_unref(&limiter->obj);
}

/* ---- Tokens */

int32_t neap_limiter_acquire(neap_limiter *limiter, neap_future **ret_future) {
    int32_t rc = limiter == NULL ? NEAP_EINVAL : np_enter(limiter->obj.loop);
    if (rc < 0)
        return rc;
    uint64_t me = np_current_task_id(limiter->obj.loop);
    if (me == 0)
        return NEAP_ENO_TASK;
    if (has(limiter, me))
        return NEAP_EDEADLOCK;
    if (limiter->borrowed >= limiter->total)
        return np_lot_wait(&limiter->waiters, ret_future);
    rc = make_room(limiter, limiter->borrowed + 1);
    if (rc == 0)
        add(limiter, me);
    return rc;
}

/* There is room for all that are out. */
static void hand_out(neap_limiter *l) {
    while (l->borrowed < l->total && l->waiters.len > 0) {
        np_parked *next = np_lot_first(&l->waiters);
        add(l, next->task);
        np_lot_let_go(next, NULL);
    }
}

int32_t neap_limiter_release(neap_limiter *limiter) {
    int32_t rc = limiter == NULL ? NEAP_EINVAL : np_enter(limiter->obj.loop);
    if (rc < 0)
        return rc;
    uint64_t me = np_current_task_id(limiter->obj.loop);
    if (me == 0 || !has(limiter, me))
        return NEAP_EPERM;
    take_out(limiter, me);
    hand_out(limiter);
    return 0;
}

int32_t neap_limiter_set_total(neap_limiter *limiter, uint32_t total) {
    int32_t rc = limiter == NULL ? NEAP_EINVAL : np_enter(limiter->obj.loop);
    if (rc < 0)
        return rc;
    size_t more = total > limiter->borrowed ? total - limiter->borrowed : 0;
    if (more > limiter->waiters.len)
        more = limiter->waiters.len;
    rc = make_room(limiter, limiter->borrowed + more);
    if (rc < 0)
        return rc;
    limiter->total = total;
    hand_out(limiter);
    return 0;
}

int64_t neap_limiter_total(neap_limiter *limiter) {
    int32_t rc = limiter == NULL ? NEAP_EINVAL : np_look(limiter->obj.loop);
    return rc < 0 ? rc : (int64_t)limiter->total;
}

int64_t neap_limiter_borrowed(neap_limiter *limiter) {
    int32_t rc = limiter == NULL ? NEAP_EINVAL : np_look(limiter->obj.loop);
    return rc < 0 ? rc : (int64_t)limiter->borrowed;
}

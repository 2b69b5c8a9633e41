/* lock.c: locks, and the conditions that tasks wait for with a lock.

   Who waits for a condition goes, once it is notified, to the end of the lock's queue, and its wait ends when it is handed the
   lock.  A cancelled one goes there, too: its wait ends as cancelled, but with the lock held, as its caller expects.  If it
   had been notified, the notification goes on to the next. */
#include "core/lot.h"

struct neap_lock {
    np_obj obj;
    np_lot waiters;  /* for the lock itself, or out of a condition */
    uint64_t holder; /* number of a task, 0: free; handed on at the release, not at the wake-up */
};

struct neap_cond {
    np_obj obj;
    neap_lock *lock; /* a reference */
    np_lot waiters;  /* who were not notified */
};

/* The wait for a condition. */
typedef struct cond_wait {
    np_parked parked;
    neap_cond *cond; /* a reference */
    bool cancelled;
} cond_wait;

static const np_future_type cond_wait_type;

static cond_wait *of_future(neap_future *f) {
    return np_container(f, cond_wait, parked.f);
}

/* ---- Locks */

/* The lock is the oldest waiter's from now on, or free. */
static void hand_on(neap_lock *lock) {
    np_parked *next = np_lot_first(&lock->waiters);
    lock->holder = next != NULL ? next->task : 0;
    if (next == NULL)
        return;
    if (next->f.obj.type == &cond_wait_type.base && of_future(&next->f)->cancelled)
        np_lot_cancel(next, NULL);
    else
        np_lot_let_go(next, NULL);
}

static void destroy_lock(np_obj *obj) {
    np_obj_free(obj, sizeof(neap_lock));
}

static uint64_t holder_of(const np_obj *obj) {
    return np_container(obj, neap_lock, obj)->holder;
}

static const np_type lock_type = {.name = "a lock", .destroy = destroy_lock, .holder = holder_of};

int32_t neap_lock_new(neap_loop *loop, neap_lock **ret_lock) {
    int32_t rc = loop == NULL || ret_lock == NULL ? NEAP_EINVAL : np_enter(loop);
    neap_lock *lock = rc < 0 ? NULL : np_obj_new(loop, &lock_type, sizeof *lock);
    if (lock == NULL)
        return rc < 0 ? rc : NEAP_ENOMEM;
    np_lot_init(&lock->waiters, &lock->obj);
    np_obj_publish(&lock->obj);
    *ret_lock = lock;
    return 0;
}

neap_lock *neap_lock_ref(neap_lock *lock) {
    np_obj_outer_ref(&lock->obj);
    return lock;
}

void neap_lock_unref(neap_lock *lock) {
    if (lock != NULL)
        np_obj_outer_unref(&lock->obj);
}

int32_t neap_lock_acquire(neap_lock *lock, neap_future **ret_future) {
    int32_t rc = lock == NULL ? NEAP_EINVAL : np_enter(lock->obj.loop);
    if (rc < 0)
        return rc;
    uint64_t me = np_current_task_id(lock->obj.loop);
    if (me == 0)
        return NEAP_ENO_TASK;
    if (lock->holder == me)
        return NEAP_EDEADLOCK;
    if (lock->holder != 0)
        return np_lot_wait(&lock->waiters, ret_future);
    lock->holder = me;
    return 0;
}

static bool is_held_here(const neap_lock *lock) {
    return lock->holder != 0 && lock->holder == np_current_task_id(lock->obj.loop);
}

int32_t neap_lock_release(neap_lock *lock) {
    int32_t rc = lock == NULL ? NEAP_EINVAL : np_enter(lock->obj.loop);
    if (rc < 0)
        return rc;
    if (!is_held_here(lock))
        return NEAP_EPERM;
    hand_on(lock);
    return 0;
}

uint64_t neap_lock_holder(neap_lock *lock) {
    return np_look(lock->obj.loop) < 0 ? 0 : lock->holder;
}

/* ---- Conditions */

static void destroy_cond(np_obj *obj) {
    neap_cond *cond = np_container(obj, neap_cond, obj);
    np_obj_unref(&cond->lock->obj);
    np_obj_free(obj, sizeof *cond);
}

static const np_type cond_type = {.name = "a condition", .destroy = destroy_cond};

int32_t neap_cond_new(neap_lock *lock, neap_cond **ret_cond) {
    int32_t rc = lock == NULL || ret_cond == NULL ? NEAP_EINVAL : np_enter(lock->obj.loop);
    neap_cond *cond = rc < 0 ? NULL : np_obj_new(lock->obj.loop, &cond_type, sizeof *cond);
    if (cond == NULL)
        return rc < 0 ? rc : NEAP_ENOMEM;
    np_lot_init(&cond->waiters, &cond->obj);
    np_obj_ref(&lock->obj);
    cond->lock = lock;
    np_obj_publish(&cond->obj);
    *ret_cond = cond;
    return 0;
}

neap_cond *neap_cond_ref(neap_cond *cond) {
    np_obj_outer_ref(&cond->obj);
    return cond;
}

void neap_cond_unref(neap_cond *cond) {
    if (cond != NULL)
        np_obj_outer_unref(&cond->obj);
}

static void destroy_wait(np_obj *obj) {
    cond_wait *w = of_future(np_container(obj, neap_future, obj));
    neap_cond *cond = w->cond;
    np_lot_fini(&w->parked);
    np_obj_free(obj, sizeof *w);
    if (cond != NULL)
        np_obj_unref(&cond->obj);
}

/* The oldest goes over to the lock, which somebody holds. */
static bool notify_one(neap_cond *cond) {
    np_parked *p = np_lot_first(&cond->waiters);
    if (p != NULL)
        np_lot_move(p, &cond->lock->waiters);
    return p != NULL;
}

/* The request is heard once the lock is there. */
static int32_t cancel_wait(neap_future *f, const char *msg) {
    cond_wait *w = of_future(f);
    neap_cond *cond = w->cond;
    if (w->cancelled)
        return 1;
    w->cancelled = true;
    np_future_set_message(f, msg);
    if (w->parked.lot != &cond->waiters)
        (void)notify_one(cond);
    else
        np_lot_move(&w->parked, &cond->lock->waiters);
    if (cond->lock->holder == 0)
        hand_on(cond->lock);
    return 1;
}

static void end_wait(neap_future *f) {
    np_lot_refuse(&of_future(f)->parked, NEAP_ECLOSED);
}

static const np_future_type cond_wait_type = {.base = {.name = "parked", .destroy = destroy_wait},
                                              .cancel = cancel_wait,
                                              .end = end_wait,
                                              .what = np_lot_what,
                                              .holder = np_lot_holder};

int32_t neap_cond_wait(neap_cond *cond, neap_future **ret_future) {
    int32_t rc = cond == NULL || ret_future == NULL ? NEAP_EINVAL : np_enter(cond->obj.loop);
    if (rc < 0)
        return rc;
    if (!is_held_here(cond->lock))
        return NEAP_EPERM;
    np_parked *p = np_lot_park(&cond->waiters, &cond_wait_type, sizeof(cond_wait));
    if (p == NULL)
        return NEAP_ENOMEM;
    np_obj_ref(&cond->obj);
    of_future(&p->f)->cond = cond;
    hand_on(cond->lock);
    (void)np_future_give(&p->f, ret_future);
    return NEAP_PENDING;
}

int32_t neap_cond_notify(neap_cond *cond, int32_t n) {
    int32_t rc = cond == NULL ? NEAP_EINVAL : np_enter(cond->obj.loop);
    if (rc < 0)
        return rc;
    if (!is_held_here(cond->lock))
        return NEAP_EPERM;
    while ((n < 0 || rc < n) && notify_one(cond))
        rc++;
    return rc;
}

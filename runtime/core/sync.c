/* sync.c: locks, semaphores and events. */
#include "core/lot.h"

struct neap_lock {
    np_obj obj;
    np_lot waiters;
    uint64_t holder; /* number of a task, 0: free; handed on at the release, not at the wake-up */
};

struct neap_sem {
    np_obj obj;
    np_lot waiters; /* only while there are no permits */
    int64_t permits;
};

struct neap_event {
    np_obj obj;
    np_lot waiters; /* only while it is not set */
    bool set;
};

static int32_t park(np_lot *lot, np_obj *owner, neap_future **ret_future) {
    if (ret_future == NULL)
        return NEAP_EAGAIN;
    np_parked *p = np_lot_park(lot, owner);
    if (p == NULL)
        return NEAP_ENOMEM;
    (void)np_future_give(&p->f, ret_future);
    return NEAP_PENDING;
}

/* ---- Locks */

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
    np_lot_init(&lock->waiters);
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
        return park(&lock->waiters, &lock->obj, ret_future);
    lock->holder = me;
    return 0;
}

int32_t neap_lock_release(neap_lock *lock) {
    int32_t rc = lock == NULL ? NEAP_EINVAL : np_enter(lock->obj.loop);
    if (rc < 0)
        return rc;
    if (lock->holder == 0 || lock->holder != np_current_task_id(lock->obj.loop))
        return NEAP_EPERM;
    np_parked *next = np_lot_first(&lock->waiters);
    lock->holder = next != NULL ? next->task : 0;
    if (next != NULL)
        np_lot_let_go(next, NULL);
    return 0;
}

uint64_t neap_lock_holder(neap_lock *lock) {
    return np_look(lock->obj.loop) < 0 ? 0 : lock->holder;
}

/* ---- Semaphores */

static void destroy_sem(np_obj *obj) {
    np_obj_free(obj, sizeof(neap_sem));
}

static const np_type sem_type = {.name = "a semaphore", .destroy = destroy_sem};

int32_t neap_sem_new(neap_loop *loop, int64_t permits, neap_sem **ret_sem) {
    int32_t rc = loop == NULL || ret_sem == NULL ? NEAP_EINVAL : np_enter(loop);
    if (rc == 0 && permits < 0)
        rc = NEAP_EVALUE;
    neap_sem *sem = rc < 0 ? NULL : np_obj_new(loop, &sem_type, sizeof *sem);
    if (sem == NULL)
        return rc < 0 ? rc : NEAP_ENOMEM;
    np_lot_init(&sem->waiters);
    sem->permits = permits;
    np_obj_publish(&sem->obj);
    *ret_sem = sem;
    return 0;
}

neap_sem *neap_sem_ref(neap_sem *sem) {
    np_obj_outer_ref(&sem->obj);
    return sem;
}

void neap_sem_unref(neap_sem *sem) {
    if (sem != NULL)
        np_obj_outer_unref(&sem->obj);
}

int32_t neap_sem_acquire(neap_sem *sem, neap_future **ret_future) {
    int32_t rc = sem == NULL ? NEAP_EINVAL : np_enter(sem->obj.loop);
    if (rc < 0)
        return rc;
    if (sem->permits == 0)
        return park(&sem->waiters, &sem->obj, ret_future);
    sem->permits--;
    return 0;
}

int32_t neap_sem_release(neap_sem *sem) {
    int32_t rc = sem == NULL ? NEAP_EINVAL : np_enter(sem->obj.loop);
    if (rc < 0)
        return rc;
    np_parked *next = np_lot_first(&sem->waiters);
    if (next != NULL)
        np_lot_let_go(next, NULL);
    else
        sem->permits++;
    return 0;
}

int64_t neap_sem_permits(neap_sem *sem) {
    int32_t rc = sem == NULL ? NEAP_EINVAL : np_look(sem->obj.loop);
    return rc < 0 ? rc : sem->permits;
}

/* ---- Events */

static void destroy_event(np_obj *obj) {
    np_obj_free(obj, sizeof(neap_event));
}

static const np_type event_type = {.name = "an event", .destroy = destroy_event};

int32_t neap_event_new(neap_loop *loop, neap_event **ret_event) {
    int32_t rc = loop == NULL || ret_event == NULL ? NEAP_EINVAL : np_enter(loop);
    neap_event *event = rc < 0 ? NULL : np_obj_new(loop, &event_type, sizeof *event);
    if (event == NULL)
        return rc < 0 ? rc : NEAP_ENOMEM;
    np_lot_init(&event->waiters);
    np_obj_publish(&event->obj);
    *ret_event = event;
    return 0;
}

neap_event *neap_event_ref(neap_event *event) {
    np_obj_outer_ref(&event->obj);
    return event;
}

void neap_event_unref(neap_event *event) {
    if (event != NULL)
        np_obj_outer_unref(&event->obj);
}

int32_t neap_event_set(neap_event *event) {
    int32_t rc = event == NULL ? NEAP_EINVAL : np_enter(event->obj.loop);
    if (rc < 0 || event->set)
        return rc;
    np_parked *p;
    event->set = true;
    np_obj_ref(&event->obj);
    while ((p = np_lot_first(&event->waiters)) != NULL)
        np_lot_let_go(p, NULL);
    np_obj_unref(&event->obj);
    return 1;
}

int32_t neap_event_clear(neap_event *event) {
    int32_t rc = event == NULL ? NEAP_EINVAL : np_enter(event->obj.loop);
    if (rc < 0 || !event->set)
        return rc;
    event->set = false;
    return 1;
}

int32_t neap_event_is_set(neap_event *event) {
    int32_t rc = event == NULL ? NEAP_EINVAL : np_look(event->obj.loop);
    return rc < 0 ? rc : event->set;
}

int32_t neap_event_wait(neap_event *event, neap_future **ret_future) {
    int32_t rc = event == NULL ? NEAP_EINVAL : np_enter(event->obj.loop);
    if (rc < 0 || event->set)
        return rc;
    return park(&event->waiters, &event->obj, ret_future);
}

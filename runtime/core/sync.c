/* sync.c: semaphores, events and barriers. */
#include "core/lot.h"

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

struct neap_barrier {
    np_obj obj;
    np_lot waiters; /* fewer than parties */
    uint32_t parties;
    bool closed;
};

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
    np_lot_init(&sem->waiters, &sem->obj);
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
        return np_lot_wait(&sem->waiters, ret_future);
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
    np_lot_init(&event->waiters, &event->obj);
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
    event->set = true;
    np_lot_let_all_go(&event->waiters);
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
    return np_lot_wait(&event->waiters, ret_future);
}

/* ---- Barriers */

static void destroy_barrier(np_obj *obj) {
    np_obj_free(obj, sizeof(neap_barrier));
}

static const np_type barrier_type = {.name = "a barrier", .destroy = destroy_barrier};

int32_t neap_barrier_new(neap_loop *loop, uint32_t parties, neap_barrier **ret_barrier) {
    int32_t rc = loop == NULL || ret_barrier == NULL ? NEAP_EINVAL : np_enter(loop);
    if (rc == 0 && (parties == 0 || parties > INT32_MAX))
        rc = NEAP_EVALUE;
    neap_barrier *barrier = rc < 0 ? NULL : np_obj_new(loop, &barrier_type, sizeof *barrier);
    if (barrier == NULL)
        return rc < 0 ? rc : NEAP_ENOMEM;
    np_lot_init(&barrier->waiters, &barrier->obj);
    barrier->parties = parties;
    np_obj_publish(&barrier->obj);
    *ret_barrier = barrier;
    return 0;
}

neap_barrier *neap_barrier_ref(neap_barrier *barrier) {
    np_obj_outer_ref(&barrier->obj);
    return barrier;
}

void neap_barrier_unref(neap_barrier *barrier) {
    if (barrier != NULL)
        np_obj_outer_unref(&barrier->obj);
}

/* The last one has come: each of the others gets its number.  Who stands here twice, in a select, leaves twice at once. */
static int32_t open_barrier(neap_barrier *barrier) {
    np_obj_ref(&barrier->obj);
    int32_t last = (int32_t)barrier->waiters.len;
    for (int32_t i = 0; i < last && barrier->waiters.len > 0; i++) {
        np_item number = {.kind = NEAP_KIND_INT, .i = i};
        np_lot_let_go(np_lot_first(&barrier->waiters), &number);
    }
    np_obj_unref(&barrier->obj);
    return last;
}

int32_t neap_barrier_wait(neap_barrier *barrier, neap_future **ret_future) {
    int32_t rc = barrier == NULL ? NEAP_EINVAL : np_enter(barrier->obj.loop);
    if (rc < 0)
        return rc;
    if (barrier->closed)
        return NEAP_ECLOSED;
    if (barrier->waiters.len + 1 < barrier->parties)
        return np_lot_wait(&barrier->waiters, ret_future);
    return open_barrier(barrier);
}

int32_t neap_barrier_close(neap_barrier *barrier) {
    int32_t rc = barrier == NULL ? NEAP_EINVAL : np_enter(barrier->obj.loop);
    if (rc < 0 || barrier->closed)
        return rc;
    barrier->closed = true;
    np_lot_refuse_all(&barrier->waiters, NEAP_ECLOSED);
    return 1;
}

int32_t neap_barrier_waiting(neap_barrier *barrier) {
    int32_t rc = barrier == NULL ? NEAP_EINVAL : np_look(barrier->obj.loop);
    return rc < 0 ? rc : (int32_t)barrier->waiters.len;
}

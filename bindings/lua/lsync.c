/* lsync.c: locks, semaphores and events. */
#include "lneap.h"

typedef struct nl_lock {
    nl_bound b;
    neap_lock *lock; /* a reference, or NULL */
} nl_lock;

typedef struct nl_sem {
    nl_bound b;
    neap_sem *sem;
    int64_t permits; /* to begin with */
} nl_sem;

typedef struct nl_event {
    nl_bound b;
    neap_event *event;
} nl_event;

static int wait_end(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_future *future = nl_woken(L, st);
    int32_t code = neap_future_error(future);
    nl_wait_end(st->task);
    nl_check_code(L, st, code);
    lua_pushboolean(L, 1);
    return 1;
}

/* Answers true, now or later. */
static int acquired(lua_State *L, nl_state *st, int32_t code, neap_future *future) {
    if (code == NEAP_PENDING)
        return nl_park(L, st, future, 1, wait_end);
    if (code == NEAP_EDEADLOCK)
        return nl_throw(L, st, code, "the task has the lock already");
    nl_check_code(L, st, code);
    lua_pushboolean(L, 1);
    return 1;
}

static int tried(lua_State *L, nl_state *st, int32_t code) {
    if (code != NEAP_EAGAIN && code != NEAP_EDEADLOCK)
        nl_check_code(L, st, code);
    lua_pushboolean(L, code == 0);
    return 1;
}

/* ---- Locks ---- */

static nl_lock *check_lock(lua_State *L, nl_state *st) {
    nl_lock *l = nl_check(L, st, 1, NL_LOCK, "a lock");
    if (l->lock == NULL || !nl_is_bound(&l->b))
        nl_check_code(L, st, neap_lock_new(nl_bind(L, st, &l->b), &l->lock));
    return l;
}

static int new_lock(lua_State *L) {
    nl_lock *l = nl_make(L, NL_STATE(L), NL_LOCK, sizeof *l, 0);
    nl_track(&l->b.node);
    return 1;
}

static int lock_acquire(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_lock *l = check_lock(L, st);
    neap_future *future = NULL;
    nl_check_wait(L, st);
    if (nl_is_spent(st))
        return nl_again(L, st, lock_acquire);
    int32_t code = neap_lock_acquire(l->lock, &future);
    return acquired(L, st, code, future);
}

static int lock_try_acquire(lua_State *L) {
    nl_state *st = NL_STATE(L);
    return tried(L, st, neap_lock_acquire(check_lock(L, st)->lock, NULL));
}

static int lock_release(lua_State *L) {
    nl_state *st = NL_STATE(L);
    int32_t code = neap_lock_release(check_lock(L, st)->lock);
    if (code == NEAP_EPERM)
        return nl_throw(L, st, code, "the lock is not this task's to release");
    nl_check_code(L, st, code);
    return 0;
}

static int lock_locked(lua_State *L) {
    nl_lock *l = nl_check(L, NL_STATE(L), 1, NL_LOCK, "a lock");
    lua_pushboolean(L, l->lock != NULL && nl_is_bound(&l->b) && neap_lock_holder(l->lock) != 0);
    return 1;
}

static void drop_lock(nl_node *node) {
    nl_lock *l = (nl_lock *)node;
    neap_lock_unref(l->lock);
    l->lock = NULL;
    nl_unbind(&l->b);
}

/* ---- Semaphores ---- */

static nl_sem *check_sem(lua_State *L, nl_state *st) {
    nl_sem *s = nl_check(L, st, 1, NL_SEM, "a semaphore");
    if (s->sem == NULL || !nl_is_bound(&s->b))
        nl_check_code(L, st, neap_sem_new(nl_bind(L, st, &s->b), s->permits, &s->sem));
    return s;
}

static int new_sem(lua_State *L) {
    nl_state *st = NL_STATE(L);
    lua_Integer n = nl_count(L, st, 1, 1, "a number of permits");
    nl_sem *s = nl_make(L, st, NL_SEM, sizeof *s, 0);
    s->permits = n;
    nl_track(&s->b.node);
    return 1;
}

static int sem_acquire(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_sem *s = check_sem(L, st);
    neap_future *future = NULL;
    nl_check_wait(L, st);
    if (nl_is_spent(st))
        return nl_again(L, st, sem_acquire);
    int32_t code = neap_sem_acquire(s->sem, &future);
    return acquired(L, st, code, future);
}

static int sem_try_acquire(lua_State *L) {
    nl_state *st = NL_STATE(L);
    return tried(L, st, neap_sem_acquire(check_sem(L, st)->sem, NULL));
}

static int sem_release(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_check_code(L, st, neap_sem_release(check_sem(L, st)->sem));
    return 0;
}

static int sem_permits(lua_State *L) {
    nl_state *st = NL_STATE(L);
    lua_pushinteger(L, (lua_Integer)neap_sem_permits(check_sem(L, st)->sem));
    return 1;
}

static void drop_sem(nl_node *node) {
    nl_sem *s = (nl_sem *)node;
    neap_sem_unref(s->sem);
    s->sem = NULL;
    nl_unbind(&s->b);
}

/* ---- Events ---- */

static nl_event *check_event(lua_State *L, nl_state *st) {
    nl_event *e = nl_check(L, st, 1, NL_EVENT, "an event");
    if (e->event == NULL || !nl_is_bound(&e->b))
        nl_check_code(L, st, neap_event_new(nl_bind(L, st, &e->b), &e->event));
    return e;
}

static int new_event(lua_State *L) {
    nl_event *e = nl_make(L, NL_STATE(L), NL_EVENT, sizeof *e, 0);
    nl_track(&e->b.node);
    return 1;
}

static int event_wait(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_event *e = check_event(L, st);
    neap_future *future = NULL;
    nl_check_wait(L, st);
    if (nl_is_spent(st))
        return nl_again(L, st, event_wait);
    int32_t code = neap_event_wait(e->event, &future);
    return acquired(L, st, code, future);
}

static int truth(lua_State *L, nl_state *st, int32_t code) {
    nl_check_code(L, st, code);
    lua_pushboolean(L, code);
    return 1;
}

static int event_set(lua_State *L) {
    nl_state *st = NL_STATE(L);
    return truth(L, st, neap_event_set(check_event(L, st)->event));
}

static int event_clear(lua_State *L) {
    nl_state *st = NL_STATE(L);
    return truth(L, st, neap_event_clear(check_event(L, st)->event));
}

static int event_is_set(lua_State *L) {
    nl_state *st = NL_STATE(L);
    return truth(L, st, neap_event_is_set(check_event(L, st)->event));
}

static void drop_event(nl_node *node) {
    nl_event *e = (nl_event *)node;
    neap_event_unref(e->event);
    e->event = NULL;
    nl_unbind(&e->b);
}

/* ---- The module ---- */

static const luaL_Reg metas[] = {{"__gc", nl_gc}, {NULL, NULL}};
static const luaL_Reg lock_waits[] = {{"acquire", lock_acquire}, {NULL, NULL}};
static const luaL_Reg lock_methods[] = {{"try_acquire", lock_try_acquire},
                                        {"release", lock_release},
                                        {"locked", lock_locked},
                                        {NULL, NULL}};
static const luaL_Reg sem_waits[] = {{"acquire", sem_acquire}, {NULL, NULL}};
static const luaL_Reg sem_methods[] = {{"try_acquire", sem_try_acquire},
                                       {"release", sem_release},
                                       {"permits", sem_permits},
                                       {NULL, NULL}};

static const luaL_Reg event_waits[] = {{"wait", event_wait}, {NULL, NULL}};
static const luaL_Reg event_methods[] = {
    {"set", event_set}, {"clear", event_clear}, {"is_set", event_is_set}, {NULL, NULL}};

/* Adds the methods to the table of those that neap/sync.lua adds to. */
void nl_open_sync(lua_State *L, nl_state *st) {
    static const luaL_Reg functions[] = {
        {"lock", new_lock}, {"semaphore", new_sem}, {"event", new_event}, {NULL, NULL}};
    nl_functions(L, st, functions);
    st->drops[NL_LOCK] = drop_lock;
    st->drops[NL_SEM] = drop_sem;
    st->drops[NL_EVENT] = drop_event;
    lua_getfield(L, -1, "methods");
    nl_class(L, st, NL_LOCK, "neap.lock", lock_methods, lock_waits, metas);
    lua_setfield(L, -2, "lock");
    nl_class(L, st, NL_SEM, "neap.semaphore", sem_methods, sem_waits, metas);
    lua_setfield(L, -2, "semaphore");
    nl_class(L, st, NL_EVENT, "neap.event", event_methods, event_waits, metas);
    lua_setfield(L, -2, "event");
    lua_pop(L, 1);
}

/* llock.c: locks and conditions. */
#include "lneap.h"

typedef struct nl_lock {
    nl_bound b;
    neap_lock *lock; /* a reference, or NULL */
} nl_lock;

typedef struct nl_cond {
    nl_bound b;
    neap_cond *cond;
} nl_cond;

/* Lua values of a condition. */
enum {
    NL_COND_LOCK = 1,
    NL_COND_SLOTS = 1
};

/* ---- What all that can be acquired has in common ---- */

static int acquire_end(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_future *future = nl_woken(L, st);
    int32_t code = neap_future_error(future);
    nl_wait_end(st->task);
    nl_check_code(L, st, code);
    lua_pushboolean(L, 1);
    return 1;
}

/* Answers true, now or later. */
int nl_acquire(lua_State *L, nl_state *st, const nl_case *kind, lua_CFunction again) {
    neap_future *future = NULL;
    neap_value none;
    nl_check_wait(L, st);
    if (nl_is_spent(st))
        return nl_again(L, st, again);
    int32_t code = kind->begin(L, st, 1, &future, &none);
    if (code == NEAP_PENDING)
        return nl_park(L, st, future, 1, acquire_end);
    return kind->answer(L, st, code, &none);
}

/* Whether it was there at once. */
int nl_try_acquire(lua_State *L, nl_state *st, const nl_case *kind) {
    neap_value none;
    int32_t code = kind->begin(L, st, 1, NULL, &none);
    if (code != NEAP_EAGAIN && code != NEAP_EDEADLOCK)
        nl_check_code(L, st, code);
    lua_pushboolean(L, code == 0);
    return 1;
}

int nl_answer_true(lua_State *L, nl_state *st, int32_t code, const neap_value *value) {
    (void)value;
    if (code == NEAP_EDEADLOCK)
        nl_throw(L, st, code, "the task has it already");
    nl_check_code(L, st, code);
    lua_pushboolean(L, 1);
    return 1;
}

/* ---- Locks ---- */

static nl_lock *check_lock(lua_State *L, nl_state *st, int index) {
    nl_lock *l = nl_check(L, st, index, NL_LOCK, "a lock");
    if (l->lock == NULL || !nl_is_bound(&l->b))
        nl_check_code(L, st, neap_lock_new(nl_bind(L, st, &l->b), &l->lock));
    return l;
}

static int new_lock(lua_State *L) {
    nl_make(L, NL_STATE(L), NL_LOCK, sizeof(nl_lock), 0);
    return 1;
}

static int32_t begin_lock(lua_State *L, nl_state *st, int at, neap_future **ret_future,
                          neap_value *ret_value) {
    (void)ret_value;
    return neap_lock_acquire(check_lock(L, st, at)->lock, ret_future);
}

static const nl_case lock_case = {begin_lock, nl_answer_true, NULL, NULL};

static int lock_acquire(lua_State *L) {
    return nl_acquire(L, NL_STATE(L), &lock_case, lock_acquire);
}

static int lock_try_acquire(lua_State *L) {
    return nl_try_acquire(L, NL_STATE(L), &lock_case);
}

static int lock_release(lua_State *L) {
    nl_state *st = NL_STATE(L);
    int32_t code = neap_lock_release(check_lock(L, st, 1)->lock);
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

/* ---- Conditions ---- */

static nl_cond *check_cond(lua_State *L, nl_state *st) {
    nl_cond *c = nl_check(L, st, 1, NL_COND, "a condition");
    if (c->cond != NULL && nl_is_bound(&c->b))
        return c;
    nl_getslot(L, 1, NL_COND_LOCK);
    nl_lock *l = check_lock(L, st, lua_gettop(L));
    lua_pop(L, 1);
    (void)nl_bind(L, st, &c->b);
    nl_check_code(L, st, neap_cond_new(l->lock, &c->cond));
    return c;
}

static int new_cond(lua_State *L) {
    nl_state *st = NL_STATE(L);
    (void)nl_check(L, st, 1, NL_LOCK, "a lock");
    nl_make(L, st, NL_COND, sizeof(nl_cond), NL_COND_SLOTS);
    lua_pushvalue(L, 1);
    nl_setslot(L, -2, NL_COND_LOCK);
    return 1;
}

static int32_t check_held(lua_State *L, nl_state *st, int32_t code) {
    if (code == NEAP_EPERM)
        nl_throw(L, st, code, "the task does not hold the condition's lock");
    if (code != NEAP_PENDING)
        nl_check_code(L, st, code);
    return code;
}

static int cond_wait(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_cond *c = check_cond(L, st);
    neap_future *future = NULL;
    nl_check_wait(L, st);
    check_held(L, st, neap_cond_wait(c->cond, &future));
    return nl_park(L, st, future, 1, acquire_end);
}

static int notify(lua_State *L, int32_t n) {
    nl_state *st = NL_STATE(L);
    nl_cond *c = check_cond(L, st);
    lua_pushinteger(L, check_held(L, st, neap_cond_notify(c->cond, n)));
    return 1;
}

static int cond_notify(lua_State *L) {
    return notify(L, (int32_t)nl_count(L, NL_STATE(L), 2, 1, "a number of tasks"));
}

static int cond_notify_all(lua_State *L) {
    return notify(L, -1);
}

static void drop_cond(nl_node *node) {
    nl_cond *c = (nl_cond *)node;
    neap_cond_unref(c->cond);
    c->cond = NULL;
    nl_unbind(&c->b);
}

/* ---- The module ---- */

/* Adds the methods to the table of those that neap/sync.lua adds to. */
void nl_open_lock(lua_State *L, nl_state *st) {
    static const luaL_Reg metas[] = {{"__gc", nl_gc}, {NULL, NULL}};
    static const luaL_Reg lock_waits[] = {{"acquire", lock_acquire}, {NULL, NULL}};
    static const luaL_Reg lock_methods[] = {{"try_acquire", lock_try_acquire},
                                            {"release", lock_release},
                                            {"locked", lock_locked},
                                            {NULL, NULL}};
    static const luaL_Reg cond_waits[] = {{"wait", cond_wait}, {NULL, NULL}};
    static const luaL_Reg cond_methods[] = {
        {"notify", cond_notify}, {"notify_all", cond_notify_all}, {NULL, NULL}};
    static const luaL_Reg functions[] = {{"lock", new_lock}, {"condition", new_cond}, {NULL, NULL}};
    nl_functions(L, st, functions);
    st->drops[NL_LOCK] = drop_lock;
    st->drops[NL_COND] = drop_cond;
    st->cases[NL_LOCK] = &lock_case;
    lua_getfield(L, -1, "methods");
    nl_class(L, st, NL_LOCK, "neap.lock", lock_methods, lock_waits, metas);
    lua_setfield(L, -2, "lock");
    nl_class(L, st, NL_COND, "neap.condition", cond_methods, cond_waits, metas);
    lua_setfield(L, -2, "condition");
    lua_pop(L, 1);
}

/* lsync.c: semaphores, limiters, events and barriers. */
#include "lneap.h"

typedef struct nl_sem {
    nl_bound b;
    neap_sem *sem;   /* a reference, or NULL */
    int64_t permits; /* to begin with */
} nl_sem;

typedef struct nl_limiter {
    nl_bound b;
    neap_limiter *limiter;
    uint32_t total;
} nl_limiter;

typedef struct nl_event {
    nl_bound b;
    neap_event *event;
} nl_event;

typedef struct nl_barrier {
    nl_bound b;
    neap_barrier *barrier;
    uint32_t parties;
} nl_barrier;

static int truth(lua_State *L, nl_state *st, int32_t code) {
    nl_check_code(L, st, code);
    lua_pushboolean(L, code);
    return 1;
}

static int number(lua_State *L, nl_state *st, int64_t n) {
    nl_check_code(L, st, n);
    lua_pushinteger(L, (lua_Integer)n);
    return 1;
}

/* ---- Semaphores ---- */

static neap_sem *check_sem(lua_State *L, nl_state *st, int index) {
    nl_sem *s = nl_check(L, st, index, NL_SEM, "a semaphore");
    if (s->sem == NULL || !nl_is_bound(&s->b))
        nl_check_code(L, st, neap_sem_new(nl_bind(L, st, &s->b), s->permits, &s->sem));
    return s->sem;
}

static int new_sem(lua_State *L) {
    nl_state *st = NL_STATE(L);
    lua_Integer n = nl_count(L, st, 1, 1, "a number of permits");
    nl_sem *s = nl_make(L, st, NL_SEM, sizeof *s, 0);
    s->permits = n;
    return 1;
}

static int32_t begin_sem(lua_State *L, nl_state *st, int at, neap_future **ret_future,
                         neap_value *ret_value) {
    (void)ret_value;
    return neap_sem_acquire(check_sem(L, st, at), ret_future);
}

static const nl_case sem_case = {begin_sem, nl_answer_true, NULL, NULL};

static int sem_acquire(lua_State *L) {
    return nl_acquire(L, NL_STATE(L), &sem_case, sem_acquire);
}

static int sem_try_acquire(lua_State *L) {
    return nl_try_acquire(L, NL_STATE(L), &sem_case);
}

static int sem_release(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_check_code(L, st, neap_sem_release(check_sem(L, st, 1)));
    return 0;
}

static int sem_permits(lua_State *L) {
    nl_state *st = NL_STATE(L);
    return number(L, st, neap_sem_permits(check_sem(L, st, 1)));
}

static void drop_sem(nl_node *node) {
    nl_sem *s = (nl_sem *)node;
    neap_sem_unref(s->sem);
    s->sem = NULL;
    nl_unbind(&s->b);
}

/* ---- Limiters ---- */

static nl_limiter *check_limiter(lua_State *L, nl_state *st, int index) {
    nl_limiter *l = nl_check(L, st, index, NL_LIMITER, "a limiter");
    if (l->limiter == NULL || !nl_is_bound(&l->b))
        nl_check_code(L, st, neap_limiter_new(nl_bind(L, st, &l->b), l->total, &l->limiter));
    return l;
}

static int new_limiter(lua_State *L) {
    nl_state *st = NL_STATE(L);
    lua_Integer n = nl_count(L, st, 1, 1, "a number of tokens");
    nl_limiter *l = nl_make(L, st, NL_LIMITER, sizeof *l, 0);
    l->total = (uint32_t)n;
    return 1;
}

static int32_t begin_limiter(lua_State *L, nl_state *st, int at, neap_future **ret_future,
                             neap_value *ret_value) {
    (void)ret_value;
    return neap_limiter_acquire(check_limiter(L, st, at)->limiter, ret_future);
}

static const nl_case limiter_case = {begin_limiter, nl_answer_true, NULL, NULL};

static int limiter_acquire(lua_State *L) {
    return nl_acquire(L, NL_STATE(L), &limiter_case, limiter_acquire);
}

static int limiter_try_acquire(lua_State *L) {
    return nl_try_acquire(L, NL_STATE(L), &limiter_case);
}

static int limiter_release(lua_State *L) {
    nl_state *st = NL_STATE(L);
    int32_t code = neap_limiter_release(check_limiter(L, st, 1)->limiter);
    if (code == NEAP_EPERM)
        return nl_throw(L, st, code, "the task has no token to give back");
    nl_check_code(L, st, code);
    return 0;
}

/* total() answers it; total(n) changes it. */
static int limiter_total(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_limiter *l = check_limiter(L, st, 1);
    if (lua_gettop(L) > 1) {
        lua_Integer n = nl_count(L, st, 2, 1, "a number of tokens");
        nl_check_code(L, st, neap_limiter_set_total(l->limiter, (uint32_t)n));
        l->total = (uint32_t)n;
    }
    return number(L, st, neap_limiter_total(l->limiter));
}

static int limiter_borrowed(lua_State *L) {
    nl_state *st = NL_STATE(L);
    return number(L, st, neap_limiter_borrowed(check_limiter(L, st, 1)->limiter));
}

static void drop_limiter(nl_node *node) {
    nl_limiter *l = (nl_limiter *)node;
    neap_limiter_unref(l->limiter);
    l->limiter = NULL;
    nl_unbind(&l->b);
}

/* ---- Events ---- */

static neap_event *check_event(lua_State *L, nl_state *st, int index) {
    nl_event *e = nl_check(L, st, index, NL_EVENT, "an event");
    if (e->event == NULL || !nl_is_bound(&e->b))
        nl_check_code(L, st, neap_event_new(nl_bind(L, st, &e->b), &e->event));
    return e->event;
}

static int new_event(lua_State *L) {
    nl_make(L, NL_STATE(L), NL_EVENT, sizeof(nl_event), 0);
    return 1;
}

static int32_t begin_event(lua_State *L, nl_state *st, int at, neap_future **ret_future,
                           neap_value *ret_value) {
    (void)ret_value;
    return neap_event_wait(check_event(L, st, at), ret_future);
}

static const nl_case event_case = {begin_event, nl_answer_true, NULL, NULL};

static int event_wait(lua_State *L) {
    return nl_acquire(L, NL_STATE(L), &event_case, event_wait);
}

static int event_set(lua_State *L) {
    nl_state *st = NL_STATE(L);
    return truth(L, st, neap_event_set(check_event(L, st, 1)));
}

static int event_clear(lua_State *L) {
    nl_state *st = NL_STATE(L);
    return truth(L, st, neap_event_clear(check_event(L, st, 1)));
}

static int event_is_set(lua_State *L) {
    nl_state *st = NL_STATE(L);
    return truth(L, st, neap_event_is_set(check_event(L, st, 1)));
}

static void drop_event(nl_node *node) {
    nl_event *e = (nl_event *)node;
    neap_event_unref(e->event);
    e->event = NULL;
    nl_unbind(&e->b);
}

/* ---- Barriers ---- */

static neap_barrier *check_barrier(lua_State *L, nl_state *st, int index) {
    nl_barrier *b = nl_check(L, st, index, NL_BARRIER, "a barrier");
    if (b->barrier == NULL || !nl_is_bound(&b->b))
        nl_check_code(L, st, neap_barrier_new(nl_bind(L, st, &b->b), b->parties, &b->barrier));
    return b->barrier;
}

static int new_barrier(lua_State *L) {
    nl_state *st = NL_STATE(L);
    lua_Integer n = nl_count(L, st, 1, 0, "a number of parties");
    if (n == 0)
        nl_arg_error(L, st, 1, NEAP_EVALUE, "a number of at least 1 is needed");
    nl_barrier *b = nl_make(L, st, NL_BARRIER, sizeof *b, 0);
    b->parties = (uint32_t)n;
    return 1;
}

static int32_t begin_barrier(lua_State *L, nl_state *st, int at, neap_future **ret_future,
                             neap_value *ret_value) {
    int32_t code = neap_barrier_wait(check_barrier(L, st, at), ret_future);
    ret_value->i = code;
    return code < 0 ? code : NEAP_KIND_INT;
}

/* The number in the order of arrival, from 1; nil and an error once it is closed. */
static int answer_number(lua_State *L, nl_state *st, int32_t code, const neap_value *value) {
    if (code == NEAP_ECLOSED)
        return nl_fail(L, st, code, "wait", NULL);
    nl_check_code(L, st, code);
    lua_pushinteger(L, (lua_Integer)value->i + 1);
    return 1;
}

static const nl_case barrier_case = {begin_barrier, answer_number, NULL, NULL};

static int barrier_wait_end(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_value value;
    int32_t code = neap_future_value(nl_woken(L, st), &value, sizeof value);
    nl_wait_end(st->task);
    return answer_number(L, st, code, &value);
}

static int barrier_wait(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_future *future = NULL;
    neap_value value;
    nl_check_wait(L, st);
    if (nl_is_spent(st))
        return nl_again(L, st, barrier_wait);
    int32_t code = begin_barrier(L, st, 1, &future, &value);
    return code == NEAP_PENDING ? nl_park(L, st, future, 1, barrier_wait_end)
                                : answer_number(L, st, code, &value);
}

static int barrier_close(lua_State *L) {
    nl_state *st = NL_STATE(L);
    return truth(L, st, neap_barrier_close(check_barrier(L, st, 1)));
}

static int barrier_waiting(lua_State *L) {
    nl_state *st = NL_STATE(L);
    return number(L, st, neap_barrier_waiting(check_barrier(L, st, 1)));
}

static void drop_barrier(nl_node *node) {
    nl_barrier *b = (nl_barrier *)node;
    neap_barrier_unref(b->barrier);
    b->barrier = NULL;
    nl_unbind(&b->b);
}

/* ---- The module ---- */

static const luaL_Reg sem_waits[] = {{"acquire", sem_acquire}, {NULL, NULL}};
static const luaL_Reg sem_methods[] = {{"try_acquire", sem_try_acquire},
                                       {"release", sem_release},
                                       {"permits", sem_permits},
                                       {NULL, NULL}};
static const luaL_Reg limiter_waits[] = {{"acquire", limiter_acquire}, {NULL, NULL}};
static const luaL_Reg limiter_methods[] = {{"try_acquire", limiter_try_acquire},
                                           {"release", limiter_release},
                                           {"total", limiter_total},
                                           {"borrowed", limiter_borrowed},
                                           {NULL, NULL}};
static const luaL_Reg event_waits[] = {{"wait", event_wait}, {NULL, NULL}};
static const luaL_Reg event_methods[] = {
    {"set", event_set}, {"clear", event_clear}, {"is_set", event_is_set}, {NULL, NULL}};
static const luaL_Reg barrier_waits[] = {{"wait", barrier_wait}, {NULL, NULL}};
static const luaL_Reg barrier_methods[] = {
    {"close", barrier_close}, {"waiting", barrier_waiting}, {NULL, NULL}};

/* Adds the methods to the table of those that neap/sync.lua adds to. */
void nl_open_sync(lua_State *L, nl_state *st) {
    static const luaL_Reg metas[] = {{"__gc", nl_gc}, {NULL, NULL}};
    static const luaL_Reg functions[] = {{"semaphore", new_sem},
                                         {"limiter", new_limiter},
                                         {"event", new_event},
                                         {"barrier", new_barrier},
                                         {NULL, NULL}};
    nl_functions(L, st, functions);
    st->drops[NL_SEM] = drop_sem;
    st->drops[NL_LIMITER] = drop_limiter;
    st->drops[NL_EVENT] = drop_event;
    st->drops[NL_BARRIER] = drop_barrier;
    st->cases[NL_SEM] = &sem_case;
    st->cases[NL_LIMITER] = &limiter_case;
    st->cases[NL_EVENT] = &event_case;
    st->cases[NL_BARRIER] = &barrier_case;
    lua_getfield(L, -1, "methods");
    nl_class(L, st, NL_SEM, "neap.semaphore", sem_methods, sem_waits, metas);
    lua_setfield(L, -2, "semaphore");
    nl_class(L, st, NL_LIMITER, "neap.limiter", limiter_methods, limiter_waits, metas);
    lua_setfield(L, -2, "limiter");
    nl_class(L, st, NL_EVENT, "neap.event", event_methods, event_waits, metas);
    lua_setfield(L, -2, "event");
    nl_class(L, st, NL_BARRIER, "neap.barrier", barrier_methods, barrier_waits, metas);
    lua_setfield(L, -2, "barrier");
    lua_pop(L, 1);
}

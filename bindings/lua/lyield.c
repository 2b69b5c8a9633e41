/* lyield.c: what a task may yield: nothing, a future or task, a descriptor and "read" or "write".  Through the replaced
   coroutine.yield the answers are values and errors; who kept the engine's own yield gets `ok, value...`. */
#include "lneap.h"

#include <string.h>

typedef enum yielded {
    YIELD_NOTHING,
    YIELD_FUTURE,
    YIELD_FD,
    YIELD_BAD
} yielded;

static int event_of(const char *word) {
    if (strcmp(word, "read") == 0)
        return NEAP_READ;
    return strcmp(word, "write") == 0 ? NEAP_WRITE : 0;
}

/* Classifies the n values from index 1. */
static yielded classify(lua_State *L, nl_state *st, int n) {
    if (n == 0)
        return YIELD_NOTHING;
    if (n == 1 && nl_to_object(L, st, 1) != NULL)
        return YIELD_FUTURE;
    if (n == 2 && lua_type(L, 2) == LUA_TSTRING && event_of(lua_tostring(L, 2)) != 0 &&
        (lua_type(L, 1) == LUA_TNUMBER || nl_test(L, st, 1, NL_SOCK) != NULL))
        return YIELD_FD;
    return YIELD_BAD;
}

/* Pushes a value as text without calling its metamethods. */
static const char *push_raw_text(lua_State *L, int index) {
    int type = lua_type(L, index);
    if (type == LUA_TNUMBER || type == LUA_TSTRING || type == LUA_TBOOLEAN || type == LUA_TNIL)
        return nl_tolstring(L, index, NULL);
    return lua_pushfstring(L, "%p", lua_topointer(L, index));
}

/* Pushes the error for values that cannot be waited for. */
static void push_bad_yield(lua_State *L, nl_state *st, int n) {
    const char *type = luaL_typename(L, 1),
               *cure = "yield a future, a task, nothing, or (fd, \"read\")";
    if (n == 1 && lua_isthread(L, 1))
        cure = "call the function, or spawn it, instead of yielding its coroutine";
    if (n == 2 && lua_type(L, 2) == LUA_TSTRING)
        lua_pushfstring(L,
                        "a task cannot wait for '%s' of a %s: the words are \"read\" and \"write\"",
                        lua_tostring(L, 2), type);
    else
        lua_pushfstring(L, "a task cannot yield a %s (%s): %s", type, push_raw_text(L, 1), cure);
    nl_push_error(L, st, NEAP_EBAD_YIELD, lua_tostring(L, -1));
    nl_set_where(L, -1);
}

static int32_t start_fd(lua_State *L, nl_state *st, neap_future **ret_future) {
    neap_fd fd = nl_to_fd(L, st, 1);
    if (fd < 0)
        return (int32_t)fd;
    neap_loop *loop = neap_future_loop(st->task->o.future);
    return neap_fd_ready(loop, fd, event_of(lua_tostring(L, 2)), 0, ret_future);
}

/* ---- The replaced coroutine.yield, in the task's own thread ---- */

static int yield_end(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_future *future = nl_woken(L, st);
    int32_t code = future != NULL ? neap_future_error(future) : 0;
    nl_wait_end(st->task);
    nl_check_code(L, st, code);
    return 0;
}

static int yield_fd(lua_State *L, nl_state *st) {
    neap_future *future = NULL;
    int32_t code = start_fd(L, st, &future);
    if (code == NEAP_PENDING)
        return nl_park(L, st, future, 1, yield_end);
    nl_check_code(L, st, code);
    return nl_park_tick(L, st, yield_end);
}

/* Waits for the next tick. */
static int yield_tick(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_check_wait(L, st);
    return nl_park_tick(L, st, yield_end);
}

int nl_yield(lua_State *L) {
    nl_state *st = NL_STATE(L);
    int n = lua_gettop(L);
    if (st->task == NULL || (st->task->co.L != L && !(NL_PROTECTS && nl_is_protected(st, L))))
        return lua_yield(L, n);
    nl_check_wait(L, st);
    switch (classify(L, st, n)) {
    case YIELD_NOTHING:
        return nl_park_tick(L, st, yield_end);
    case YIELD_FUTURE:
        return nl_await(L, st, 1);
    case YIELD_FD:
        return yield_fd(L, st);
    default:
        push_bad_yield(L, st, n);
        return nl_raise_next_tick(L, st);
    }
}

/* ---- The engine's own yield, seen by the step ---- */

typedef struct raw {
    nl_task *t;
    int nres;
} raw;

static void raw_answer(lua_State *L, nl_task *t, int ok) {
    lua_pushboolean(L, ok);
    lua_insert(L, 1);
    t->nargs = lua_gettop(L);
    lua_checkstack(t->co.L, t->nargs + 1);
    lua_xmove(L, t->co.L, t->nargs);
}

static void raw_error(lua_State *L, nl_state *st, nl_task *t, int32_t code) {
    lua_settop(L, 0);
    nl_push_error(L, st, code, NULL);
    raw_answer(L, t, 0);
}

static void raw_begin_fd(lua_State *L, nl_state *st, nl_task *t) {
    neap_future *future = NULL;
    nl_task *outer = st->task;
    st->task = t;
    int32_t code = start_fd(L, st, &future);
    st->task = outer;
    if (code == NEAP_PENDING) {
        t->wait.mode = NL_WAIT_RAW;
        t->wait.future = future;
        t->wait.owned = 1;
    } else if (code < 0) {
        raw_error(L, st, t, code);
    } else {
        lua_settop(L, 0);
        raw_answer(L, t, 1);
    }
}

/* Notes in the task what it waits for, or puts the answer on its thread.  What must stay alive stays there. */
static void raw_begin(lua_State *L, nl_state *st, void *arg) {
    raw *r = arg;
    nl_task *t = r->t;
    lua_checkstack(L, r->nres + LUA_MINSTACK);
    lua_xmove(t->co.L, L, r->nres);
    nl_wait_end(t);
    t->wait.mode = NL_WAIT_RAW_TICK;
    switch (classify(L, st, r->nres)) {
    case YIELD_NOTHING:
        raw_answer(L, t, 1);
        break;
    case YIELD_FUTURE:
        t->wait.future = nl_check_future(L, st, 1);
        t->wait.mode = NL_WAIT_RAW;
        nl_reach(L, nl_to_object(L, st, 1), 1);
        lua_xmove(L, t->co.L, 1);
        break;
    case YIELD_FD:
        raw_begin_fd(L, st, t);
        break;
    default:
        push_bad_yield(L, st, r->nres);
        lua_replace(L, 1);
        lua_settop(L, 1);
        raw_answer(L, t, 0);
    }
}

static void raw_refused(lua_State *L, nl_state *st, void *arg) {
    nl_task *t = arg;
    int32_t code = t->wait.error;
    lua_settop(t->co.L, 0);
    nl_wait_end(t);
    t->wait.mode = NL_WAIT_RAW_TICK;
    raw_error(L, st, t, code);
}

/* Memory is out: the coroutine hears so. */
static void raw_give_up(nl_task *t) {
    lua_pop(t->o.node.st->R, 1);
    nl_wait_end(t);
    t->wait.mode = NL_WAIT_RAW_TICK;
    lua_settop(t->co.L, 0);
    lua_pushboolean(t->co.L, 0);
    t->nargs = 1;
}

/* A task's thread has yielded values that are no wait of ours. */
int32_t nl_raw_yield(neap_task *task, nl_task *t, int nres) {
    nl_state *st = t->o.node.st;
    raw r = {t, nres};
    if (nl_enter(st, raw_begin, &r) != LUA_OK)
        raw_give_up(t);
    if (t->wait.mode != NL_WAIT_RAW)
        return NEAP_STEP_YIELD;
    t->wait.error = neap_task_await(task, t->wait.future);
    if (t->wait.error >= 0)
        return NEAP_STEP_AWAIT;
    if (nl_enter(st, raw_refused, t) != LUA_OK)
        raw_give_up(t);
    return NEAP_STEP_YIELD;
}

static void raw_end(lua_State *L, nl_state *st, void *arg) {
    nl_task *t = arg;
    neap_future *future = t->wait.future;
    int kept = lua_gettop(t->co.L) > 0 && nl_to_object(t->co.L, st, -1) != NULL;
    if (kept)
        lua_xmove(t->co.L, L, 1);
    int n = nl_push_outcome(L, st, future, kept ? 1 : 0);
    if (kept)
        lua_remove(L, 1);
    if (n > 0 && !kept)
        lua_settop(L, 0); /* which event came was asked for */
    raw_answer(L, t, n >= 0);
}

static void raw_cancelled(lua_State *L, nl_state *st, void *arg) {
    nl_task *t = arg;
    lua_settop(t->co.L, 0);
    nl_push_delivered(L, st, t, NULL);
    raw_answer(L, t, 0);
}

/* Puts the answer to a raw wait on the thread; who was taken off gets none. */
void nl_raw_wake(nl_task *t) {
    nl_state *st = t->o.node.st;
    int failed = 0;
    if (t->wait.mode == NL_WAIT_SLICE)
        failed = LUA_OK;
    else if (t->wait.wake == NEAP_WAKE_CANCEL)
        failed = nl_enter(st, raw_cancelled, t);
    else if (t->wait.mode == NL_WAIT_RAW)
        failed = nl_enter(st, raw_end, t);
    if (failed != LUA_OK)
        raw_give_up(t);
    nl_wait_end(t);
}

const luaL_Reg nl_yield_calls[] = {{"yield", yield_tick}, {NULL, NULL}};

/* lthread.c: the coroutines under tasks: a pool of finished ones, whose they are, what they were doing. */
#include "lneap.h"

#include <stdio.h>

enum {
    AWAITERS_SHOWN = 16,
    TASKS_SEARCHED = 1000
};

/* ---- The pool ---- */

/* Gives the task a thread with an empty stack. */
void nl_thread_take(lua_State *L, nl_state *st, nl_task *t) {
    if (st->pool_len > 0) {
        t->co = st->pool[--st->pool_len];
        if (st->pool_len > 0)
            __builtin_prefetch(st->pool[st->pool_len - 1].L);
    } else {
        lua_State *co = lua_newthread(L);
        if (NL_MARK_THREADS)
            nl_thread_own(L, st, lua_gettop(L));
        t->co.ref = nl_anchor(L, st);
        t->co.L = co;
    }
    t->pooled = 1;
}

/* Ends the task's use of its thread, which goes back to the pool if it can run again.  The collector shrinks the stacks
   of those that wait there. */
void nl_thread_give(nl_task *t, int reusable) {
    nl_state *st = t->o.node.st;
    nl_thread co = t->co;
    t->co.L = NULL;
    if (st->counts)
        nl_count_end(co.L);
    if (reusable && t->pooled && st->pool_len < NL_POOL_MAX) {
        lua_settop(co.L, 0);
        st->pool[st->pool_len++] = co;
    } else {
        nl_unanchor(st, co.ref);
    }
}

/* ---- Whose a thread is ---- */

const lua_CFunction nl_body_bottom = NL_BODY_BOTTOM;

int nl_thread_owned(lua_State *L, nl_state *st, int index) {
    if (nl_runs_body(lua_tothread(L, index)))
        return 1;
    lua_rawgeti(L, LUA_REGISTRYINDEX, st->owned);
    lua_pushvalue(L, index);
    lua_rawget(L, -2);
    int owned = lua_toboolean(L, -1);
    lua_pop(L, 2);
    return owned;
}

void nl_thread_own(lua_State *L, nl_state *st, int index) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, st->owned);
    lua_pushvalue(L, index);
    lua_pushboolean(L, 1);
    lua_rawset(L, -3);
    lua_pop(L, 1);
}

/* ---- What it was doing ---- */

static void push_frame(lua_State *L, const lua_Debug *ar) {
    lua_createtable(L, 0, 4);
    lua_pushstring(L, ar->short_src);
    lua_setfield(L, -2, "source");
    lua_pushinteger(L, ar->currentline);
    lua_setfield(L, -2, "line");
    lua_pushinteger(L, ar->linedefined);
    lua_setfield(L, -2, "defined");
    if (ar->name != NULL) {
        lua_pushstring(L, ar->name);
        lua_setfield(L, -2, "name");
    }
}

/* Pushes the list of a thread's Lua frames, innermost first. */
void nl_push_stack(lua_State *L, lua_State *co) {
    lua_Debug ar;
    int n = 0;
    lua_newtable(L);
    for (int level = 0; n < NL_FRAMES_SHOWN && lua_getstack(co, level, &ar); level++) {
        lua_getinfo(co, "Snl", &ar);
        if (ar.currentline <= 0 || nl_is_wrapper(&ar))
            continue;
        push_frame(L, &ar);
        lua_rawseti(L, -2, ++n);
    }
}

typedef struct search {
    neap_future *awaited;
    neap_task *found;
    int left;
} search;

static int awaits(neap_task *task, neap_future *future) {
    neap_future *on = neap_task_awaiting(task);
    if (on == NULL || on == future)
        return on != NULL;
    neap_future *member;
    for (size_t i = 0; (member = neap_future_list_get(on, i)) != NULL; i++)
        if (member == future)
            return 1;
    return 0;
}

static int32_t find_awaiter(neap_task *task, void *user) {
    search *s = user;
    if (awaits(task, s->awaited))
        s->found = task;
    return s->found != NULL || --s->left == 0;
}

/* The main task of a command has no spawn site. */
static void add_task(luaL_Buffer *b, const char *role, neap_task *task) {
    char line[512];
    const char *site = neap_task_site(task);
    snprintf(line, sizeof line, "\n\t%stask '%s'%s%s", role, neap_task_name(task),
             *site != '\0' ? " spawned at " : "", site);
    luaL_addstring(b, line);
}

/* Adds a line for the spawn site and one for each task that awaits the one before. */
static void add_chain(luaL_Buffer *b, neap_task *task) {
    add_task(b, "", task);
    for (int i = 0; i < AWAITERS_SHOWN; i++) {
        search s = {neap_task_future(task), NULL, TASKS_SEARCHED};
        neap_task_walk(neap_future_loop(s.awaited), find_awaiter, &s);
        if (s.found == NULL)
            return;
        task = s.found;
        add_task(b, "awaited by ", task);
    }
}

/* The running task is about to get the error at `error`: notes in its value slot, which is free until it ends, the
   traceback on top (popped), which tells where that came from. */
static void set_cause(lua_State *L, nl_state *st, int error) {
    lua_createtable(L, 0, 2);
    lua_insert(L, -2);
    lua_setfield(L, -2, "cause");
    lua_pushvalue(L, error);
    lua_setfield(L, -2, "error");
    nl_anchored(L, st->task->o.node.ref);
    lua_insert(L, -2);
    nl_setslot(L, -2, NL_VALUE);
    lua_pop(L, 1);
}

/* The error comes from the failed task at `source`. */
void nl_note_cause(lua_State *L, nl_state *st, int source, int error) {
    if (nl_test(L, st, source, NL_TASK) == NULL || st->task == NULL)
        return;
    nl_getslot(L, source, NL_LINK);
    if (lua_istable(L, -1)) {
        lua_getfield(L, -1, "traceback");
        set_cause(L, st, error);
    }
    lua_pop(L, 1);
}

/* That error goes on as the value on top. */
void nl_renote_death(lua_State *L, nl_state *st) {
    if (st->task == NULL)
        return;
    nl_anchored(L, st->task->o.node.ref);
    nl_getslot(L, -1, NL_VALUE);
    if (lua_istable(L, -1)) {
        lua_pushvalue(L, -3);
        lua_setfield(L, -2, "error");
    }
    lua_pop(L, 2);
}

/* Adds the traceback of the task that the error came from, if it is still the same error. */
static void add_cause(lua_State *L, luaL_Buffer *b, int ud, int error) {
    nl_getslot(L, ud, NL_VALUE);
    if (lua_istable(L, -1)) {
        lua_getfield(L, -1, "error");
        int same = lua_rawequal(L, -1, error);
        lua_pop(L, 1);
        lua_getfield(L, -1, "cause");
        lua_remove(L, -2);
        if (same && lua_isstring(L, -1)) {
            luaL_addvalue(b);
            luaL_addstring(b, "\nreached: ");
            return;
        }
    }
    lua_pop(L, 1);
}

/* The error on top comes from a coroutine of the script that has died.  Where protected calls are coroutines an error may
   pass several: the traceback grows. */
void nl_note_death(lua_State *L, nl_state *st, lua_State *co) {
    luaL_Buffer b;
    int error = lua_gettop(L);
    nl_anchored(L, st->task->o.node.ref);
    luaL_buffinit(L, &b);
    if (NL_PROTECTS)
        add_cause(L, &b, error + 1, error);
    luaL_traceback(L, co, NULL, 0);
    luaL_addvalue(&b);
    luaL_pushresult(&b);
    lua_remove(L, error + 1);
    set_cause(L, st, error);
}

/* Keeps {traceback =, stack =} of the thread `at` in the task's value slot, before its frames go. */
void nl_record_failure(lua_State *L, nl_task *t, lua_State *at, int level, int error) {
    luaL_Buffer b;
    nl_anchored(L, t->o.node.ref);
    int ud = lua_gettop(L);
    lua_createtable(L, 0, 2);
    nl_push_stack(L, at);
    lua_setfield(L, -2, "stack");
    luaL_buffinit(L, &b);
    add_cause(L, &b, ud, error);
    luaL_traceback(L, at, NULL, level);
    luaL_addvalue(&b);
    add_chain(&b, nl_core_task(t));
    luaL_pushresult(&b);
    lua_setfield(L, -2, "traceback");
    nl_setslot(L, ud, NL_VALUE);
    lua_settop(L, ud - 1);
}

/* A message handler for functions that let errors through: what is raised again later keeps the traceback. */
int nl_keep_trace(lua_State *L) {
    nl_state *st = NL_STATE(L);
    if (!NL_PROTECTS && st->task != NULL && !nl_is_cancelled(L, st, 1)) {
        luaL_traceback(L, L, NULL, 1);
        set_cause(L, st, 1);
    }
    lua_settop(L, 1);
    return 1;
}

/* The message handler under a task's body. */
int nl_trace_failure(lua_State *L) {
    nl_state *st = NL_STATE(L);
    if (st->task != NULL)
        nl_record_failure(L, st->task, L, 1, 1);
    lua_settop(L, 1);
    return 1;
}

/* trace(error, level): the traceback of its caller, behind that of the task that the error came from. */
int nl_trace_here(lua_State *L) {
    nl_state *st = NL_STATE(L);
    luaL_Buffer b;
    int level = (int)luaL_optinteger(L, 2, 1);
    lua_settop(L, 1);
    if (st->task != NULL)
        nl_anchored(L, st->task->o.node.ref);
    luaL_buffinit(L, &b);
    if (st->task != NULL)
        add_cause(L, &b, 2, 1);
    luaL_traceback(L, L, NULL, level);
    luaL_addvalue(&b);
    luaL_pushresult(&b);
    return 1;
}

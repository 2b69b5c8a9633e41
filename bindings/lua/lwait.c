/* lwait.c: sleep, wait, wait_for, shield. */
#include "lneap.h"

#include <string.h>

/* ---- sleep ---- */

static int sleep_end(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_woken(L, st);
    nl_wait_end(st->task);
    return 0;
}

/* 0 and less is one tick. */
static int lua_sleep(lua_State *L) {
    nl_state *st = NL_STATE(L);
    int64_t delay = nl_seconds(L, 1);
    nl_check_wait(L, st);
    if (delay == 0)
        return nl_park_tick(L, st, sleep_end);
    return nl_park_sleep(L, st, delay, sleep_end);
}

/* ---- Lists of futures ---- */

/* Pushes a list of the futures for the values of the list at `list`; without duplicates if `unique`.  Nothing is
   spawned if one of them cannot be waited for. */
void nl_push_members(lua_State *L, nl_state *st, int list, int n, int unique) {
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    for (int i = 1; i <= n; i++) {
        lua_rawgeti(L, list, i);
        nl_check_ensure(L, st, lua_gettop(L));
        lua_pop(L, 1);
    }
    lua_createtable(L, n, 0);
    lua_newtable(L);
    int members = lua_gettop(L) - 1, seen = members + 1, count = 0;
    for (int i = 1; i <= n; i++) {
        lua_rawgeti(L, list, i);
        lua_pushvalue(L, -1);
        lua_rawget(L, seen);
        int known = unique && lua_toboolean(L, -1);
        lua_pop(L, 1);
        if (!known) {
            lua_pushvalue(L, -1);
            lua_pushboolean(L, 1);
            lua_rawset(L, seen);
            nl_ensure(L, st, NULL, lua_gettop(L));
            lua_rawseti(L, members, ++count);
        } else {
            lua_pop(L, 1);
        }
    }
    lua_settop(L, members);
}

/* Pushes a block with the core's futures of the list of members at `members`. */
neap_future **nl_push_futures(lua_State *L, nl_state *st, int members, int n) {
    neap_future **futures = lua_newuserdata(L, (size_t)(n + 1) * sizeof *futures);
    for (int i = 0; i < n; i++) {
        lua_rawgeti(L, members, i + 1);
        futures[i] = nl_check_future(L, st, lua_gettop(L));
        lua_pop(L, 1);
    }
    return futures;
}

/* ---- wait ---- */

static const char *const option_names[] = {"timeout", "return_when", NULL};

static int32_t when_option(lua_State *L, nl_state *st, int options) {
    lua_getfield(L, options, "return_when");
    const char *word = lua_isnil(L, -1) ? "all" : lua_tostring(L, -1);
    int32_t when = -1;
    if (word != NULL && (strcmp(word, "all") == 0 || strcmp(word, "all_completed") == 0))
        when = NEAP_WAIT_ALL;
    else if (word != NULL && strcmp(word, "first_completed") == 0)
        when = NEAP_WAIT_FIRST_COMPLETED;
    else if (word != NULL && strcmp(word, "first_exception") == 0)
        when = NEAP_WAIT_FIRST_EXCEPTION;
    else
        nl_throw(L, st, NEAP_EVALUE,
                 "return_when must be \"all\", \"first_completed\" or \"first_exception\"");
    lua_pop(L, 1);
    return when;
}

static int64_t timeout_at(lua_State *L, int index) {
    int64_t timeout = lua_isnoneornil(L, index) ? -1 : nl_seconds(L, index);
    return timeout == NL_NEVER ? -1 : timeout;
}

/* Keeps the members at index 1; answers those that are done and those that are not, in their order. */
static int wait_end(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_woken(L, st);
    nl_wait_end(st->task);
    int n = (int)lua_rawlen(L, 1), done = 0, pending = 0;
    lua_newtable(L);
    lua_newtable(L);
    for (int i = 1; i <= n; i++) {
        lua_rawgeti(L, 1, i);
        nl_object *o = nl_block(L, -1);
        if (nl_state_of_object(o) != NEAP_STATE_PENDING)
            lua_rawseti(L, 2, ++done);
        else
            lua_rawseti(L, 3, ++pending);
    }
    return 2;
}

static int lua_wait(lua_State *L) {
    nl_state *st = NL_STATE(L);
    int32_t when = NEAP_WAIT_ALL;
    int64_t timeout = -1;
    neap_future *future;
    if (!lua_istable(L, 1))
        nl_type_error(L, st, 1, "a list of futures");
    lua_settop(L, 2);
    if (!lua_isnil(L, 2)) {
        if (!lua_istable(L, 2))
            nl_type_error(L, st, 2, "a table of options");
        nl_check_options(L, st, 2, option_names);
        when = when_option(L, st, 2);
        lua_getfield(L, 2, "timeout");
        timeout = timeout_at(L, 3);
        lua_settop(L, 2);
    }
    nl_check_wait(L, st);
    int n = (int)lua_rawlen(L, 1);
    if (n == 0)
        nl_throw(L, st, NEAP_EVALUE, "nothing to wait for: the list is empty");
    nl_push_members(L, st, 1, n, 1);
    lua_replace(L, 1);
    n = (int)lua_rawlen(L, 1);
    neap_future **futures = nl_push_futures(L, st, 1, n);
    neap_loop *loop = neap_future_loop(st->task->o.future);
    nl_check_code(L, st, neap_wait(loop, futures, (size_t)n, when, timeout, &future));
    return nl_park(L, st, future, 1, wait_end);
}

/* ---- wait_for, shield ---- */

/* Keeps the awaited future at index 1: its Lua values are there. */
static int wait_for_end(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_future *future = nl_woken(L, st);
    int n = nl_push_outcome(L, st, future, 1);
    if (n < 0 && neap_future_error(future) == NEAP_ETIMEOUT)
        nl_set_where(L, -1);
    nl_wait_end(st->task);
    return n < 0 ? nl_raise_of(L, st, 1) : n;
}

static int lua_wait_for(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_future *future;
    nl_check_ensure(L, st, 1);
    int64_t timeout = nl_seconds(L, 2);
    if (timeout == NL_NEVER)
        timeout = -1;
    lua_settop(L, 1);
    nl_check_wait(L, st);
    nl_ensure(L, st, NULL, 1);
    nl_object *o = nl_check_object(L, st, 1);
    if (nl_state_of_object(o) != NEAP_STATE_PENDING && !nl_is_spent(st))
        return nl_push_result(L, st, 1);
    if (o->future == NULL)
        nl_revive(L, st, 1);
    nl_reach(L, o, 1);
    nl_check_code(L, st, neap_wait_for(o->future, timeout, &future));
    return nl_park(L, st, future, 1, wait_for_end);
}

/* A future with the outcome of another, whose own cancellation it is not. */
static int lua_shield(lua_State *L) {
    nl_state *st = NL_STATE(L);
    lua_settop(L, 1);
    nl_ensure(L, st, NULL, 1);
    neap_future *source = nl_check_future(L, st, 1);
    nl_object *o = nl_new_object(L, st);
    nl_check_code(L, st, neap_shield(source, &o->future));
    o->node.flags = NL_INTERNAL | NL_DERIVED;
    lua_pushvalue(L, 1);
    nl_setslot(L, 2, NL_LINK);
    return 1;
}

void nl_open_wait(lua_State *L, nl_state *st) {
    static const luaL_Reg waits[] = {
        {"sleep", lua_sleep}, {"wait", lua_wait}, {"wait_for", lua_wait_for}, {NULL, NULL}};
    static const luaL_Reg functions[] = {{"shield", lua_shield}, {NULL, NULL}};
    nl_waits(L, st, waits);
    nl_functions(L, st, functions);
}

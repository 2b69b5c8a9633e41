/* lgather.c: gather, and the error that keeps all errors. */
#include "lneap.h"

/* Replaces the n values on top by the first of them, or nil. */
static void keep_first(lua_State *L, int n) {
    if (n == 0)
        lua_pushnil(L);
    else
        lua_pop(L, n - 1);
}

/* Pushes the outcome of member i of the list at 1: its first value, or its error.  Answers whether it failed. */
static int push_member(lua_State *L, nl_state *st, int i) {
    lua_rawgeti(L, 1, i);
    int ud = lua_gettop(L);
    int n = nl_push_own_outcome(L, st, ud);
    if (n >= 0)
        keep_first(L, n);
    lua_remove(L, ud);
    return n < 0;
}

/* The values in argument order, errors among them if they were asked for. */
static int push_values(lua_State *L, nl_state *st, int n) {
    lua_createtable(L, n, 1);
    for (int i = 1; i <= n; i++) {
        push_member(L, st, i);
        lua_rawseti(L, -2, i);
    }
    lua_pushinteger(L, n);
    lua_setfield(L, -2, "n");
    return 1;
}

static int32_t member_state(lua_State *L, int i) {
    lua_rawgeti(L, 1, i);
    nl_object *o = nl_block(L, -1);
    lua_pop(L, 1);
    return nl_state_of_object(o);
}

/* Pushes the list of errors of the members that failed. */
static void push_errors(lua_State *L, nl_state *st, int n) {
    int failed = 0;
    lua_newtable(L);
    for (int i = 1; i <= n; i++) {
        if (member_state(L, i) != NEAP_STATE_ERROR)
            continue;
        push_member(L, st, i);
        lua_rawseti(L, -2, ++failed);
    }
}

/* Pushes the error that keeps the list of errors at `errors`: code "group", the first of them as cause.  of 0: nobody
   knows how many there were. */
static void push_group(lua_State *L, nl_state *st, int errors, int of) {
    luaL_Buffer b;
    int failed = (int)lua_rawlen(L, errors);
    luaL_buffinit(L, &b);
    if (of > 0)
        lua_pushfstring(L, "%d of %d failed", failed, of);
    else
        lua_pushfstring(L, failed == 1 ? "%d task failed" : "%d tasks failed", failed);
    luaL_addvalue(&b);
    for (int i = 1; i <= failed; i++) {
        luaL_addstring(&b, i == 1 ? ": " : "; ");
        lua_rawgeti(L, errors, i);
        nl_tolstring(L, -1, NULL);
        lua_remove(L, -2);
        luaL_addvalue(&b);
    }
    luaL_pushresult(&b);
    nl_push_error(L, st, NEAP_EGROUP, lua_tostring(L, -1));
    lua_pushvalue(L, errors);
    lua_setfield(L, -2, "errors");
    lua_rawgeti(L, errors, 1);
    lua_setfield(L, -2, "cause");
    nl_set_where(L, -1);
    lua_replace(L, -2); /* the text */
}

void nl_push_group_error(lua_State *L, nl_state *st, int errors) {
    push_group(L, st, errors, 0);
}

static int raise_group(lua_State *L, nl_state *st, int n) {
    push_errors(L, st, n);
    push_group(L, st, lua_gettop(L), n);
    return lua_error(L);
}

/* Keeps the members at index 1. */
static int gather_end(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_future *future = nl_woken(L, st);
    int32_t code = neap_future_error(future);
    int n = (int)lua_rawlen(L, 1);
    if (code == NEAP_ECANCELED)
        nl_push_cancelled(L, st, neap_future_message(future));
    nl_wait_end(st->task);
    if (code == NEAP_ECANCELED)
        return lua_error(L);
    if (code == NEAP_EGROUP)
        return raise_group(L, st, n);
    nl_check_code(L, st, code);
    return push_values(L, st, n);
}

static int is_list(lua_State *L, nl_state *st) {
    return lua_gettop(L) == 1 && lua_istable(L, 1) && !nl_is_callable(L, 1) &&
           !nl_has_await(L, 1) && nl_to_object(L, st, 1) == NULL;
}

static const char *const option_names[] = {"n", "return_errors", NULL};

/* gather(a, b, ...) or gather{a, b, ..., return_errors = true}. */
static int gather(lua_State *L) {
    nl_state *st = NL_STATE(L);
    uint32_t flags = 0;
    neap_future *future;
    int n = lua_gettop(L);
    if (is_list(L, st)) {
        nl_check_options(L, st, 1, option_names);
        lua_getfield(L, 1, "return_errors");
        flags = lua_toboolean(L, -1) ? NEAP_GATHER_RETURN_ERRORS : 0;
        lua_settop(L, 1);
        n = (int)lua_rawlen(L, 1);
    } else {
        for (int i = 1; i <= n; i++)
            nl_check_ensure(L, st, i);
        nl_pack(L, 1, n);
        lua_insert(L, 1);
        lua_settop(L, 1);
    }
    nl_check_wait(L, st);
    nl_push_members(L, st, 1, n, 0);
    lua_replace(L, 1);
    neap_future **futures = nl_push_futures(L, st, 1, n);
    for (int i = 1; i <= n; i++) {
        lua_rawgeti(L, 1, i);
        nl_reach(L, nl_block(L, -1), lua_gettop(L));
        lua_pop(L, 1);
    }
    neap_loop *loop = neap_future_loop(st->task->o.future);
    nl_check_code(L, st, neap_gather(loop, futures, (size_t)n, flags, &future));
    return nl_park(L, st, future, 1, gather_end);
}

void nl_open_gather(lua_State *L, nl_state *st) {
    static const luaL_Reg waits[] = {{"gather", gather}, {NULL, NULL}};
    nl_waits(L, st, waits);
}

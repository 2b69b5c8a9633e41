/* compat.h: what differs between PUC Lua 5.4 and LuaJIT 2.1, all of it but for neap/jit.lua. */
#ifndef NEAP_LUA_COMPAT_H
#define NEAP_LUA_COMPAT_H

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdint.h>

/* The second half of a function that suspends: finds what it kept at index 1 and nothing else. */
typedef int (*nl_cont)(lua_State *L);

/* What a suspending function answers to neap/jit.lua when it has to wait; its address is known to nobody else. */
extern const char nl_token_byte;
#define NL_TOKEN ((void *)&nl_token_byte)

/* The function in C at the bottom of each task's thread, or NULL: one for all files, because it is told by its address. */
extern const lua_CFunction nl_body_bottom;

/* What the body of a task answers before its error. */
extern const char nl_failure_byte;
#define NL_FAILURE ((void *)&nl_failure_byte)

#if LUA_VERSION_NUM >= 504

#define nl_tolstring luaL_tolstring
#define nl_open_compat(L) ((void)(L))

/* A userdata with `slots` Lua values of its own, numbered from 1. */
static inline void *nl_newblock(lua_State *L, size_t size, int slots) {
    return lua_newuserdatauv(L, size, slots);
}

static inline void nl_getslot(lua_State *L, int index, int slot) {
    lua_getiuservalue(L, index, slot);
}

static inline void nl_setslot(lua_State *L, int index, int slot) {
    lua_setiuservalue(L, index, slot);
}

static inline int nl_resume(lua_State *co, lua_State *from, int nargs, int *nres) {
    return lua_resume(co, from, nargs, nres);
}

/* Ends a thread that died or never will go on, so that it can run another body.  Leaves the error of a
   failing close handler on its stack.  Answers whether the thread can be used again. */
static inline int nl_reset(lua_State *co) {
    return lua_resetthread(co) == LUA_OK || lua_status(co) == LUA_OK;
}

static inline int nl_isinteger(lua_State *L, int index) {
    return lua_isinteger(L, index);
}

/* A part of a collection of garbage that takes some microseconds.  Answers whether it was the last. */
static inline int nl_collect(lua_State *L) {
    return lua_gc(L, LUA_GCSTEP, 0);
}

static inline int nl_continue(lua_State *L, int status, lua_KContext k) {
    (void)status;
    return ((nl_cont)k)(L);
}

/* Suspends the running coroutine with a yield of no values; `k` goes on with the value at index 1, which stays alive
   meanwhile. */
static inline int nl_suspend(lua_State *L, nl_cont k) {
    lua_settop(L, 1);
    return lua_yieldk(L, 0, (lua_KContext)k, nl_continue);
}

/* The body of a task runs below this function, so that an error unwinds inside the coroutine: variables to be closed
   are closed there, and may wait.  At index 1 a message handler, then the function and its arguments.  Answers the
   results, or NL_FAILURE and the error. */
static inline int nl_body_end(lua_State *L, int status, lua_KContext k) {
    (void)k;
    if (status == LUA_OK || status == LUA_YIELD)
        return lua_gettop(L) - 1;
    lua_pushlightuserdata(L, NL_FAILURE);
    lua_insert(L, -2);
    return 2;
}

static inline int nl_body_begin(lua_State *L) {
    return nl_body_end(L, lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 1, 0, nl_body_end), 0);
}
#define NL_BODY_BOTTOM nl_body_begin

/* Begins the stack of a task's thread with that function and the handler, a reference in the registry; the task's function
   and its arguments follow.  Answers by how many values the first resume then has more arguments than those. */
static inline int nl_push_body(lua_State *co, int handler) {
    lua_pushcfunction(co, nl_body_bottom);
    lua_rawgeti(co, LUA_REGISTRYINDEX, handler);
    return 2;
}

/* Functions of the engine that let waits through. */
#define NL_PASSERS "pcall", "xpcall", "error", "assert", "dofile", "pairs"

/* Adds what stands under the body of a task to the set of such functions on top. */
static inline void nl_note_body(lua_State *L) {
    lua_pushcfunction(L, nl_body_begin);
    lua_pushboolean(L, 1);
    lua_rawset(L, -3);
}

/* To be called after other threads ran, before this one raises an error. */
#define nl_back(L) ((void)(L))

/* Whether a thread that has started runs the body of a task.  Where that cannot be told tasks mark their threads. */
#define NL_MARK_THREADS 0
static inline int nl_runs_body(lua_State *co) {
    lua_Debug ar;
    int depth = 0;
    while (lua_getstack(co, depth, &ar))
        depth++;
    if (depth == 0)
        return lua_tocfunction(co, 1) == nl_body_bottom;
    lua_getstack(co, depth - 1, &ar);
    lua_getinfo(co, "f", &ar);
    int runs = lua_tocfunction(co, -1) == nl_body_bottom;
    lua_pop(co, 1);
    return runs;
}

/* Each thread has its hook, which may suspend it. */
#define NL_CAN_SLICE 1
static inline int nl_interpret(lua_State *L) {
    (void)L;
    return 0;
}
static inline void nl_compile(lua_State *L) {
    (void)L;
}

/* Whether neap/jit.lua stands between a script and our suspending functions. */
#define NL_WRAPPED 0

/* How deep coroutines may resume each other; the engine's own limit comes before. */
#define NL_DEPTH_MAX 100000

#else /* LuaJIT */

#include <luajit.h>

#define lua_rawlen lua_objlen

static inline int lua_absindex(lua_State *L, int index) {
    return index > 0 || index <= LUA_REGISTRYINDEX ? index : lua_gettop(L) + index + 1;
}

static inline const char *nl_tolstring(lua_State *L, int index, size_t *len) {
    if (luaL_callmeta(L, index, "__tostring"))
        return lua_tolstring(L, -1, len);
    switch (lua_type(L, index)) {
    case LUA_TNUMBER:
    case LUA_TSTRING:
        lua_pushvalue(L, index);
        break;
    case LUA_TBOOLEAN:
        lua_pushstring(L, lua_toboolean(L, index) ? "true" : "false");
        break;
    case LUA_TNIL:
        lua_pushliteral(L, "nil");
        break;
    default:
        lua_pushfstring(L, "%s: %p", luaL_typename(L, index), lua_topointer(L, index));
    }
    return lua_tolstring(L, -1, len);
}

/* Userdata keep their Lua values in their environment.  All begin with the same empty one. */
static inline void nl_open_compat(lua_State *L) {
    lua_pushlightuserdata(L, NL_TOKEN);
    lua_newtable(L);
    lua_rawset(L, LUA_REGISTRYINDEX);
}

static inline void nl_empty_slots(lua_State *L) {
    lua_pushlightuserdata(L, NL_TOKEN);
    lua_rawget(L, LUA_REGISTRYINDEX);
}

static inline void *nl_newblock(lua_State *L, size_t size, int slots) {
    (void)slots;
    void *block = lua_newuserdata(L, size);
    nl_empty_slots(L);
    lua_setfenv(L, -2);
    return block;
}

static inline void nl_setslot(lua_State *L, int index, int slot) {
    index = lua_absindex(L, index);
    lua_getfenv(L, index);
    nl_empty_slots(L);
    if (lua_rawequal(L, -1, -2)) {
        lua_createtable(L, slot, 0);
        lua_pushvalue(L, -1);
        lua_setfenv(L, index);
        lua_replace(L, -3);
    }
    lua_pop(L, 1);
    lua_insert(L, -2);
    lua_rawseti(L, -2, slot);
    lua_pop(L, 1);
}

static inline void nl_getslot(lua_State *L, int index, int slot) {
    lua_getfenv(L, index);
    lua_rawgeti(L, -1, slot);
    lua_replace(L, -2);
}

static inline int nl_resume(lua_State *co, lua_State *from, int nargs, int *nres) {
    (void)from;
    int status = lua_resume(co, nargs);
    *nres = lua_gettop(co);
    return status;
}

static inline int nl_reset(lua_State *co) {
    (void)co;
    return 0;
}

static inline int nl_isinteger(lua_State *L, int index) {
    if (lua_type(L, index) != LUA_TNUMBER)
        return 0;
    lua_Number n = lua_tonumber(L, index);
    return n >= -9007199254740992.0 && n <= 9007199254740992.0 && n == (lua_Number)(int64_t)n &&
           (n != 0 || 1 / n > 0);
}

static inline int nl_collect(lua_State *L) {
    for (int steps = 0; steps < 16; steps++) /* each looks at 2 KiB */
        if (lua_gc(L, LUA_GCSTEP, 0))
            return 1;
    return 0;
}

/* The wrapper that neap/jit.lua puts around each suspending function sees the token, yields no values, and then calls
   core.resumed with the two values behind it. */
static inline int nl_suspend(lua_State *L, nl_cont k) {
    lua_settop(L, 1);
    lua_pushlightuserdata(L, NL_TOKEN);
    lua_insert(L, 1);
    lua_pushlightuserdata(L, (void *)k);
    return 3;
}

#define NL_MARK_THREADS 1
static inline int nl_runs_body(lua_State *co) {
    (void)co;
    return 0;
}

static inline int nl_push_body(lua_State *co, int handler) {
    (void)co;
    (void)handler;
    return 0;
}

#define NL_PASSERS "pcall", "xpcall", "error", "assert"
#define nl_note_body(L) ((void)(L))

/* The engine notes which thread runs at calls and returns, but not when a C function raises: compiled code that runs
   next would take the thread that ran before for this one.  An empty call puts it right. */
static inline int nl_nothing(lua_State *L) {
    (void)L;
    return 0;
}

static inline void nl_back(lua_State *L) {
    lua_pushcfunction(L, nl_nothing);
    lua_call(L, 0, 0);
}

/* Compiled code calls no hooks: the time of nl_interpret, which answers whether there is something to undo, is without. */
#define NL_CAN_SLICE 0
static inline int nl_interpret(lua_State *L) {
    int on = 0;
    lua_getfield(L, LUA_REGISTRYINDEX, "_LOADED");
    lua_getfield(L, -1, "jit");
    if (lua_istable(L, -1)) {
        lua_getfield(L, -1, "status");
        on = lua_pcall(L, 0, 1, 0) == 0 && lua_toboolean(L, -1);
        lua_pop(L, 1);
    }
    lua_pop(L, 2);
    if (on) {
        luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
        luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_FLUSH);
    }
    return on;
}

static inline void nl_compile(lua_State *L) {
    luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_ON);
}

#define NL_WRAPPED 1
#define NL_BODY_BOTTOM NULL

/* This engine does not guard the C stack, of which each level takes about half a KiB. */
#define NL_DEPTH_MAX 2000

#endif

#endif

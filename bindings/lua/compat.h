/* compat.h: what differs between the engines, PUC Lua 5.1 to 5.4 and LuaJIT 2.1, all of it but for neap/wrap.lua. */
#ifndef NEAP_LUA_COMPAT_H
#define NEAP_LUA_COMPAT_H

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* The second half of a function that suspends: finds what it kept at index 1 and nothing else. */
typedef int (*nl_cont)(lua_State *L);

/* What a suspending function answers to neap/wrap.lua when it has to wait; its address is known to nobody else. */
extern const char nl_token_byte;
#define NL_TOKEN ((void *)&nl_token_byte)

/* The function in C at the bottom of each task's thread, or NULL: one for all files, because it is told by its address. */
extern const lua_CFunction nl_body_bottom;

/* What the body of a task answers before its error. */
extern const char nl_failure_byte;
#define NL_FAILURE ((void *)&nl_failure_byte)

/* LuaJIT has the interface of 5.1 and some functions of 5.2, with this name. */
#if LUA_VERSION_NUM == 501 && !defined(LUA_OK)
#define NL_PUC51 1
#else
#define NL_PUC51 0
#endif

#if LUA_VERSION_NUM == 501 && !NL_PUC51
#include <luajit.h>
#endif

/* ---- States of our own ---- */

/* As luaL_newstate.  PUC Lua's allocator asks realloc for new memory, too, which takes most allocators twice the time. */
#if LUA_VERSION_NUM == 501 && !NL_PUC51

#define nl_newstate luaL_newstate

#else

static inline void *nl_allocate(void *user, void *block, size_t old, size_t size) {
    (void)user, (void)old;
    if (size == 0) {
        free(block);
        return NULL;
    }
    return block == NULL ? malloc(size) : realloc(block, size);
}

static inline lua_State *nl_newstate(void) {
    lua_State *L = luaL_newstate();
    if (L != NULL)
        lua_setallocf(L, nl_allocate, NULL);
    return L;
}

#endif

/* ---- Names that an engine lacks ---- */

#if LUA_VERSION_NUM >= 502

#define nl_tolstring luaL_tolstring

#else

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

#endif

#if NL_PUC51
#define LUA_OK 0
/* The same, in compat51.c: not a name of the engine's, whose symbols all of a process share. */
void nl_traceback(lua_State *L, lua_State *at, const char *message, int level);
#define luaL_traceback nl_traceback
#endif

/* ---- Userdata with Lua values of their own, numbered from 1 ---- */

#if LUA_VERSION_NUM >= 504

#define nl_open_compat(L) ((void)(L))

static inline void *nl_newblock(lua_State *L, size_t size, int slots) {
    return lua_newuserdatauv(L, size, slots);
}

static inline void nl_getslot(lua_State *L, int index, int slot) {
    lua_getiuservalue(L, index, slot);
}

static inline void nl_setslot(lua_State *L, int index, int slot) {
    lua_setiuservalue(L, index, slot);
}

#elif LUA_VERSION_NUM >= 502

/* There is one value: a table, from the first that is set. */
#define nl_open_compat(L) ((void)(L))

static inline void *nl_newblock(lua_State *L, size_t size, int slots) {
    (void)slots;
    return lua_newuserdata(L, size);
}

static inline void nl_getslot(lua_State *L, int index, int slot) {
    lua_getuservalue(L, index);
    if (lua_isnil(L, -1))
        return;
    lua_rawgeti(L, -1, slot);
    lua_replace(L, -2);
}

static inline void nl_setslot(lua_State *L, int index, int slot) {
    index = lua_absindex(L, index);
    lua_getuservalue(L, index);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_createtable(L, slot, 0);
        lua_pushvalue(L, -1);
        lua_setuservalue(L, index);
    }
    lua_insert(L, -2);
    lua_rawseti(L, -2, slot);
    lua_pop(L, 1);
}

#else

/* They are in the environment.  All begin with the same empty one. */
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

#endif

/* ---- Numbers ---- */

#if LUA_VERSION_NUM >= 503

static inline int nl_isinteger(lua_State *L, int index) {
    return lua_isinteger(L, index);
}

#else

static inline int nl_isinteger(lua_State *L, int index) {
    if (lua_type(L, index) != LUA_TNUMBER)
        return 0;
    lua_Number n = lua_tonumber(L, index);
    return n >= -9007199254740992.0 && n <= 9007199254740992.0 && n == (lua_Number)(int64_t)n &&
           (n != 0 || 1 / n > 0);
}

#endif

/* ---- Code ---- */

/* lua_dump, with what helps debugging. */
#if LUA_VERSION_NUM >= 503
#define nl_dump(L, write, user) lua_dump((L), (write), (user), 0)
#else
#define nl_dump lua_dump
#endif

#if LUA_VERSION_NUM >= 502
#define nl_pushglobals(L) lua_pushglobaltable(L)
#else
#define nl_pushglobals(L) lua_pushvalue((L), LUA_GLOBALSINDEX)
#endif

/* The function on top has the table below it, which goes, for its globals, if it uses any. */
static inline void nl_setglobals(lua_State *L) {
    lua_insert(L, -2);
#if LUA_VERSION_NUM >= 502
    if (lua_setupvalue(L, -2, 1) == NULL)
        lua_pop(L, 1);
#else
    lua_setfenv(L, -2);
#endif
}

/* Whether the upvalue of a function is what its globals are found in. */
static inline int nl_isglobals(const char *upvalue) {
#if LUA_VERSION_NUM >= 502
    return upvalue[0] == '_' && upvalue[1] == 'E' && upvalue[2] == 'N' && upvalue[3] == 'V' &&
           upvalue[4] == '\0';
#else
    (void)upvalue;
    return 0;
#endif
}

/* Calls a function in C without arguments but the pointer, protected also while that is prepared. */
static inline int nl_cpcall(lua_State *L, lua_CFunction fn, void *arg) {
#if LUA_VERSION_NUM >= 502
    lua_pushcfunction(L, fn);
    lua_pushlightuserdata(L, arg);
    return lua_pcall(L, 1, 0, 0);
#else
    return lua_cpcall(L, fn, arg);
#endif
}

/* ---- Files of the io library ---- */

/* The open file at index, or NULL: in all engines its userdata begins with it. */
static inline FILE *nl_stdio_file(lua_State *L, int index) {
    FILE *const *file = lua_touserdata(L, index);
    if (file == NULL || !lua_getmetatable(L, index))
        return NULL;
    luaL_getmetatable(L, LUA_FILEHANDLE);
    int is_file = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
#if LUA_VERSION_NUM >= 502
    if (is_file && ((const luaL_Stream *)(const void *)file)->closef == NULL)
        return NULL;
#endif
    return is_file ? *file : NULL;
}

/* ---- Garbage ---- */

/* Whether nobody has stopped the collector.  5.1 does not tell, and a step would start it again: it is left alone. */
static inline int nl_may_collect(lua_State *L) {
#if NL_PUC51
    (void)L;
    return 0;
#else
    return lua_gc(L, LUA_GCISRUNNING, 0);
#endif
}

/* A part of a collection of garbage that takes some microseconds.  Answers whether it was the last. */
static inline int nl_collect(lua_State *L) {
#if LUA_VERSION_NUM >= 502
    return lua_gc(L, LUA_GCSTEP, 0);
#else
    for (int steps = 0; steps < 16; steps++) /* each looks at 2 KiB */
        if (lua_gc(L, LUA_GCSTEP, 0))
            return 1;
    return 0;
#endif
}

/* ---- Running threads ---- */

/* How deep coroutines may resume each other.  Engines up to 5.1 do not guard the C stack, of which each level takes about
   half a KiB; the others have a limit of their own, which comes before this one. */
#if LUA_VERSION_NUM >= 502
#define NL_DEPTH_MAX 100000
#else
#define NL_DEPTH_MAX 2000
#endif

/* Ends a thread that died or never will go on, so that it can run another body.  Leaves the error of a
   failing close handler on its stack.  Answers whether the thread can be used again. */
static inline int nl_reset(lua_State *co) {
#if LUA_VERSION_NUM >= 504
    return lua_resetthread(co) == LUA_OK || lua_status(co) == LUA_OK;
#else
    (void)co;
    return 0;
#endif
}

static inline int nl_resume(lua_State *co, lua_State *from, int nargs, int *nres) {
#if LUA_VERSION_NUM >= 504
    return lua_resume(co, from, nargs, nres);
#elif LUA_VERSION_NUM >= 502
    int status = lua_resume(co, from, nargs);
    *nres = lua_gettop(co);
    return status;
#else
    (void)from;
    int status = lua_resume(co, nargs);
    *nres = lua_gettop(co);
    return status;
#endif
}

/* Whether a thread can be suspended.  5.2 does not tell: there its frames have to. */
#if LUA_VERSION_NUM == 502
#define NL_FRAMES_TELL 1
#define nl_isyieldable(L, at) ((void)(L), (void)(at), 0)
#elif NL_PUC51
#define NL_FRAMES_TELL 0
int nl_isyieldable(lua_State *L, lua_State *at);
#else
#define NL_FRAMES_TELL 0
#define nl_isyieldable(L, at) ((void)(L), lua_isyieldable(at))
#endif

/* What to blame when no C function is in the way. */
#define NL_UNSUSPENDABLE                    \
    (NL_PUC51 ? "an iterator or metamethod" \
              : "a message handler, a finalizer, a hook or coroutine.close")

/* Functions of the engine that let waits through.  5.1's pcall and xpcall do not: neap/wrap.lua replaces them, and runs
   put the replacements where scripts look for them. */
#define NL_PROTECTS NL_PUC51
#define NL_ASSERTS_STRINGS (NL_PUC51 || LUA_VERSION_NUM == 502) /* its assert raises nothing else */
#if NL_PUC51
#define NL_PASSERS "error", "assert"
#elif LUA_VERSION_NUM == 501
#define NL_PASSERS "pcall", "xpcall", "error", "assert"
#elif LUA_VERSION_NUM == 502
#define NL_PASSERS "pcall", "xpcall", "dofile"
#elif LUA_VERSION_NUM == 503
#define NL_PASSERS "pcall", "xpcall", "error", "assert", "dofile"
#else
#define NL_PASSERS "pcall", "xpcall", "error", "assert", "dofile", "pairs"
#endif

/* To be called after other threads ran, before this one raises an error. */
#if LUA_VERSION_NUM == 501 && !NL_PUC51

/* LuaJIT notes which thread runs at calls and returns, but not when a C function raises: compiled code that runs next would
   take the thread that ran before for this one.  An empty call puts it right. */
static inline int nl_nothing(lua_State *L) {
    (void)L;
    return 0;
}

static inline void nl_back(lua_State *L) {
    lua_pushcfunction(L, nl_nothing);
    lua_call(L, 0, 0);
}

#else
#define nl_back(L) ((void)(L))
#endif

/* ---- Hooks ---- */

/* Whether each thread has its hook, and whether that may suspend it, which is asked of 5.4 alone. */
#define NL_OWN_HOOKS (LUA_VERSION_NUM >= 502 || NL_PUC51)
#define NL_CAN_SLICE (LUA_VERSION_NUM >= 504)

#if LUA_VERSION_NUM == 501 && !NL_PUC51

/* Compiled code calls no hooks: the time of nl_interpret, which answers whether there is something to undo, is without. */
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

#else

static inline int nl_interpret(lua_State *L) {
    (void)L;
    return 0;
}
static inline void nl_compile(lua_State *L) {
    (void)L;
}

#endif

/* ---- Suspending ---- */

#if LUA_VERSION_NUM >= 502

/* Whether neap/wrap.lua stands between a script and our suspending functions. */
#define NL_WRAPPED 0

/* The body of a task runs below this function, so that an error unwinds inside the coroutine: variables to be closed
   are closed there, and may wait.  At index 1 a message handler, then the function and its arguments.  Answers the
   results, or NL_FAILURE and the error. */
static inline int nl_body_ended(lua_State *L, int status) {
    if (status == LUA_OK || status == LUA_YIELD)
        return lua_gettop(L) - 1;
    lua_pushlightuserdata(L, NL_FAILURE);
    lua_insert(L, -2);
    return 2;
}

#if LUA_VERSION_NUM >= 503

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

static inline int nl_body_end(lua_State *L, int status, lua_KContext k) {
    (void)k;
    return nl_body_ended(L, status);
}

#else

static inline int nl_suspend(lua_State *L, nl_cont k) {
    lua_settop(L, 1);
    return lua_yieldk(L, 0, 0, k);
}

static inline int nl_body_end(lua_State *L) {
    return nl_body_ended(L, lua_getctx(L, NULL));
}

#endif

static inline int nl_body_begin(lua_State *L) {
    return nl_body_ended(L, lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 1, 0, nl_body_end));
}
#define NL_BODY_BOTTOM nl_body_begin

/* Begins the stack of a task's thread with that function and the handler, a reference in the registry; the task's function,
   which is at fn of L now, and its arguments follow.  Answers by how many values the first resume then has more arguments
   than those. */
static inline int nl_push_body(lua_State *L, int fn, lua_State *co, int handler) {
    (void)L, (void)fn;
    lua_pushcfunction(co, nl_body_bottom);
    lua_rawgeti(co, LUA_REGISTRYINDEX, handler);
    return 2;
}

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

#else

#define NL_WRAPPED 1
#define NL_BODY_BOTTOM NULL

/* The wrapper that neap/wrap.lua puts around each suspending function sees the token, yields no values, and then calls
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

/* 5.1 cannot go on with a thread whose first function is one in C that yields: one in Lua calls it. */
static inline int nl_push_body(lua_State *L, int fn, lua_State *co, int trampoline) {
    if (!NL_PUC51 || (lua_isfunction(L, fn) && !lua_iscfunction(L, fn)))
        return 0;
    lua_rawgeti(co, LUA_REGISTRYINDEX, trampoline);
    return 1;
}

#endif

#endif

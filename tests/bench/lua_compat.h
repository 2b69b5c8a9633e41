/* lua_compat.h - the few calls that differ between PUC Lua 5.4 and LuaJIT, for the bench's own
 * programs. */
#ifndef BENCH_LUA_COMPAT_H
#define BENCH_LUA_COMPAT_H

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#if LUA_VERSION_NUM >= 504
static inline int bench_resume(lua_State *co, lua_State *from, int nargs) {
    int nresults = 0;
    int status = lua_resume(co, from, nargs, &nresults);
    return status;
}
#else
static inline int bench_resume(lua_State *co, lua_State *from, int nargs) {
    (void)from;
    return lua_resume(co, nargs);
}
#endif

#endif

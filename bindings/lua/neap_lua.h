/* neap_lua.h: for programs that embed Lua and neap: hands a loop to a Lua state, and futures across.

   Link with the library for its Lua: libneap-lua5.1 to libneap-lua5.4, or libneap-luajit (pkg-config neap-lua5.4 ...).  Scripts of the state then find the
   same binding with `require "neap"`.  Every function belongs to the thread of the state and of its loop. */
#ifndef NEAP_LUA_H
#define NEAP_LUA_H

#include "neap.h"

#ifdef __cplusplus
extern "C" {
#endif

#include <lua.h>

/* Makes `loop` the loop of the Lua state: what scripts get as neap.loop(), and where their tasks, timers and sockets
   live.  The host goes on running it (or lets a script do so).  The state keeps a reference, takes no hook of the loop,
   and never closes it; coroutine.resume, wrap and yield of the state let waits pass from then on (in Lua 5.1 pcall and
   xpcall, too; there and in 5.2 assert raises any value).  Several states may
   share a loop.
   Returns 0.
   Errors: NEAP_ELOOP_CLOSED, NEAP_EWRONGTHREAD, NEAP_EOTHER_LOOP_RUNNING while the state runs another loop,
   NEAP_ENOMEM. */
NEAP_API int neap_lua_attach(lua_State *L, neap_loop *loop);

/* Pushes a Lua object for a future of any loop: the same object for the same future while scripts hold it.  Takes a
   reference of its own.  Raises Lua errors when memory is out. */
NEAP_API void neap_lua_push_future(lua_State *L, neap_future *future);

/* The future of the Lua object (future or task) at `index`, borrowed while that object lives, or NULL if it is something
   else.  A value that a script sets later stays reachable as long as the host keeps the future.  Raises Lua errors when
   memory is out. */
NEAP_API neap_future *neap_lua_to_future(lua_State *L, int index);

/* Pushes a new Lua object for a channel between threads, with a reference of its own: how the scripts of two states come to
   share one.  Raises Lua errors when memory is out. */
NEAP_API void neap_lua_push_shared_chan(lua_State *L, neap_shared_chan *chan);

/* The channel of the Lua object (neap.shared_channel) at `index`, borrowed while that object lives, or NULL if it is something
   else. */
NEAP_API neap_shared_chan *neap_lua_to_shared_chan(lua_State *L, int index);

/* What the modules neap.core and, for LuaJIT, neap.corejit are. */
NEAP_API int luaopen_neap_core(lua_State *L);
NEAP_API int luaopen_neap_corejit(lua_State *L);

#ifdef __cplusplus
}
#endif

#endif

/* Scripts under failing memory: Lua's allocations and the core's come from one heap, of which the 1st, 2nd, 3rd ...
   fails, once each and from there on.  A script may end with an error, and nothing else may happen: no error outside of a
   protected call, nothing left when state and loop are closed. */
#ifndef NEAP_TEST_LUA_SCRIPT_H
#define NEAP_TEST_LUA_SCRIPT_H

#include <lua.h>

#include "support.h"

/* A state with neap on the loop, and the script as a function on its stack.  Globals of the script:
     neap
     dir           the directory of the test, or nil
     expected(e)   answers e, which must be nil, an error of ours, or Lua's own for lack of memory; else the run fails
     complete()    tells that the script came to its end */
lua_State *ls_state(neap_loop *loop, const char *script, const char *dir);

/* Turns until no task is left. */
void ls_run_tasks(neap_loop *loop);

/* A scenario: runs the script with the loop of a host; memory fails while it runs.  Afterwards no child is left.
   Answers whether the script has called complete. */
int ls_run_on(const char *script, uint32_t flags, const char *dir);
void ls_run(const char *script);

#endif

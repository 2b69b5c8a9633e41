/* prompt.h: the keyboard of the command's prompt, for neap/prompt.lua. */
#ifndef NEAP_LUA_PROMPT_H
#define NEAP_LUA_PROMPT_H

#include <lua.h>

/* To be called before anything is read from standard input. */
void nl_prompt_prepare(void);

/* Pushes the table of functions that neap/prompt.lua reads with. */
void nl_push_keyboard(lua_State *L, const char *program);

#endif

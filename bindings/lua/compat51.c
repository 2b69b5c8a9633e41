/* compat51.c: what PUC Lua 5.1 lacks and is too long for compat.h. */
#include "compat.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

/* ---- Whether a thread can be suspended ---- */

/* Calls itself, with itself and a counter as arguments, until the engine refuses.  It makes nothing that is collected: a
   finalizer that came due down there would be refused, too, and never come again. */
static int dive(lua_State *L) {
    int *depth = lua_touserdata(L, 2);
    (*depth)++;
    lua_pushvalue(L, 1);
    lua_pushvalue(L, 1);
    lua_pushvalue(L, 2);
    lua_call(L, 2, 0);
    return 0;
}

/* How many C calls the engine allows above those that the thread is in: it does not tell, so we try.  The thread may be one
   that waits for us, on which nothing may be raised: it is in a function of ours, which leaves it enough of its stack. */
static int room(lua_State *L, lua_State *at) {
    int depth = 0;
    luaL_checkstack(L, 2, NULL);
    lua_pushcfunction(L, dive);
    lua_xmove(L, at, 1);
    lua_pushvalue(at, -1);
    lua_pushlightuserdata(at, &depth);
    lua_pcall(at, 2, 0, 0);
    lua_pop(at, 1);
    return depth;
}

/* A thread can be suspended if it is in no other C call than its resume. */
static int is_in_resume_alone(lua_State *L, lua_State *at) {
    static atomic_int most;
    if (most == 0) {
        most = room(L, lua_newthread(L));
        lua_pop(L, 1);
    }
    return room(L, at) == most - 1;
}

/* The frames tell most of it.  A C function that has called something is in the way, and so is an iterator, whose name is
   that of the loop's hidden variable.  A function with another name was called plainly; one without is a metamethod's, or
   was called through an expression or in a tail call.  Without debug information nothing is sure. */
int nl_isyieldable(lua_State *L, lua_State *at) {
    lua_Debug ar;
    int unnamed = 0, unsure = 0;
    for (int level = 0; lua_getstack(at, level, &ar); level++) {
        lua_getinfo(at, "Snl", &ar);
        if (*ar.what == 't')
            continue;
        if (level > 0 && *ar.what == 'C')
            return 0;
        unsure |= unnamed || (level > 0 && ar.currentline <= 0);
        unnamed = *ar.namewhat == '\0';
        if (!unnamed && strcmp(ar.name, "(for generator)") == 0)
            return 0;
    }
    return !unsure || is_in_resume_alone(L, at);
}

/* ---- Tracebacks ---- */

enum {
    FIRST_SHOWN = 12, /* frames, of a long stack */
    LAST_SHOWN = 10
};

static void add_frame(luaL_Buffer *b, const lua_Debug *ar) {
    char line[2 * LUA_IDSIZE + 128], at[16] = "", where[LUA_IDSIZE + 16];
    if (ar->currentline > 0)
        snprintf(at, sizeof at, "%d:", ar->currentline);
    if (*ar->namewhat != '\0')
        snprintf(where, sizeof where, "in function '%.60s'", ar->name);
    else if (*ar->what == 'm')
        snprintf(where, sizeof where, "in main chunk");
    else if (*ar->what == 'C' || *ar->what == 't')
        snprintf(where, sizeof where, "?");
    else
        snprintf(where, sizeof where, "in function <%s:%d>", ar->short_src, ar->linedefined);
    snprintf(line, sizeof line, "\n\t%s:%s %s", ar->short_src, at, where);
    luaL_addstring(b, line);
}

static int depth_of(lua_State *at) {
    lua_Debug ar;
    int depth = 0;
    while (lua_getstack(at, depth, &ar))
        depth++;
    return depth;
}

/* As luaL_traceback of later versions, in the words of this version's debug.traceback. */
void nl_traceback(lua_State *L, lua_State *at, const char *message, int level) {
    luaL_Buffer b;
    lua_Debug ar;
    int depth = depth_of(at), skipped = level + FIRST_SHOWN;
    int gap = depth - skipped > LAST_SHOWN ? depth - skipped - LAST_SHOWN : 0;
    luaL_buffinit(L, &b);
    if (message != NULL) {
        luaL_addstring(&b, message);
        luaL_addchar(&b, '\n');
    }
    luaL_addstring(&b, "stack traceback:");
    for (; lua_getstack(at, level, &ar); level++) {
        if (gap > 0 && level == skipped) {
            luaL_addstring(&b, "\n\t...");
            level += gap;
            lua_getstack(at, level, &ar);
        }
        lua_getinfo(at, "Snl", &ar);
        add_frame(&b, &ar);
    }
    luaL_pushresult(&b);
}

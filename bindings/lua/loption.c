/* loption.c: the fields of a table of options. */
#include "lneap.h"

#include <string.h>

/* Raises for a string key that is no option. */
void nl_check_options(lua_State *L, nl_state *st, int at, const char *const *names) {
    for (lua_pushnil(L); lua_next(L, at); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING)
            continue;
        const char *key = lua_tostring(L, -2), *const *name = names;
        while (*name != NULL && strcmp(*name, key) != 0)
            name++;
        if (*name == NULL)
            nl_throw(L, st, NEAP_EVALUE, "unknown option '%s'", key);
    }
}

/* Whether there are options at `at`; raises if that is no table, or has one that is none. */
int nl_has_options(lua_State *L, nl_state *st, int at, const char *const *names) {
    if (lua_isnoneornil(L, at))
        return 0;
    if (!lua_istable(L, at))
        nl_type_error(L, st, at, "a table of options");
    nl_check_options(L, st, at, names);
    return 1;
}

/* Pushes the option, a string or nil. */
const char *nl_push_text_option(lua_State *L, nl_state *st, int at, const char *name) {
    lua_getfield(L, at, name);
    if (!lua_isnil(L, -1) && lua_type(L, -1) != LUA_TSTRING)
        nl_throw(L, st, NEAP_ETYPE, "the option '%s' must be a string", name);
    return lua_tostring(L, -1);
}

/* A whole number from `least` to `most`; 0 if nothing is said. */
int32_t nl_count_option(lua_State *L, nl_state *st, int at, const char *name, int32_t least,
                        int32_t most) {
    lua_getfield(L, at, name);
    int given = !lua_isnil(L, -1);
    double n = lua_type(L, -1) == LUA_TNUMBER ? (double)lua_tonumber(L, -1) : -1;
    int fits = n >= least && n <= most && n == (double)(int32_t)n;
    lua_pop(L, 1);
    if (given && !fits && most == INT32_MAX)
        nl_throw(L, st, NEAP_EVALUE, "the option '%s' must be a whole number of at least %d", name,
                 (int)least);
    if (given && !fits)
        nl_throw(L, st, NEAP_EVALUE, "the option '%s' must be a whole number of %d to %d", name,
                 (int)least, (int)most);
    return given ? (int32_t)n : 0;
}

/* lattach.c: what neap_lua.h promises to hosts, and the modules' entry points. */
#include "lneap.h"

static int attach(lua_State *L) {
    nl_state *st = lua_touserdata(L, 1);
    neap_loop *loop = lua_touserdata(L, 2);
    nl_loop *l = NULL;
    for (nl_loop *known = st->loops; known != NULL; known = known->next)
        if (known->loop == loop)
            l = known;
    if (l == NULL) {
        l = nl_new_loop(L, st);
        nl_loop_begin(l, neap_loop_ref(loop));
        l->attached = 1;
        nl_set_loop(L, st, l, lua_gettop(L));
    }
    if (st->wired && st->patches == 0)
        nl_patch(L, st);
    return 0;
}

static int open_state(lua_State *L) {
    lua_pushlightuserdata(L, nl_state_of(L));
    return 1;
}

/* Calls fn with up to two pointers, protected; answers NEAP_OK or NEAP_ENOMEM and leaves `results` values. */
static int protect(lua_State *L, lua_CFunction fn, void *a, void *b, int results) {
    lua_pushcfunction(L, fn);
    lua_pushlightuserdata(L, a);
    lua_pushlightuserdata(L, b);
    if (lua_pcall(L, 2, results, 0) == LUA_OK)
        return NEAP_OK;
    lua_pop(L, 1);
    return NEAP_ENOMEM;
}

int neap_lua_attach(lua_State *L, neap_loop *loop) {
    if (loop == NULL || neap_loop_is_closed(loop))
        return NEAP_ELOOP_CLOSED;
    if (!neap_loop_in_thread(loop))
        return NEAP_EWRONGTHREAD;
    if (protect(L, open_state, NULL, NULL, 1) < 0)
        return NEAP_ENOMEM;
    nl_state *st = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (st->running != NULL && st->running->loop != loop)
        return NEAP_EOTHER_LOOP_RUNNING;
    return protect(L, attach, st, loop, 0);
}

void neap_lua_push_future(lua_State *L, neap_future *future) {
    nl_push_object(L, nl_state_of(L), future);
}

neap_future *neap_lua_to_future(lua_State *L, int index) {
    nl_state *st = nl_state_of(L);
    nl_object *o = nl_to_object(L, st, index);
    int gone = o == NULL || st->closed || (o->future == NULL && o->node.kind != NL_TASK);
    if (gone || ((o->node.flags & NL_KEPT) && !nl_is_kept(L, index)))
        return NULL;
    nl_share(L, st, index);
    return o->future;
}

int luaopen_neap_core(lua_State *L) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, nl_state_of(L)->module);
    return 1;
}

int luaopen_neap_corejit(lua_State *L) {
    return luaopen_neap_core(L);
}

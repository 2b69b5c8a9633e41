/* lfswatch.c: events of files, as neap/fs.lua builds its watches of. */
#include "lneap.h"

static void drop(nl_node *node) {
    nl_fs_watch *w = (nl_fs_watch *)node;
    neap_fs_watch *watch = w->watch;
    w->watch = NULL;
    neap_fs_watch_unref(watch);
}

static int new_watch(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_loop *l = nl_loop_now(L, st);
    nl_fs_watch *w = nl_make(L, st, NL_FS_WATCH, sizeof *w, 0);
    int32_t code = neap_fs_watch_new(l->loop, &w->watch);
    return code < 0 ? nl_fs_fail(L, st, code, "watch", NULL, NULL) : 1;
}

static nl_fs_watch *self(lua_State *L) {
    nl_fs_watch *w = nl_check(L, NL_STATE(L), 1, NL_FS_WATCH, "a watch");
    if (w->watch == NULL)
        nl_throw_code(L, w->node.st, NEAP_ECLOSED);
    return w;
}

/* add(path): the number of its events. */
static int watch_add(lua_State *L) {
    const nl_fs_watch *w = self(L);
    size_t len;
    const char *path = luaL_checklstring(L, 2, &len);
    int32_t code = neap_fs_watch_add(w->watch, path, len);
    if (code < 0)
        return nl_fs_fail(L, w->node.st, code, "watch", path, NULL);
    lua_pushinteger(L, code);
    return 1;
}

static int watch_remove(lua_State *L) {
    const nl_fs_watch *w = self(L);
    int32_t code = neap_fs_watch_remove(w->watch, (int32_t)luaL_checkinteger(L, 2));
    lua_pushboolean(L, code == 0);
    return 1;
}

static int watch_close(lua_State *L) {
    const nl_fs_watch *w = nl_check(L, NL_STATE(L), 1, NL_FS_WATCH, "a watch");
    if (w->watch != NULL)
        neap_fs_watch_close(w->watch);
    lua_pushboolean(L, 1);
    return 1;
}

static void set_kinds(lua_State *L, uint32_t kinds) {
    static const char *const names[] = {"created",    "deleted",    "modified",    "written",
                                        "attributes", "moved_from", "moved_to",    "gone",
                                        "ended",      "overflow",   "is_directory"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if ((kinds & 1u << i) == 0)
            continue;
        lua_pushboolean(L, 1);
        lua_setfield(L, -2, names[i]);
    }
}

static int push_event(lua_State *L, const neap_fs_event *e) {
    lua_createtable(L, 0, 5);
    set_kinds(L, e->kinds);
    lua_pushinteger(L, e->id);
    lua_setfield(L, -2, "id");
    if (e->name_len > 0) {
        lua_pushlstring(L, e->name, e->name_len);
        lua_setfield(L, -2, "name");
    }
    if (e->cookie != 0) {
        lua_pushinteger(L, (lua_Integer)e->cookie);
        lua_setfield(L, -2, "cookie");
    }
    return 1;
}

static int next_end(lua_State *L);

static int ask(lua_State *L, nl_state *st, const nl_fs_watch *w) {
    neap_fs_event event;
    neap_future *future = NULL;
    int32_t code = neap_fs_watch_next(w->watch, &event, sizeof event, &future);
    if (code == NEAP_PENDING)
        return nl_park(L, st, future, 1, next_end);
    if (code < 0)
        return nl_fs_fail(L, st, code, "watch", NULL, NULL);
    return push_event(L, &event);
}

/* Keeps the watch at index 1. */
static int next_end(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_future *future = nl_woken(L, st);
    if (neap_future_error(future) < 0)
        return nl_fs_fail_waited(L, st, future, "watch", NULL, NULL);
    nl_wait_end(st->task);
    lua_settop(L, 1);
    return ask(L, st, nl_block(L, 1));
}

static int watch_next(lua_State *L) {
    nl_state *st = NL_STATE(L);
    const nl_fs_watch *w = self(L);
    nl_check_wait(L, st);
    if (nl_is_spent(st))
        return nl_again(L, st, watch_next);
    lua_settop(L, 1);
    return ask(L, st, w);
}

void nl_open_fs_watch(lua_State *L, nl_state *st) {
    static const luaL_Reg metas[] = {{"__gc", nl_gc}, {NULL, NULL}};
    static const luaL_Reg methods[] = {
        {"add", watch_add}, {"remove", watch_remove}, {"close", watch_close}, {NULL, NULL}};
    static const luaL_Reg waits[] = {{"next_event", watch_next}, {NULL, NULL}};
    static const luaL_Reg functions[] = {{"new_watch", new_watch}, {NULL, NULL}};
    st->drops[NL_FS_WATCH] = drop;
    nl_functions(L, st, functions);
    nl_class(L, st, NL_FS_WATCH, "neap.fs.watch", methods, waits, metas);
    lua_pop(L, 1);
}

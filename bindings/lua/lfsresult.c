/* lfsresult.c: what operations on files come to, as Lua values: by the kind that the core says. */
#include "lneap.h"

static void set_text(lua_State *L, const char *key, const char *text) {
    if (text == NULL)
        return;
    lua_pushstring(L, text);
    lua_setfield(L, -2, key);
}

/* nil and an error that knows operation and paths. */
int nl_fs_fail(lua_State *L, nl_state *st, int32_t code, const char *op, const char *path,
               const char *to) {
    nl_fail(L, st, code, op, NULL);
    if (code == NEAP_EVALUE)
        set_text(L, "message", "a path cannot have a zero byte inside");
    set_text(L, "path", path);
    set_text(L, "to", to);
    return 2;
}

static void add_partial(lua_State *L, int64_t partial) {
    lua_pushinteger(L, (lua_Integer)partial);
    lua_setfield(L, -2, "partial");
}

/* The same for what the coroutine waited for; a cancellation is raised. */
int nl_fs_fail_waited(lua_State *L, nl_state *st, neap_future *future, const char *op,
                      const char *path, const char *to) {
    int32_t code = neap_future_error(future);
    int64_t partial = neap_future_partial(future);
    if (code == NEAP_ECANCELED)
        nl_push_cancelled(L, st, neap_future_message(future));
    nl_wait_end(st->task);
    if (code == NEAP_ECANCELED)
        return lua_error(L);
    nl_fs_fail(L, st, code, op, path, to);
    if (partial > 0)
        add_partial(L, partial);
    return 2;
}

static const char *type_name(int32_t type) {
    static const char *const names[] = {
        [NEAP_FILE_UNKNOWN] = "unknown",     [NEAP_FILE_REGULAR] = "file",
        [NEAP_FILE_DIRECTORY] = "directory", [NEAP_FILE_SYMLINK] = "link",
        [NEAP_FILE_FIFO] = "fifo",           [NEAP_FILE_SOCKET] = "socket",
        [NEAP_FILE_CHAR] = "char",           [NEAP_FILE_BLOCK] = "block"};
    return names[type];
}

static void set_integer(lua_State *L, const char *key, uint64_t n) {
    lua_pushinteger(L, (lua_Integer)n);
    lua_setfield(L, -2, key);
}

static void set_time(lua_State *L, const char *key, int64_t ns) {
    if (ns == NEAP_TIME_OMIT)
        return;
    lua_pushnumber(L, (lua_Number)ns / 1e9);
    lua_setfield(L, -2, key);
}

static int push_stat(lua_State *L, const neap_stat *s) {
    lua_createtable(L, 0, 14);
    set_text(L, "type", type_name(s->type));
    set_integer(L, "permissions", s->permissions);
    set_integer(L, "size", s->bytes);
    set_integer(L, "allocated", s->allocated);
    set_integer(L, "device", s->device);
    set_integer(L, "inode", s->inode);
    set_integer(L, "links", s->links);
    set_integer(L, "user", s->user);
    set_integer(L, "group", s->group);
    set_time(L, "accessed", s->atime_ns);
    set_time(L, "modified", s->mtime_ns);
    set_time(L, "changed", s->ctime_ns);
    set_time(L, "born", s->birth_ns);
    return 1;
}

/* A list of {name=, type=, inode=}. */
static int push_entries(lua_State *L, neap_future *future) {
    neap_dir_entry e;
    size_t cursor = 0;
    lua_newtable(L);
    for (int n = 1; neap_future_get_entry(future, &cursor, &e, sizeof e) > 0; n++) {
        lua_createtable(L, 0, 3);
        lua_pushlstring(L, e.name, e.name_len);
        lua_setfield(L, -2, "name");
        set_text(L, "type", type_name(e.type));
        set_integer(L, "inode", e.inode);
        lua_rawseti(L, -2, n);
    }
    return 1;
}

static int push_other(lua_State *L, neap_future *future) {
    neap_stat s;
    neap_dir_entry e;
    size_t cursor = 0;
    if (neap_future_get_stat(future, &s, sizeof s) == 0)
        return push_stat(L, &s);
    if (neap_future_get_entry(future, &cursor, &e, sizeof e) >= 0)
        return push_entries(L, future);
    lua_pushboolean(L, 1);
    return 1;
}

/* Pushes the result that the core has; true for one that is nothing but success. */
int nl_fs_push(lua_State *L, neap_future *future) {
    neap_value value;
    int32_t kind = neap_future_value(future, &value, sizeof value);
    if (kind == NEAP_KIND_INT) {
        lua_pushinteger(L, (lua_Integer)value.i);
    } else if (kind == NEAP_KIND_BYTES) {
        lua_pushlstring(L, value.bytes.data, value.bytes.len);
    } else {
        return push_other(L, future);
    }
    return 1;
}

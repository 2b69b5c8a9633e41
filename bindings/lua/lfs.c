/* lfs.c: operations on paths: each is one trip to the core. */
#include "lneap.h"

#include <math.h>
#include <string.h>

enum {
    PERMISSIONS = 0666,
    PERMISSIONS_DIR = 0777
};

/* ---- The wait of an operation ---- */

/* Of the record of a wait. */
enum {
    KEPT_OP = 1,
    KEPT_PATH,
    KEPT_TO,
    KEPT_FILE /* for an open: the object, made before there is something to lose */
};

static const char *kept_text(lua_State *L, int field) {
    lua_rawgeti(L, 1, field);
    return lua_tostring(L, -1);
}

/* Keeps the record at index 1. */
static int fs_end(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_future *future = nl_woken(L, st);
    if (neap_future_error(future) < 0)
        return nl_fs_fail_waited(L, st, future, kept_text(L, KEPT_OP), kept_text(L, KEPT_PATH),
                                 kept_text(L, KEPT_TO));
    lua_rawgeti(L, 1, KEPT_FILE);
    nl_file *opened = nl_block(L, -1);
    int n = 1;
    if (opened != NULL)
        nl_check_code(L, st, neap_future_take_file(future, &opened->file));
    else
        n = nl_fs_push(L, future);
    nl_wait_end(st->task);
    return n;
}

typedef struct nl_path {
    const char *bytes;
    size_t len;
} nl_path;

static nl_path check_path(lua_State *L, nl_state *st, int index) {
    nl_path p;
    if (lua_type(L, index) != LUA_TSTRING)
        nl_type_error(L, st, index, "a path");
    p.bytes = lua_tolstring(L, index, &p.len);
    return p;
}

/* What each verb begins with, once its arguments are seen: makes the record of the wait, in the place of the path at 1, while
   there is nothing to lose; answers the loop.  `to` and `file` are indices of values to keep, or 0. */
static neap_loop *begin(lua_State *L, nl_state *st, const char *op, int to, int file) {
    nl_check_wait(L, st);
    lua_createtable(L, 4, 0);
    lua_pushstring(L, op);
    lua_rawseti(L, -2, KEPT_OP);
    lua_pushvalue(L, 1);
    lua_rawseti(L, -2, KEPT_PATH);
    if (to != 0) {
        lua_pushvalue(L, to);
        lua_rawseti(L, -2, KEPT_TO);
    }
    if (file != 0) {
        lua_pushvalue(L, file);
        lua_rawseti(L, -2, KEPT_FILE);
    }
    lua_replace(L, 1);
    return neap_future_loop(st->task->o.future);
}

/* Waits for the outcome. */
static int wait_for(lua_State *L, nl_state *st, int32_t code, neap_future *future) {
    if (code == NEAP_PENDING)
        return nl_park(L, st, future, 1, fs_end);
    return nl_fs_fail(L, st, code, kept_text(L, KEPT_OP), kept_text(L, KEPT_PATH),
                      kept_text(L, KEPT_TO));
}

/* ---- Options ---- */

static uint32_t flag(lua_State *L, int options, const char *name, uint32_t value) {
    if (lua_isnoneornil(L, options))
        return 0;
    lua_getfield(L, options, name);
    uint32_t set = lua_toboolean(L, -1) ? value : 0;
    lua_pop(L, 1);
    return set;
}

static uint32_t check_permissions(lua_State *L, nl_state *st, int index) {
    lua_Number n = lua_tonumber(L, index);
    if (lua_type(L, index) != LUA_TNUMBER || !(n >= 0 && n <= 07777 && n == floor(n)))
        nl_throw(L, st, NEAP_EVALUE, "permissions are a number from 0 to 4095 (octal 7777)");
    return (uint32_t)n;
}

static uint32_t permissions_option(lua_State *L, nl_state *st, int options, uint32_t otherwise) {
    if (lua_isnoneornil(L, options))
        return otherwise;
    lua_getfield(L, options, "permissions");
    uint32_t value = lua_isnil(L, -1) ? otherwise : check_permissions(L, st, -1);
    lua_pop(L, 1);
    return value;
}

/* The table of options at this index is the last argument, if it is there. */
static void check_options(lua_State *L, nl_state *st, int index, const char *const *names) {
    lua_settop(L, index);
    (void)nl_has_options(L, st, index, names);
}

/* ---- Opening ---- */

/* The modes of io.open, and "x" behind "w" for a file that must be new. */
static uint32_t check_mode(lua_State *L, nl_state *st, int index) {
    const char *mode = luaL_optstring(L, index, "r");
    uint32_t how = 0;
    char first = *mode != '\0' ? *mode++ : '?';
    if (*mode == '+') {
        how |= NEAP_OPEN_READ | NEAP_OPEN_WRITE;
        mode++;
    }
    mode += *mode == 'b';
    if (first == 'w' && *mode == 'x') {
        how |= NEAP_OPEN_EXCL;
        mode++;
    }
    if (strchr("rwa", first) == NULL || *mode != '\0')
        nl_arg_error(L, st, index, NEAP_EVALUE,
                     "the modes are \"r\", \"w\", \"a\", with \"+\", \"b\" and, for \"w\", \"x\"");
    if (first == 'r')
        return how | NEAP_OPEN_READ;
    if (first == 'a')
        return how | NEAP_OPEN_APPEND | NEAP_OPEN_CREATE;
    return how | NEAP_OPEN_WRITE | NEAP_OPEN_CREATE | NEAP_OPEN_TRUNCATE;
}

/* open(path, mode[, {permissions=, nofollow=}]) */
static int fs_open(lua_State *L) {
    static const char *const names[] = {"permissions", "nofollow", NULL};
    nl_state *st = NL_STATE(L);
    nl_path path = check_path(L, st, 1);
    uint32_t how = check_mode(L, st, 2);
    check_options(L, st, 3, names);
    how |= flag(L, 3, "nofollow", NEAP_OPEN_NOFOLLOW);
    uint32_t permissions = permissions_option(L, st, 3, PERMISSIONS);
    nl_new_file(L, st);
    neap_loop *loop = begin(L, st, "open", 0, lua_gettop(L));
    neap_future *future = NULL;
    int32_t code = neap_file_open(loop, path.bytes, path.len, how, permissions, &future);
    return wait_for(L, st, code, future);
}

/* mkstemp([pattern]): a new file, whose name is its path(). */
static int fs_mkstemp(lua_State *L) {
    nl_state *st = NL_STATE(L);
    if (lua_isnoneornil(L, 1)) {
        lua_settop(L, 0);
        lua_pushliteral(L, "/tmp/neap-XXXXXX");
    }
    nl_path path = check_path(L, st, 1);
    nl_new_file(L, st);
    neap_loop *loop = begin(L, st, "mkstemp", 0, lua_gettop(L));
    neap_future *future = NULL;
    int32_t code = neap_fs_mkstemp(loop, path.bytes, path.len, &future);
    return wait_for(L, st, code, future);
}

static int fs_mkdtemp(lua_State *L) {
    nl_state *st = NL_STATE(L);
    if (lua_isnoneornil(L, 1)) {
        lua_settop(L, 0);
        lua_pushliteral(L, "/tmp/neap-XXXXXX");
    }
    nl_path path = check_path(L, st, 1);
    neap_loop *loop = begin(L, st, "mkdtemp", 0, 0);
    neap_future *future = NULL;
    int32_t code = neap_fs_mkdtemp(loop, path.bytes, path.len, &future);
    return wait_for(L, st, code, future);
}

/* ---- Whole files ---- */

static const char *check_data(lua_State *L, nl_state *st, int index, size_t *len) {
    if (lua_type(L, index) != LUA_TSTRING && lua_type(L, index) != LUA_TNUMBER)
        nl_type_error(L, st, index, "a string");
    return lua_tolstring(L, index, len);
}

static int write_with(lua_State *L, uint32_t flags, const char *op) {
    static const char *const names[] = {"permissions", "exclusive", "sync", NULL};
    nl_state *st = NL_STATE(L);
    nl_path path = check_path(L, st, 1);
    size_t len;
    const char *data = check_data(L, st, 2, &len);
    check_options(L, st, 3, names);
    flags |= flag(L, 3, "exclusive", NEAP_FS_EXCL) | flag(L, 3, "sync", NEAP_FS_SYNC);
    uint32_t permissions = permissions_option(L, st, 3, PERMISSIONS);
    neap_loop *loop = begin(L, st, op, 0, 0);
    neap_future *future = NULL;
    int32_t code =
        neap_fs_write(loop, path.bytes, path.len, data, len, flags, permissions, &future);
    return wait_for(L, st, code, future);
}

static int fs_write(lua_State *L) {
    return write_with(L, 0, "write");
}

static int fs_append(lua_State *L) {
    return write_with(L, NEAP_FS_APPEND, "append");
}

static int fs_replace(lua_State *L) {
    static const char *const names[] = {"permissions", NULL};
    nl_state *st = NL_STATE(L);
    nl_path path = check_path(L, st, 1);
    size_t len;
    const char *data = check_data(L, st, 2, &len);
    check_options(L, st, 3, names);
    uint32_t permissions = permissions_option(L, st, 3, PERMISSIONS);
    neap_loop *loop = begin(L, st, "replace", 0, 0);
    neap_future *future = NULL;
    int32_t code = neap_fs_replace(loop, path.bytes, path.len, data, len, permissions, &future);
    return wait_for(L, st, code, future);
}

/* ---- Verbs with one path and nothing else ---- */

typedef int32_t (*path_fn)(neap_loop *loop, const char *path, size_t len, neap_future **ret_future);

static int with_path(lua_State *L, path_fn fn, const char *op) {
    nl_state *st = NL_STATE(L);
    nl_path path = check_path(L, st, 1);
    neap_loop *loop = begin(L, st, op, 0, 0);
    neap_future *future = NULL;
    int32_t code = fn(loop, path.bytes, path.len, &future);
    return wait_for(L, st, code, future);
}

static int fs_read(lua_State *L) {
    return with_path(L, neap_fs_read, "read");
}

static int fs_unlink(lua_State *L) {
    return with_path(L, neap_fs_unlink, "unlink");
}

static int fs_rmdir(lua_State *L) {
    return with_path(L, neap_fs_rmdir, "rmdir");
}

static int fs_readlink(lua_State *L) {
    return with_path(L, neap_fs_readlink, "readlink");
}

static int fs_realpath(lua_State *L) {
    return with_path(L, neap_fs_realpath, "realpath");
}

/* ---- Verbs with one path and flags ---- */

typedef int32_t (*flags_fn)(neap_loop *loop, const char *path, size_t len, uint32_t flags,
                            neap_future **ret_future);

static int with_flags(lua_State *L, flags_fn fn, const char *op, uint32_t flags) {
    nl_state *st = NL_STATE(L);
    nl_path path = check_path(L, st, 1);
    neap_loop *loop = begin(L, st, op, 0, 0);
    neap_future *future = NULL;
    int32_t code = fn(loop, path.bytes, path.len, flags, &future);
    return wait_for(L, st, code, future);
}

static int fs_stat(lua_State *L) {
    return with_flags(L, neap_fs_stat, "stat", 0);
}

static int fs_lstat(lua_State *L) {
    return with_flags(L, neap_fs_stat, "lstat", NEAP_FS_NOFOLLOW);
}

/* readdir(path[, {nofollow=}]) */
static int fs_readdir(lua_State *L) {
    static const char *const names[] = {"nofollow", NULL};
    check_options(L, NL_STATE(L), 2, names);
    return with_flags(L, neap_fs_readdir, "readdir", flag(L, 2, "nofollow", NEAP_FS_NOFOLLOW));
}

static int fs_mkdir(lua_State *L) {
    static const char *const names[] = {"permissions", "parents", NULL};
    nl_state *st = NL_STATE(L);
    nl_path path = check_path(L, st, 1);
    check_options(L, st, 2, names);
    uint32_t flags = flag(L, 2, "parents", NEAP_FS_PARENTS);
    uint32_t permissions = permissions_option(L, st, 2, PERMISSIONS_DIR);
    neap_loop *loop = begin(L, st, "mkdir", 0, 0);
    neap_future *future = NULL;
    int32_t code = neap_fs_mkdir(loop, path.bytes, path.len, flags, permissions, &future);
    return wait_for(L, st, code, future);
}

static int fs_chmod(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_path path = check_path(L, st, 1);
    uint32_t permissions = check_permissions(L, st, 2);
    neap_loop *loop = begin(L, st, "chmod", 0, 0);
    neap_future *future = NULL;
    int32_t code = neap_fs_chmod(loop, path.bytes, path.len, permissions, &future);
    return wait_for(L, st, code, future);
}

/* A time in seconds since 1970; nothing: it stays; "now". */
static int64_t check_time(lua_State *L, nl_state *st, int index) {
    if (lua_isnoneornil(L, index))
        return NEAP_TIME_OMIT;
    if (lua_type(L, index) == LUA_TSTRING && strcmp(lua_tostring(L, index), "now") == 0)
        return NEAP_TIME_NOW;
    double s = (double)lua_tonumber(L, index);
    if (lua_type(L, index) != LUA_TNUMBER || !(fabs(s) < 9e9))
        nl_type_error(L, st, index, "a time in seconds, or \"now\"");
    return (int64_t)(s * 1e9);
}

/* utimes(path, accessed, modified) */
static int fs_utimes(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_path path = check_path(L, st, 1);
    int64_t atime = check_time(L, st, 2), mtime = check_time(L, st, 3);
    neap_loop *loop = begin(L, st, "utimes", 0, 0);
    neap_future *future = NULL;
    int32_t code = neap_fs_utimes(loop, path.bytes, path.len, atime, mtime, 0, &future);
    return wait_for(L, st, code, future);
}

static int fs_truncate(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_path path = check_path(L, st, 1);
    int64_t size = nl_offset(L, st, 2);
    neap_loop *loop = begin(L, st, "truncate", 0, 0);
    neap_future *future = NULL;
    int32_t code = neap_fs_truncate(loop, path.bytes, path.len, size, &future);
    return wait_for(L, st, code, future);
}

/* ---- Verbs with two paths ---- */

typedef int32_t (*paths_fn)(neap_loop *loop, const char *from, size_t from_len, const char *to,
                            size_t to_len, uint32_t flags, neap_future **ret_future);

static int with_paths(lua_State *L, paths_fn fn, const char *op) {
    static const char *const names[] = {"exclusive", NULL};
    nl_state *st = NL_STATE(L);
    nl_path from = check_path(L, st, 1), to = check_path(L, st, 2);
    check_options(L, st, 3, names);
    uint32_t flags = flag(L, 3, "exclusive", NEAP_FS_EXCL);
    neap_loop *loop = begin(L, st, op, 2, 0);
    neap_future *future = NULL;
    int32_t code = fn(loop, from.bytes, from.len, to.bytes, to.len, flags, &future);
    return wait_for(L, st, code, future);
}

static int fs_rename(lua_State *L) {
    return with_paths(L, neap_fs_rename, "rename");
}

static int fs_copy(lua_State *L) {
    return with_paths(L, neap_fs_copy, "copy");
}

/* A symbolic link or another name never replaces anything. */
static int32_t symlink_plain(neap_loop *loop, const char *from, size_t from_len, const char *to,
                             size_t to_len, uint32_t flags, neap_future **ret_future) {
    (void)flags;
    return neap_fs_symlink(loop, from, from_len, to, to_len, ret_future);
}

static int32_t link_plain(neap_loop *loop, const char *from, size_t from_len, const char *to,
                          size_t to_len, uint32_t flags, neap_future **ret_future) {
    (void)flags;
    return neap_fs_link(loop, from, from_len, to, to_len, ret_future);
}

static int fs_symlink(lua_State *L) {
    return with_paths(L, symlink_plain, "symlink");
}

static int fs_link(lua_State *L) {
    return with_paths(L, link_plain, "link");
}

void nl_open_fs(lua_State *L, nl_state *st) {
    static const luaL_Reg waits[] = {
        {"open", fs_open},
        {"mkstemp", fs_mkstemp},
        {"mkdtemp", fs_mkdtemp},
        {"read", fs_read},
        {"write", fs_write},
        {"append", fs_append},
        {"replace", fs_replace},
        {"unlink", fs_unlink},
        {"rmdir", fs_rmdir},
        {"readlink", fs_readlink},
        {"realpath", fs_realpath},
        {"stat", fs_stat},
        {"lstat", fs_lstat},
        {"readdir", fs_readdir},
        {"mkdir", fs_mkdir},
        {"chmod", fs_chmod},
        {"utimes", fs_utimes},
        {"truncate", fs_truncate},
        {"rename", fs_rename},
        {"copy", fs_copy},
        {"symlink", fs_symlink},
        {"link", fs_link},
        {NULL, NULL},
    };
    lua_newtable(L);
    nl_waits(L, st, waits);
    nl_open_file(L, st);
    nl_open_fs_watch(L, st);
    lua_setfield(L, -2, "fs");
}

/* lfile.c: the file object, and its operations of one trip.  What reads from the position is in lfileread.c. */
#include "lneap.h"

#include <math.h>

/* ---- Making ---- */

/* Pushes a file object that has no file yet, so that none is lost when memory is out. */
nl_file *nl_new_file(lua_State *L, nl_state *st) {
    return nl_make(L, st, NL_FILE, sizeof(nl_file), 0);
}

static void drop(nl_node *node) {
    nl_file *f = (nl_file *)node;
    neap_file *file = f->file;
    neap_buf *seen = f->seen;
    f->file = NULL;
    f->seen = NULL;
    nl_file_end_reading(f);
    neap_buf_unref(seen);
    neap_file_unref(file);
}

/* The open or closed file at index 1. */
nl_file *nl_check_file(lua_State *L, nl_state *st) {
    nl_file *f = nl_check(L, st, 1, NL_FILE, "a file");
    if (f->file == NULL)
        nl_throw_code(L, st, NEAP_ECLOSED);
    return f;
}

/* Or NULL. */
const char *nl_file_path(const nl_file *f) {
    const char *path = f->file != NULL ? neap_file_path(f->file) : "";
    return *path != '\0' ? path : NULL;
}

int nl_file_fail(lua_State *L, const nl_file *f, int32_t code, const char *op) {
    if (code != NEAP_EBUSY)
        return nl_fs_fail(L, f->node.st, code, op, nl_file_path(f), NULL);
    lua_pushnil(L);
    nl_push_error(L, f->node.st, code, "another task reads from the file");
    return 2;
}

/* A file of a descriptor, which becomes the file's. */
static int adopt(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_fd fd = (neap_fd)luaL_checkinteger(L, 1);
    nl_loop *l = nl_loop_now(L, st);
    nl_file *f = nl_new_file(L, st);
    int32_t code = neap_file_adopt(l->loop, fd, &f->file);
    return code < 0 ? nl_fail(L, st, code, "adopt", NULL) : 1;
}

/* ---- All else: one trip ---- */

/* Keeps the file at index 1. */
static int op_end(lua_State *L, const char *op) {
    nl_state *st = NL_STATE(L);
    neap_future *future = nl_woken(L, st);
    const nl_file *f = nl_block(L, 1);
    if (neap_future_error(future) < 0)
        return nl_fs_fail_waited(L, st, future, op, nl_file_path(f), NULL);
    int n = nl_fs_push(L, future);
    nl_wait_end(st->task);
    return n;
}

static int op_answer(lua_State *L, nl_file *f, int32_t code, neap_future *future, const char *op,
                     nl_cont end) {
    if (code != NEAP_PENDING)
        return nl_file_fail(L, f, code, op);
    lua_settop(L, 1);
    return nl_park(L, f->node.st, future, 1, end);
}

/* An offset or size in bytes. */
int64_t nl_offset(lua_State *L, nl_state *st, int index) {
    double n = (double)lua_tonumber(L, index);
    if (lua_type(L, index) != LUA_TNUMBER)
        nl_type_error(L, st, index, "a number of bytes");
    if (!(n >= 0 && n < 9e18 && n == floor(n)))
        nl_arg_error(L, st, index, NEAP_EVALUE, "a whole number of at least 0 is needed");
    return (int64_t)n;
}

static int pread_end(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_future *future = nl_woken(L, st);
    const void *data;
    size_t len;
    if (neap_future_get_bytes(future, &data, &len) == 0 && len == 0) {
        nl_wait_end(st->task);
        lua_pushnil(L);
        return 1;
    }
    return op_end(L, "pread");
}

/* pread(n, offset): nil behind the end. */
static int file_pread(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_file *f = nl_check_file(L, st);
    size_t n = nl_file_size(L, st, 2);
    int64_t offset = nl_offset(L, st, 3);
    neap_future *future = NULL;
    nl_check_wait(L, st);
    if (nl_is_spent(st))
        return nl_again(L, st, file_pread);
    neap_buf_unref(f->seen);
    f->seen = NULL;
    int32_t code = neap_file_pread(f->file, offset, n, 0, &f->seen, &future);
    if (code < 0)
        return op_answer(L, f, code, future, "pread", pread_end);
    if (code == 0 && n > 0)
        lua_pushnil(L);
    else
        lua_pushlstring(L, neap_buf_data(f->seen), (size_t)code);
    return 1;
}

/* Keeps the file, which is the answer, at index 1. */
static int write_end(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_future *future = nl_woken(L, st);
    const nl_file *f = nl_block(L, 1);
    if (neap_future_error(future) < 0)
        return nl_fs_fail_waited(L, st, future, "write", nl_file_path(f), NULL);
    nl_wait_end(st->task);
    lua_settop(L, 1);
    return 1;
}

/* The arguments from index 2 on as one string there. */
static const char *join(lua_State *L, nl_state *st, size_t *len) {
    int n = lua_gettop(L);
    for (int i = 2; i <= n; i++)
        if (lua_type(L, i) != LUA_TSTRING && lua_type(L, i) != LUA_TNUMBER)
            nl_type_error(L, st, i, "strings to be written");
    lua_concat(L, n - 1);
    return lua_tolstring(L, 2, len);
}

/* Strings and numbers, as one write; answers the file. */
static int file_write(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_file *f = nl_check_file(L, st);
    neap_future *future = NULL;
    size_t len;
    nl_check_wait(L, st);
    if (nl_file_is_read(f))
        return nl_file_fail(L, f, NEAP_EBUSY, "write");
    const char *data = join(L, st, &len);
    nl_file_give_back(f);
    int32_t code = neap_file_write(f->file, data, len, &future);
    return op_answer(L, f, code, future, "write", write_end);
}

/* pwrite(data, offset) */
static int file_pwrite(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_file *f = nl_check_file(L, st);
    neap_future *future = NULL;
    size_t len;
    if (lua_type(L, 2) != LUA_TSTRING)
        nl_type_error(L, st, 2, "a string");
    int64_t offset = nl_offset(L, st, 3);
    const char *data = lua_tolstring(L, 2, &len);
    nl_check_wait(L, st);
    int32_t code = neap_file_pwrite(f->file, offset, data, len, &future);
    return op_answer(L, f, code, future, "write", write_end);
}

static int seek_end(lua_State *L) {
    return op_end(L, "seek");
}

/* seek([whence[, offset]]), as io's. */
static int file_seek(lua_State *L) {
    static const char *const words[] = {"set", "cur", "end", NULL};
    nl_state *st = NL_STATE(L);
    nl_file *f = nl_check_file(L, st);
    int whence = luaL_checkoption(L, 2, "cur", words);
    double offset = (double)luaL_optnumber(L, 3, 0);
    neap_future *future = NULL;
    int64_t at = 0;
    if (!(fabs(offset) < 9e18 && offset == floor(offset)))
        nl_arg_error(L, st, 3, NEAP_EVALUE, "a whole number is needed");
    nl_check_wait(L, st);
    if (nl_is_spent(st))
        return nl_again(L, st, file_seek);
    if (nl_file_is_read(f))
        return nl_file_fail(L, f, NEAP_EBUSY, "seek");
    nl_file_give_back(f);
    int32_t code = neap_file_seek(f->file, (int64_t)offset, whence, &at, &future);
    if (code < 0)
        return op_answer(L, f, code, future, "seek", seek_end);
    lua_pushinteger(L, (lua_Integer)at);
    return 1;
}

static int stat_end(lua_State *L) {
    return op_end(L, "stat");
}

static int file_stat(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_file *f = nl_check_file(L, st);
    neap_future *future = NULL;
    nl_check_wait(L, st);
    int32_t code = neap_file_stat(f->file, &future);
    return op_answer(L, f, code, future, "stat", stat_end);
}

static int sync_end(lua_State *L) {
    return op_end(L, "sync");
}

/* sync([data_only]) */
static int file_sync(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_file *f = nl_check_file(L, st);
    neap_future *future = NULL;
    nl_check_wait(L, st);
    int32_t code = neap_file_sync(f->file, lua_toboolean(L, 2), &future);
    return op_answer(L, f, code, future, "sync", sync_end);
}

static int truncate_end(lua_State *L) {
    return op_end(L, "truncate");
}

static int file_truncate(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_file *f = nl_check_file(L, st);
    int64_t size = nl_offset(L, st, 2);
    neap_future *future = NULL;
    nl_check_wait(L, st);
    int32_t code = neap_file_truncate(f->file, size, &future);
    return op_answer(L, f, code, future, "truncate", truncate_end);
}

/* ---- Closing and looking ---- */

static int close_end(lua_State *L) {
    return op_end(L, "close");
}

/* Answers when the file is closed.  Where no wait is possible that happens by itself. */
static int file_close(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_file *f = nl_check(L, st, 1, NL_FILE, "a file");
    neap_future *future = NULL;
    int waits = st->task != NULL && (NL_FRAMES_TELL || nl_can_wait(L, st));
    if (waits)
        nl_check_wait(L, st);
    int32_t code = f->file == NULL ? 0 : neap_file_close(f->file, &future);
    if (code == NEAP_PENDING && waits)
        return op_answer(L, f, code, future, "close", close_end);
    if (code == NEAP_PENDING)
        neap_future_ignore(future);
    neap_future_unref(future);
    if (code < 0 && code != NEAP_PENDING && code != NEAP_ELOOP_CLOSED)
        return nl_file_fail(L, f, code, "close");
    lua_pushboolean(L, 1);
    return 1;
}

static int file_fd(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_file *f = nl_check_file(L, st);
    neap_fd fd = neap_file_fd(f->file);
    if (fd < 0)
        return nl_file_fail(L, f, (int32_t)fd, "fd");
    lua_pushinteger(L, (lua_Integer)fd);
    return 1;
}

static int file_path(lua_State *L) {
    const nl_file *f = nl_check(L, NL_STATE(L), 1, NL_FILE, "a file");
    lua_pushstring(L, nl_file_path(f));
    return 1;
}

static int file_closed(lua_State *L) {
    const nl_file *f = nl_check(L, NL_STATE(L), 1, NL_FILE, "a file");
    lua_pushboolean(L, f->file == NULL || neap_file_fd(f->file) == NEAP_ECLOSED);
    return 1;
}

static int file_tostring(lua_State *L) {
    const nl_file *f = nl_check(L, NL_STATE(L), 1, NL_FILE, "a file");
    neap_fd fd = f->file != NULL ? neap_file_fd(f->file) : NEAP_ECLOSED;
    if (fd >= 0)
        lua_pushfstring(L, "neap.file: %s (descriptor %d)",
                        nl_file_path(f) != NULL ? nl_file_path(f) : "adopted", (int)fd);
    else
        lua_pushliteral(L, "neap.file: closed");
    return 1;
}

/* The collector closes what nobody closed, and says so in debug mode. */
static int file_gc(lua_State *L) {
    nl_file *f = nl_finalized(L);
    if (f == NULL)
        return 0;
    neap_loop *loop = f->file != NULL ? neap_file_loop(f->file) : NULL;
    if (loop != NULL && neap_file_fd(f->file) >= 0 && neap_loop_debug(loop, -1) > 0)
        neap_loop_fail(loop, 0, "a file was collected before it was closed", NULL, NULL);
    nl_drop(L, &f->node);
    return 0;
}

void nl_open_file(lua_State *L, nl_state *st) {
    static const luaL_Reg metas[] = {
        {"__tostring", file_tostring}, {"__gc", file_gc}, {"__close", file_close}, {NULL, NULL}};
    static const luaL_Reg methods[] = {{"fd", file_fd},
                                       {"fileno", file_fd},
                                       {"path", file_path},
                                       {"closed", file_closed},
                                       {NULL, NULL}};
    static const luaL_Reg waits[] = {
        {"pread", file_pread},       {"write", file_write}, {"pwrite", file_pwrite},
        {"seek", file_seek},         {"stat", file_stat},   {"sync", file_sync},
        {"truncate", file_truncate}, {"close", file_close}, {NULL, NULL},
    };
    static const luaL_Reg functions[] = {{"adopt", adopt}, {NULL, NULL}};
    st->drops[NL_FILE] = drop;
    nl_functions(L, st, functions);
    nl_class(L, st, NL_FILE, "neap.file", methods, waits, metas);
    nl_functions(L, st, nl_file_looks);
    nl_waits(L, st, nl_file_reads);
    lua_getfield(L, -3, "methods"); /* the module's: neap/fs.lua adds to ours */
    lua_insert(L, -2);
    lua_setfield(L, -2, "file");
    lua_pop(L, 1);
}

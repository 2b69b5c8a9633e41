/* lfile.c: the file object.  Reads are buffered, so that lines cost no trip each; writes go out as they are.

   What is buffered was read ahead of the script: whatever else depends on the position gives it back first.  A file has one
   reader at a time; who that is, is known by the future that it waits for. */
#include "lneap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    BLOCK = 65536 /* read at once for lines and small pieces */
};

/* ---- Making ---- */

/* Pushes a file object that has no file yet, so that none is lost when memory is out. */
nl_file *nl_new_file(lua_State *L, nl_state *st) {
    return nl_make(L, st, NL_FILE, sizeof(nl_file), 0);
}

static void drop(nl_node *node) {
    nl_file *f = (nl_file *)node;
    neap_file *file = f->file;
    neap_future *reading = f->reading;
    neap_buf *block = f->block;
    f->file = NULL;
    f->reading = NULL;
    f->block = NULL;
    free(f->bytes);
    f->bytes = NULL;
    f->at = f->end = f->cap = 0;
    neap_future_unref(reading);
    neap_buf_unref(block);
    neap_file_unref(file);
}

static nl_file *check_file(lua_State *L, nl_state *st) {
    nl_file *f = nl_check(L, st, 1, NL_FILE, "a file");
    if (f->file == NULL)
        nl_throw_code(L, st, NEAP_ECLOSED);
    return f;
}

static const char *path_of(const nl_file *f) {
    const char *path = f->file != NULL ? neap_file_path(f->file) : "";
    return *path != '\0' ? path : NULL;
}

static int fail(lua_State *L, nl_file *f, int32_t code, const char *op) {
    if (code != NEAP_EBUSY)
        return nl_fs_fail(L, f->node.st, code, op, path_of(f), NULL);
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

/* ---- The buffer ---- */

static size_t buffered(const nl_file *f) {
    return f->end - f->at;
}

static int is_read(const nl_file *f) {
    return f->reading != NULL && neap_future_state(f->reading) == NEAP_STATE_PENDING;
}

/* Makes room for n bytes behind what is buffered. */
static int reserve(nl_file *f, size_t n) {
    if (f->at > 0) {
        memmove(f->bytes, f->bytes + f->at, buffered(f));
        f->end -= f->at;
        f->at = 0;
    }
    if (f->cap - f->end >= n)
        return 1;
    size_t cap = f->cap * 2 > f->end + n ? f->cap * 2 : f->end + n;
    char *bytes = realloc(f->bytes, cap);
    if (bytes == NULL)
        return 0;
    f->bytes = bytes;
    f->cap = cap;
    return 1;
}

static int append(nl_file *f, const void *data, size_t len) {
    if (!reserve(f, len))
        return 0;
    memcpy(f->bytes + f->end, data, len);
    f->end += len;
    return 1;
}

/* What was read ahead is in the file again.  The seek is served before all that comes later, so nobody waits for it. */
static void give_back(nl_file *f) {
    neap_future *future = NULL;
    int64_t at;
    if (buffered(f) > 0)
        (void)neap_file_seek(f->file, -(int64_t)buffered(f), NEAP_SEEK_CUR, &at, &future);
    neap_future_unref(future);
    f->at = f->end = 0;
}

/* ---- Reading: a read has a form and goes on until that has enough ---- */

enum {
    FORM_SOME = 0, /* so many bytes; fewer at the end, nil if there are none */
    FORM_LINE,
    FORM_FULL_LINE, /* with its end */
    FORM_ALL,
    FORM_FILL /* none are taken; how many there are */
};

static int go_on(lua_State *L, nl_file *f);

static int take(lua_State *L, nl_file *f, size_t len, size_t more) {
    lua_pushlstring(L, f->bytes + f->at, len);
    f->at += len + more;
    return 1;
}

/* Whether the buffer has all that the form wants; how much of it, then. */
static int is_enough(nl_file *f, size_t *ret_len) {
    size_t have = buffered(f);
    if (f->form == FORM_LINE || f->form == FORM_FULL_LINE) {
        const char *from = f->bytes + f->at + f->scanned;
        const char *end = have > f->scanned ? memchr(from, '\n', have - f->scanned) : NULL;
        f->scanned = have;
        *ret_len = end == NULL ? have : (size_t)(end - (f->bytes + f->at)) + 1;
        return end != NULL;
    }
    *ret_len = have < f->wanted ? have : f->wanted;
    return f->form != FORM_ALL && have >= f->wanted;
}

/* Pushes what the form makes of `len` bytes, the last if `ended`. */
static int give(lua_State *L, nl_file *f, size_t len, int ended) {
    if (f->form == FORM_FILL)
        lua_pushinteger(L, (lua_Integer)len);
    else if (f->form == FORM_ALL)
        return take(L, f, buffered(f), 0);
    else if (len == 0 && (ended || f->wanted > 0))
        lua_pushnil(L);
    else if (f->form == FORM_LINE && f->bytes[f->at + len - 1] == '\n')
        return take(L, f, len - 1, 1);
    else
        return take(L, f, len, 0);
    return 1;
}

/* Whether bytes of the file become the answer without a stay in the buffer. */
static int is_direct(const nl_file *f) {
    return buffered(f) == 0 &&
           (f->form == FORM_ALL || (f->form == FORM_SOME && f->wanted >= BLOCK));
}

/* How many bytes to ask for. */
static size_t ask(const nl_file *f) {
    if (f->form == FORM_ALL)
        return SIZE_MAX;
    size_t lacks = f->wanted > buffered(f) ? f->wanted - buffered(f) : 0;
    return lacks > BLOCK ? lacks : BLOCK;
}

/* Bytes of the file are there, fewer than were asked for at its end. */
static int came(lua_State *L, nl_file *f, const void *data, size_t len) {
    size_t enough;
    int ended = len < f->asked;
    if (is_direct(f)) {
        if (len == 0 && f->form == FORM_SOME)
            lua_pushnil(L);
        else
            lua_pushlstring(L, len > 0 ? data : "", len);
        return 1;
    }
    if (!append(f, data, len))
        return nl_throw_code(L, f->node.st, NEAP_ENOMEM);
    if (is_enough(f, &enough) || ended)
        return give(L, f, enough, ended);
    return go_on(L, f);
}

static void end_reading(nl_file *f) {
    neap_future_unref(f->reading);
    f->reading = NULL;
}

/* Keeps the file at index 1. */
static int read_end(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_future *future = nl_woken(L, st);
    nl_file *f = nl_block(L, 1);
    const void *data;
    size_t len;
    if (neap_future_get_bytes(future, &data, &len) < 0) {
        end_reading(f);
        return nl_fs_fail_waited(L, st, future, "read", path_of(f), NULL);
    }
    neap_future_ref(future); /* beyond the end of the wait: it has the bytes */
    nl_wait_end(st->task);
    neap_future_unref(f->reading);
    f->reading = future;
    return came(L, f, data, len);
}

static int came_now(lua_State *L, nl_file *f, neap_buf *buf) {
    f->block = buf; /* goes with the next, also if there is no memory for a string */
    return came(L, f, neap_buf_data(buf), neap_buf_len(buf));
}

static int go_on(lua_State *L, nl_file *f) {
    neap_buf *buf = NULL;
    neap_future *future = NULL;
    neap_buf_unref(f->block);
    f->block = NULL;
    f->asked = ask(f);
    int32_t code = neap_file_read(f->file, f->asked, 0, &buf, &future);
    if (code >= 0)
        return came_now(L, f, buf);
    if (code != NEAP_PENDING)
        return fail(L, f, code, "read");
    end_reading(f);
    f->reading = neap_future_ref(future);
    lua_settop(L, 1);
    return nl_park(L, f->node.st, future, 1, read_end);
}

static int read_as(lua_State *L, int form, size_t wanted, lua_CFunction self) {
    nl_state *st = NL_STATE(L);
    nl_file *f = check_file(L, st);
    size_t len;
    nl_check_wait(L, st);
    if (nl_is_spent(st))
        return nl_again(L, st, self);
    if (is_read(f))
        return fail(L, f, NEAP_EBUSY, "read");
    f->form = (uint8_t)form;
    f->wanted = wanted;
    f->scanned = 0;
    if (is_enough(f, &len))
        return give(L, f, len, 0);
    return go_on(L, f);
}

static size_t check_size(lua_State *L, nl_state *st, int index) {
    double n = (double)lua_tonumber(L, index);
    if (lua_type(L, index) != LUA_TNUMBER)
        nl_type_error(L, st, index, "a number of bytes");
    if (!(n >= 0))
        nl_arg_error(L, st, index, NEAP_EVALUE, "a number of bytes cannot be negative");
    return n < 9e15 ? (size_t)n : (size_t)9e15;
}

static int file_read_some(lua_State *L) {
    return read_as(L, FORM_SOME, check_size(L, NL_STATE(L), 2), file_read_some);
}

static int file_read_line(lua_State *L) {
    return read_as(L, lua_toboolean(L, 2) ? FORM_FULL_LINE : FORM_LINE, 1, file_read_line);
}

static int file_read_all(lua_State *L) {
    return read_as(L, FORM_ALL, 0, file_read_all);
}

/* Reads until n bytes can be looked at; fewer at the end. */
static int file_fill(lua_State *L) {
    return read_as(L, FORM_FILL, check_size(L, NL_STATE(L), 2), file_fill);
}

/* What has been read ahead, at most n bytes of it. */
static int file_peek(lua_State *L) {
    nl_state *st = NL_STATE(L);
    const nl_file *f = check_file(L, st);
    size_t most = lua_isnoneornil(L, 2) ? SIZE_MAX : check_size(L, st, 2);
    lua_pushlstring(L, buffered(f) > 0 ? f->bytes + f->at : "",
                    buffered(f) < most ? buffered(f) : most);
    return 1;
}

/* Takes n of the bytes that peek shows. */
static int file_consume(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_file *f = check_file(L, st);
    size_t n = check_size(L, st, 2);
    f->at += n < buffered(f) ? n : buffered(f);
    lua_settop(L, 1);
    return 1;
}

/* ---- All else: one trip ---- */

/* Keeps the file at index 1. */
static int op_end(lua_State *L, const char *op) {
    nl_state *st = NL_STATE(L);
    neap_future *future = nl_woken(L, st);
    const nl_file *f = nl_block(L, 1);
    if (neap_future_error(future) < 0)
        return nl_fs_fail_waited(L, st, future, op, path_of(f), NULL);
    int n = nl_fs_push(L, future);
    nl_wait_end(st->task);
    return n;
}

static int op_answer(lua_State *L, nl_file *f, int32_t code, neap_future *future, const char *op,
                     nl_cont end) {
    if (code != NEAP_PENDING)
        return fail(L, f, code, op);
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
    nl_file *f = check_file(L, st);
    size_t n = check_size(L, st, 2);
    int64_t offset = nl_offset(L, st, 3);
    neap_future *future = NULL;
    nl_check_wait(L, st);
    if (nl_is_spent(st))
        return nl_again(L, st, file_pread);
    neap_buf_unref(f->block);
    f->block = NULL;
    int32_t code = neap_file_pread(f->file, offset, n, 0, &f->block, &future);
    if (code < 0)
        return op_answer(L, f, code, future, "pread", pread_end);
    if (code == 0 && n > 0)
        lua_pushnil(L);
    else
        lua_pushlstring(L, neap_buf_data(f->block), (size_t)code);
    return 1;
}

/* Keeps the file, which is the answer, at index 1. */
static int write_end(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_future *future = nl_woken(L, st);
    const nl_file *f = nl_block(L, 1);
    if (neap_future_error(future) < 0)
        return nl_fs_fail_waited(L, st, future, "write", path_of(f), NULL);
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
    nl_file *f = check_file(L, st);
    neap_future *future = NULL;
    size_t len;
    nl_check_wait(L, st);
    if (is_read(f))
        return fail(L, f, NEAP_EBUSY, "write");
    const char *data = join(L, st, &len);
    give_back(f);
    int32_t code = neap_file_write(f->file, data, len, &future);
    return op_answer(L, f, code, future, "write", write_end);
}

/* pwrite(data, offset) */
static int file_pwrite(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_file *f = check_file(L, st);
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
    nl_file *f = check_file(L, st);
    int whence = luaL_checkoption(L, 2, "cur", words);
    double offset = (double)luaL_optnumber(L, 3, 0);
    neap_future *future = NULL;
    int64_t at = 0;
    if (!(fabs(offset) < 9e18 && offset == floor(offset)))
        nl_arg_error(L, st, 3, NEAP_EVALUE, "a whole number is needed");
    nl_check_wait(L, st);
    if (is_read(f))
        return fail(L, f, NEAP_EBUSY, "seek");
    give_back(f);
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
    nl_file *f = check_file(L, st);
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
    nl_file *f = check_file(L, st);
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
    nl_file *f = check_file(L, st);
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
        return fail(L, f, code, "close");
    lua_pushboolean(L, 1);
    return 1;
}

static int file_fd(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_file *f = check_file(L, st);
    neap_fd fd = neap_file_fd(f->file);
    if (fd < 0)
        return fail(L, f, (int32_t)fd, "fd");
    lua_pushinteger(L, (lua_Integer)fd);
    return 1;
}

static int file_path(lua_State *L) {
    const nl_file *f = nl_check(L, NL_STATE(L), 1, NL_FILE, "a file");
    lua_pushstring(L, path_of(f));
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
                        path_of(f) != NULL ? path_of(f) : "adopted", (int)fd);
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
    static const luaL_Reg methods[] = {
        {"peek", file_peek}, {"consume", file_consume}, {"fd", file_fd}, {"fileno", file_fd},
        {"path", file_path}, {"closed", file_closed},   {NULL, NULL}};
    static const luaL_Reg waits[] = {
        {"read_some", file_read_some},
        {"read_line", file_read_line},
        {"read_all", file_read_all},
        {"fill", file_fill},
        {"pread", file_pread},
        {"write", file_write},
        {"pwrite", file_pwrite},
        {"seek", file_seek},
        {"stat", file_stat},
        {"sync", file_sync},
        {"truncate", file_truncate},
        {"close", file_close},
        {NULL, NULL},
    };
    static const luaL_Reg functions[] = {{"adopt", adopt}, {NULL, NULL}};
    st->drops[NL_FILE] = drop;
    nl_functions(L, st, functions);
    nl_class(L, st, NL_FILE, "neap.file", methods, waits, metas);
    lua_getfield(L, -3, "methods"); /* the module's: neap/fs.lua adds to ours */
    lua_insert(L, -2);
    lua_setfield(L, -2, "file");
    lua_pop(L, 1);
}

/* lstreamio.c: what moves the bytes of streams.  As in lsockio.c: a result that is there comes back at once, else the
   coroutine is suspended until the core has all that was asked for. */
#include "lneap.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum {
    READ_DEFAULT = 65536,
    PARTS_FEW = 16 /* pieces of a write that need no memory */
};

/* ---- Arguments and results ---- */

/* A number of bytes of at least 1. */
static size_t check_size(lua_State *L, nl_state *st, int index) {
    lua_Integer plain = lua_tointeger(L, index);
    if (plain >= 1)
        return (size_t)plain;
    lua_Integer n = nl_count(L, st, index, 0, "a number of bytes");
    if (n < 1)
        nl_arg_error(L, st, index, NEAP_EVALUE, "at least one byte is to be read");
    return (size_t)n;
}

/* A limit in bytes; math.huge: none. */
size_t nl_limit(lua_State *L, nl_state *st, int index, size_t otherwise) {
    if (lua_isnoneornil(L, index))
        return otherwise;
    if (lua_type(L, index) == LUA_TNUMBER && (double)lua_tonumber(L, index) >= (double)INT64_MAX)
        return (size_t)INT64_MAX;
    return check_size(L, st, index);
}

/* Pushes the first `len` of `taken` bytes that were read.  If no string can be made none is lost: nl_takeback returns them. */
static void push_bytes(lua_State *L, nl_state *st, neap_stream *stream, const void *data,
                       size_t len, size_t taken) {
    st->lent = (nl_lent){.stream = stream, .data = data, .len = taken};
    lua_pushlstring(L, data, len);
    st->lent.len = 0;
}

static int fail(lua_State *L, nl_state *st, int32_t code, const char *op) {
    if (code != NEAP_EBUSY)
        return nl_fail(L, st, code, op, NULL);
    lua_pushnil(L);
    nl_push_error(L, st, code, "another task reads from the stream");
    return 2;
}

/* nil and the failure that the coroutine waited for, or the cancellation raised. */
static int fail_waited(lua_State *L, nl_state *st, neap_future *future, const char *op) {
    int32_t code = neap_future_error(future);
    if (code == NEAP_ECANCELED)
        nl_push_cancelled(L, st, neap_future_message(future));
    nl_wait_end(st->task);
    return code == NEAP_ECANCELED ? lua_error(L) : fail(L, st, code, op);
}

/* What is to be done with the bytes of an answer. */
typedef enum read_form {
    FORM_BYTES, /* nil at the end */
    FORM_LINE,  /* likewise, without the end of the line */
    FORM_REST   /* "" at the end */
} read_form;

static int push_answer(lua_State *L, nl_state *st, neap_stream *stream, const char *data,
                       size_t len, read_form form) {
    if (len == 0 && form != FORM_REST) {
        lua_pushnil(L);
    } else {
        int cut = form == FORM_LINE && data[len - 1] == '\n';
        push_bytes(L, st, stream, data, len - (size_t)cut, len);
    }
    return 1;
}

/* Keeps the stream at index 1. */
static int read_end(lua_State *L, read_form form) {
    nl_state *st = NL_STATE(L);
    neap_future *future = nl_woken(L, st);
    nl_stream *s = nl_block(L, 1);
    const void *data;
    size_t len;
    if (neap_future_get_bytes(future, &data, &len) < 0)
        return fail_waited(L, st, future, "read");
    push_answer(L, st, s->stream, data, len, form);
    nl_wait_end(st->task);
    return 1;
}

static int bytes_end(lua_State *L) {
    return read_end(L, FORM_BYTES);
}

static int line_end(lua_State *L) {
    return read_end(L, FORM_LINE);
}

static int rest_end(lua_State *L) {
    return read_end(L, FORM_REST);
}

static int answer(lua_State *L, nl_state *st, nl_stream *s, int64_t code, const void *data,
                  neap_future *future, read_form form) {
    static const nl_cont ends[] = {bytes_end, line_end, rest_end};
    if (code == NEAP_PENDING)
        return nl_park(L, st, future, 1, ends[form]);
    if (code < 0)
        return fail(L, st, (int32_t)code, "read");
    return push_answer(L, st, s->stream, data, (size_t)code, form);
}

/* ---- Reading ---- */

static int64_t begin_line(const nl_stream *s, size_t limit, const void **data,
                          neap_future **future) {
    static const neap_iov newline = {"\n", 1};
    return neap_stream_read_until(s->stream, &newline, 1, limit, NEAP_STREAM_REST, data, future);
}

/* n bytes; nil at the end. */
static int stream_read_exactly(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_stream *s = nl_check_stream(L, st, 1);
    size_t n = check_size(L, st, 2);
    const void *data = NULL;
    neap_future *future = NULL;
    nl_check_wait(L, st);
    if (nl_is_spent(st))
        return nl_again(L, st, stream_read_exactly);
    nl_takeback(st);
    int64_t code = neap_stream_read_exactly(s->stream, n, 0, &data, &future);
    if (code <= 0)
        return answer(L, st, s, code, data, future, FORM_BYTES);
    push_bytes(L, st, s->stream, data, n, n);
    return 1;
}

/* A line without its end, or with it; nil at the end. */
static int stream_read_line(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_stream *s = nl_check_stream(L, st, 1);
    read_form form = lua_toboolean(L, 2) ? FORM_BYTES : FORM_LINE;
    size_t limit = nl_limit(L, st, 3, s->limit);
    const void *data = NULL;
    neap_future *future = NULL;
    nl_check_wait(L, st);
    if (nl_is_spent(st))
        return nl_again(L, st, stream_read_line);
    nl_takeback(st);
    int64_t code = begin_line(s, limit, &data, &future);
    return answer(L, st, s, code, data, future, form);
}

/* The delimiters at index 2, a string or several in a list, which stay referenced by it. */
static size_t check_delims(lua_State *L, nl_state *st, neap_iov *delims, size_t max) {
    static const char expected[] = "a delimiter (a string that is not empty) or a list of them";
    size_t count = lua_istable(L, 2) ? lua_rawlen(L, 2) : 1;
    if (count < 1 || count > max)
        nl_arg_error(L, st, 2, NEAP_EVALUE, "between 1 and 16 delimiters can be given");
    for (size_t i = 0; i < count; i++) {
        if (lua_istable(L, 2))
            lua_rawgeti(L, 2, (int)i + 1);
        else
            lua_pushvalue(L, 2);
        if (lua_type(L, -1) != LUA_TSTRING || lua_rawlen(L, -1) == 0)
            nl_type_error(L, st, 2, expected);
        delims[i].data = lua_tolstring(L, -1, &delims[i].len);
        lua_pop(L, 1);
    }
    return count;
}

/* Up to and with the first of the delimiters. */
static int stream_read_until(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_stream *s = nl_check_stream(L, st, 1);
    neap_iov delims[PARTS_FEW];
    size_t count = check_delims(L, st, delims, PARTS_FEW);
    size_t limit = nl_limit(L, st, 3, s->limit);
    const void *data = NULL;
    neap_future *future = NULL;
    nl_check_wait(L, st);
    if (nl_is_spent(st))
        return nl_again(L, st, stream_read_until);
    nl_takeback(st);
    int64_t code = neap_stream_read_until(s->stream, delims, count, limit, 0, &data, &future);
    return answer(L, st, s, code, data, future, FORM_BYTES);
}

/* All up to the end, which may be nothing. */
static int stream_read_all(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_stream *s = nl_check_stream(L, st, 1);
    size_t limit = nl_limit(L, st, 2, (size_t)INT64_MAX);
    const void *data = NULL;
    neap_future *future = NULL;
    nl_check_wait(L, st);
    if (nl_is_spent(st))
        return nl_again(L, st, stream_read_all);
    nl_takeback(st);
    int64_t code = neap_stream_read_all(s->stream, limit, 0, &data, &future);
    return answer(L, st, s, code, data, future, FORM_REST);
}

/* What is there, up to n bytes. */
static int stream_read_some(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_stream *s = nl_check_stream(L, st, 1);
    size_t max = lua_isnoneornil(L, 2) ? READ_DEFAULT : check_size(L, st, 2);
    const void *data = NULL;
    neap_future *future = NULL;
    nl_check_wait(L, st);
    if (nl_is_spent(st))
        return nl_again(L, st, stream_read_some);
    nl_takeback(st);
    int64_t code = neap_stream_read(s->stream, max, 0, &data, &future);
    return answer(L, st, s, code, data, future, FORM_BYTES);
}

/* ---- For parsers ---- */

static int fill_end(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_future *future = nl_woken(L, st);
    int64_t n;
    if (neap_future_get_int(future, &n) < 0)
        return fail_waited(L, st, future, "fill");
    nl_wait_end(st->task);
    lua_pushinteger(L, (lua_Integer)n);
    return 1;
}

/* Waits until n bytes can be looked at; fewer before the end. */
static int stream_fill(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_stream *s = nl_check_stream(L, st, 1);
    size_t n = check_size(L, st, 2);
    neap_future *future = NULL;
    nl_check_wait(L, st);
    if (nl_is_spent(st))
        return nl_again(L, st, stream_fill);
    int64_t code = neap_stream_fill(s->stream, n, 0, &future);
    if (code == NEAP_PENDING)
        return nl_park(L, st, future, 1, fill_end);
    if (code < 0)
        return fail(L, st, (int32_t)code, "fill");
    lua_pushinteger(L, (lua_Integer)code);
    return 1;
}

/* What has come and was not read, at most n bytes of it. */
static int stream_peek(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_stream *s = nl_check_stream(L, st, 1);
    size_t max = nl_limit(L, st, 2, SIZE_MAX);
    const void *data = NULL;
    int64_t n = neap_stream_peek(s->stream, &data);
    if (n < 0)
        return fail(L, st, (int32_t)n, "peek");
    lua_pushlstring(L, data, (size_t)n < max ? (size_t)n : max);
    return 1;
}

/* Takes n of the bytes that peek shows. */
static int stream_consume(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_stream *s = nl_check_stream(L, st, 1);
    lua_Integer n = nl_count(L, st, 2, 0, "a number of bytes");
    int32_t code = neap_stream_consume(s->stream, (size_t)n);
    if (code < 0)
        return fail(L, st, code == NEAP_EINVAL ? NEAP_EVALUE : code, "consume");
    lua_settop(L, 1);
    return 1;
}

/* Puts a string in front of what is to be read. */
static int stream_unread(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_stream *s = nl_check_stream(L, st, 1);
    size_t len;
    if (lua_type(L, 2) != LUA_TSTRING)
        nl_type_error(L, st, 2, "a string");
    const char *data = lua_tolstring(L, 2, &len);
    int32_t code = neap_stream_unread(s->stream, data, len);
    if (code < 0)
        return fail(L, st, code, "unread");
    lua_settop(L, 1);
    return 1;
}

/* As read, without waiting. */
static int stream_try_read(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_stream *s = nl_check_stream(L, st, 1);
    size_t max = lua_isnoneornil(L, 2) ? READ_DEFAULT : check_size(L, st, 2);
    const void *data = NULL;
    nl_takeback(st);
    int64_t code = neap_stream_read(s->stream, max, NEAP_NOWAIT, &data, NULL);
    return answer(L, st, s, code, data, NULL, FORM_REST);
}

/* ---- Writing ---- */

/* Keeps the stream at index 1, which is the answer. */
static int write_end(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_future *future = nl_woken(L, st);
    if (neap_future_error(future) < 0)
        return fail_waited(L, st, future, "write");
    nl_wait_end(st->task);
    lua_settop(L, 1);
    return 1;
}

static int written(lua_State *L, nl_state *st, int64_t code, neap_future *future, const char *op) {
    if (code == NEAP_PENDING)
        return nl_park(L, st, future, 1, write_end);
    if (code < 0)
        return fail(L, st, (int32_t)code, op);
    lua_pushvalue(L, 1);
    return 1;
}

/* Leaves all strings of the arguments from index 2 on behind index 1; numbers become strings. */
static int flatten(lua_State *L, nl_state *st) {
    static const char expected[] = "strings, or lists of strings, to be written";
    int n = lua_gettop(L);
    for (int i = 2; i <= n; i++) {
        int is_list = lua_istable(L, i);
        int count = is_list ? (int)lua_rawlen(L, i) : 1;
        luaL_checkstack(L, count + LUA_MINSTACK, "too many pieces in one write");
        for (int j = 1; j <= count; j++) {
            if (is_list)
                lua_rawgeti(L, i, j);
            else
                lua_pushvalue(L, i);
            if (lua_type(L, -1) != LUA_TSTRING && lua_type(L, -1) != LUA_TNUMBER)
                nl_type_error(L, st, i, expected);
            (void)lua_tostring(L, -1);
        }
    }
    return n + 1;
}

static int64_t write_parts(lua_State *L, const nl_stream *s, int first, uint32_t flags,
                           neap_future **future) {
    neap_iov few[PARTS_FEW];
    size_t count = (size_t)(lua_gettop(L) - first + 1);
    neap_iov *parts = few;
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    if (count > PARTS_FEW)
        parts = lua_newuserdata(L, count * sizeof *parts);
    for (size_t i = 0; i < count; i++)
        parts[i].data = lua_tolstring(L, first + (int)i, &parts[i].len);
    return neap_stream_writev(s->stream, parts, count, flags, future);
}

static inline int64_t write_args(lua_State *L, nl_state *st, const nl_stream *s, uint32_t flags,
                                 neap_future **future) {
    size_t len;
    const char *data = lua_gettop(L) == 2 ? lua_tolstring(L, 2, &len) : NULL;
    return data != NULL ? neap_stream_write(s->stream, data, len, flags, future)
                        : write_parts(L, s, flatten(L, st), flags, future);
}

/* Strings, numbers and lists of them, as one write; answers the stream. */
static int stream_write(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_stream *s = nl_check_stream(L, st, 1);
    neap_future *future = NULL;
    nl_check_wait(L, st);
    if (nl_is_spent(st))
        return nl_again(L, st, stream_write);
    int64_t code = write_args(L, st, s, 0, &future);
    return written(L, st, code, future, "write");
}

/* As write, but nothing is taken while too much is unsent. */
static int stream_try_write(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_stream *s = nl_check_stream(L, st, 1);
    return written(L, st, write_args(L, st, s, NEAP_NOWAIT, NULL), NULL, "write");
}

/* As write, but takes everything and never waits. */
static int stream_buffer(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_stream *s = nl_check_stream(L, st, 1);
    return written(L, st, write_args(L, st, s, NEAP_STREAM_BUFFER, NULL), NULL, "write");
}

/* Waits until the system has all that was written. */
static int stream_drain(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_stream *s = nl_check_stream(L, st, 1);
    neap_future *future = NULL;
    nl_check_wait(L, st);
    if (nl_is_spent(st))
        return nl_again(L, st, stream_drain);
    int32_t code = neap_stream_drain(s->stream, 0, &future);
    return written(L, st, code, future, "drain");
}

/* Ends writing; the peer reads the end. */
static int stream_write_eof(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_stream *s = nl_check_stream(L, st, 1);
    neap_future *future = NULL;
    nl_check_wait(L, st);
    if (nl_is_spent(st))
        return nl_again(L, st, stream_write_eof);
    int32_t code = neap_stream_write_eof(s->stream, 0, &future);
    return written(L, st, code, future, "write_eof");
}

static neap_fd check_file(lua_State *L, nl_state *st, int index) {
    FILE *file = nl_stdio_file(L, index);
    if (file != NULL)
        return fileno(file);
    const nl_file *own = nl_test(L, st, index, NL_FILE);
    if (own != NULL && own->file != NULL)
        return neap_file_fd(own->file);
    if (lua_type(L, index) != LUA_TNUMBER)
        nl_type_error(L, st, index, "a file, or the number of a descriptor");
    return (neap_fd)lua_tointeger(L, index);
}

/* So many bytes of a file from an offset on, or all that is left. */
static int stream_sendfile(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_stream *s = nl_check_stream(L, st, 1);
    neap_fd fd = check_file(L, st, 2);
    lua_Integer offset = nl_count(L, st, 3, 0, "an offset in bytes");
    lua_Integer count = nl_count(L, st, 4, -1, "a number of bytes");
    neap_future *future = NULL;
    nl_check_wait(L, st);
    if (nl_is_spent(st))
        return nl_again(L, st, stream_sendfile);
    int64_t code = neap_stream_sendfile(s->stream, fd, offset, count, 0, &future);
    return written(L, st, code, future, "sendfile");
}

/* ---- Closing ---- */

static int close_end(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_future *future = nl_woken(L, st);
    if (neap_future_error(future) < 0)
        return fail_waited(L, st, future, "close");
    nl_wait_end(st->task);
    lua_pushboolean(L, 1);
    return 1;
}

/* Closes when all has gone.  Where no wait is possible that happens by itself. */
int nl_stream_close(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_stream *s = nl_check(L, st, 1, NL_STREAM, "a stream");
    neap_future *future = NULL;
    int waits = st->task != NULL && (NL_FRAMES_TELL || nl_can_wait(L, st));
    if (waits)
        nl_check_wait(L, st);
    int32_t code = s->stream == NULL ? 0 : neap_stream_close(s->stream, 0, waits ? &future : NULL);
    if (code == NEAP_PENDING)
        return nl_park(L, st, future, 1, close_end);
    if (code < 0 && code != NEAP_ELOOP_CLOSED)
        return fail(L, st, code, "close");
    lua_pushboolean(L, 1);
    return 1;
}

const luaL_Reg nl_stream_waits[] = {
    {"read_exactly", stream_read_exactly},
    {"read_line", stream_read_line},
    {"read_until", stream_read_until},
    {"read_all", stream_read_all},
    {"read_some", stream_read_some},
    {"fill", stream_fill},
    {"write", stream_write},
    {"drain", stream_drain},
    {"write_eof", stream_write_eof},
    {"sendfile", stream_sendfile},
    {"close", nl_stream_close},
    {NULL, NULL},
};

const luaL_Reg nl_stream_tries[] = {{"peek", stream_peek},
                                    {"consume", stream_consume},
                                    {"unread", stream_unread},
                                    {"try_read", stream_try_read},
                                    {"try_write", stream_try_write},
                                    {"buffer", stream_buffer},
                                    {NULL, NULL}};

/* lstream.c: the stream object: making, looking at, closing.  What moves bytes is in lstreamio.c. */
#include "lneap.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    LINE_LIMIT = 65536 /* asyncio's */
};

/* ---- Making ---- */

/* Pushes a stream object that has no stream yet, so that none is lost when memory is out. */
nl_stream *nl_new_stream(lua_State *L, nl_state *st) {
    nl_stream *s = nl_make(L, st, NL_STREAM, sizeof *s, 0);
    s->limit = LINE_LIMIT;
    return s;
}

/* Raises that the value at index is no stream object, or one that has no stream. */
void nl_refuse_stream(lua_State *L, nl_state *st, int index) {
    nl_check(L, st, index, NL_STREAM, "a stream");
    nl_throw_code(L, st, NEAP_ECLOSED);
}

/* A stream over a connected socket, or a descriptor that becomes the stream's. */
static int new_stream(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_sock *sock = nl_test(L, st, 1, NL_SOCK);
    nl_fd *d = nl_test(L, st, 1, NL_FD);
    neap_fd fd = d != NULL ? d->fd : (neap_fd)lua_tointeger(L, 1);
    if (sock != NULL)
        nl_check_sock(L, st, 1);
    else if (d == NULL && lua_type(L, 1) != LUA_TNUMBER)
        nl_type_error(L, st, 1, "a socket or a descriptor");
    nl_stream *s = nl_new_stream(L, st);
    int32_t code = sock != NULL ? neap_stream_new(sock->sock, &s->stream)
                                : neap_stream_open(nl_loop_now(L, st)->loop, fd, 0, &s->stream);
    if (code >= 0 && d != NULL)
        d->fd = -1;
    return code < 0 ? nl_fail(L, st, code, "stream", NULL) : 1;
}

/* A stream over a descriptor that others use, too; it is the caller's to close. */
static int shared_stream(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_fd fd = (neap_fd)luaL_checkinteger(L, 1);
    nl_stream *s = nl_new_stream(L, st);
    int32_t code = neap_stream_open(nl_loop_now(L, st)->loop, fd, NEAP_STREAM_SHARED, &s->stream);
    s->standard = fd == STDOUT_FILENO || fd == STDERR_FILENO;
    return code < 0 ? nl_fail(L, st, code, "stream", NULL) : 1;
}

/* A future that what was written to one of the process's own streams has gone, or NULL. */
static neap_future *next_drain(const nl_loop *l) {
    for (nl_node *node = l->node.st->nodes; node != NULL; node = node->next) {
        nl_stream *s = (nl_stream *)node;
        neap_future *future = NULL;
        int is_ours = node->kind == NL_STREAM && s->standard && s->stream != NULL &&
                      neap_sock_loop(neap_stream_sock(s->stream)) == l->loop;
        if (is_ours && neap_stream_drain(s->stream, 0, &future) == NEAP_PENDING)
            return future;
    }
    return NULL;
}

/* Runs the loop until what was written to the process's own streams has gone, or the run is to end.  The list is another
   after each run. */
void nl_drain_standard(lua_State *L, nl_loop *l) {
    neap_future *future;
    int done = 1;
    while (done && (future = next_drain(l)) != NULL) {
        nl_run_loop(L, l, future, 0);
        done = neap_future_done(future);
        neap_future_unref(future);
    }
}

/* Two streams that are connected to each other. */
static int stream_pair(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_loop *l = nl_loop_now(L, st);
    nl_stream *a = nl_new_stream(L, st), *b = nl_new_stream(L, st);
    int32_t code = neap_stream_pair(l->loop, &a->stream, &b->stream);
    return code < 0 ? nl_fail(L, st, code, "stream_pair", NULL) : 2;
}

/* ---- Names, options, state ---- */

static nl_stream *self(lua_State *L) {
    return nl_check_stream(L, NL_STATE(L), 1);
}

static int answer(lua_State *L, nl_state *st, int32_t code, const char *op, const char *what) {
    if (code < 0)
        return nl_fail(L, st, code, op, what);
    lua_pushboolean(L, 1);
    return 1;
}

/* What is no socket, or has no peer any more, has no name. */
static int push_name(lua_State *L, nl_state *st, int32_t code, const neap_addr *addr,
                     const char *op) {
    if (code < 0)
        return nl_fail(L, st, code, op, NULL);
    nl_push_address(L, addr);
    return 1;
}

static int stream_peer(lua_State *L) {
    nl_stream *s = self(L);
    neap_addr addr;
    int32_t code = neap_stream_peer(s->stream, &addr);
    return push_name(L, s->node.st, code, &addr, "getpeername");
}

static int stream_name(lua_State *L) {
    nl_stream *s = self(L);
    neap_addr addr;
    int32_t code = neap_sock_local(neap_stream_sock(s->stream), &addr);
    return push_name(L, s->node.st, code, &addr, "getsockname");
}

static int stream_fileno(lua_State *L) {
    nl_stream *s = self(L);
    neap_fd fd = neap_sock_fd(neap_stream_sock(s->stream));
    if (fd < 0)
        return nl_fail(L, s->node.st, (int32_t)fd, "fileno", NULL);
    lua_pushinteger(L, (lua_Integer)fd);
    return 1;
}

static int stream_setsockopt(lua_State *L) {
    nl_stream *s = self(L);
    const char *name = luaL_checkstring(L, 2);
    int32_t value = lua_isboolean(L, 3) ? lua_toboolean(L, 3) : (int32_t)luaL_checkinteger(L, 3);
    int32_t code = neap_sock_set_option(neap_stream_sock(s->stream), name, value);
    return answer(L, s->node.st, code, "setsockopt", name);
}

static int stream_getsockopt(lua_State *L) {
    nl_stream *s = self(L);
    const char *name = luaL_checkstring(L, 2);
    int32_t value = 0;
    int32_t code = neap_sock_get_option(neap_stream_sock(s->stream), name, &value);
    if (code < 0)
        return nl_fail(L, s->node.st, code, "getsockopt", name);
    lua_pushinteger(L, value);
    return 1;
}

/* Sets from how many unsent bytes on writers wait, and until how many. */
static int stream_set_marks(lua_State *L) {
    nl_stream *s = self(L);
    lua_Integer low = nl_count(L, s->node.st, 2, 0, "a number of bytes");
    lua_Integer high = nl_count(L, s->node.st, 3, 0, "a number of bytes");
    int32_t code = neap_stream_set_marks(s->stream, (size_t)low, (size_t)high);
    return answer(L, s->node.st, code == NEAP_EINVAL ? NEAP_EVALUE : code, "set_marks", NULL);
}

/* Sets the limit of lines and of what stands before delimiters, if one is given; answers the one before. */
static int stream_limit(lua_State *L) {
    nl_stream *s = self(L);
    size_t before = s->limit;
    s->limit = nl_limit(L, s->node.st, 2, s->limit);
    lua_pushinteger(L, (lua_Integer)before);
    return 1;
}

static int stream_unsent(lua_State *L) {
    nl_stream *s = self(L);
    int64_t n = neap_stream_unsent(s->stream);
    nl_check_code(L, s->node.st, n);
    lua_pushinteger(L, (lua_Integer)n);
    return 1;
}

static int stream_at_end(lua_State *L) {
    lua_pushboolean(L, neap_stream_at_end(self(L)->stream) != 0);
    return 1;
}

static int stream_closed(lua_State *L) {
    nl_stream *s = nl_check(L, NL_STATE(L), 1, NL_STREAM, "a stream");
    lua_pushboolean(L, s->stream == NULL || neap_stream_at_end(s->stream) == NEAP_ECLOSED);
    return 1;
}

/* ---- Ending ---- */

/* Closes at once; what was not sent is lost. */
static int stream_abort(lua_State *L) {
    nl_stream *s = nl_check(L, NL_STATE(L), 1, NL_STREAM, "a stream");
    int32_t code = s->stream != NULL ? neap_stream_abort(s->stream) : 0;
    return answer(L, s->node.st, code, "abort", NULL);
}

/* For transports, whose callbacks cannot wait: it closes when all has gone. */
static int close_soon(lua_State *L) {
    const nl_stream *s = self(L);
    return answer(L, s->node.st, neap_stream_close(s->stream, 0, NULL), "close", NULL);
}

/* Likewise: its writing ends when all has gone. */
static int end_soon(lua_State *L) {
    const nl_stream *s = self(L);
    int32_t code = neap_stream_write_eof(s->stream, NEAP_NOWAIT, NULL);
    return answer(L, s->node.st, code == NEAP_EAGAIN ? 0 : code, "write_eof", NULL);
}

static void drop(nl_node *node) {
    nl_stream *s = (nl_stream *)node;
    neap_stream *stream = s->stream;
    s->stream = NULL;
    neap_stream_unref(stream);
}

/* The collector closes what nobody closed, and says so in debug mode. */
static int stream_gc(lua_State *L) {
    nl_stream *s = nl_finalized(L);
    if (s == NULL)
        return 0;
    neap_sock *sock = s->stream != NULL ? neap_stream_sock(s->stream) : NULL;
    neap_loop *loop = sock != NULL ? neap_sock_loop(sock) : NULL;
    if (loop != NULL && neap_sock_fd(sock) >= 0 && neap_loop_debug(loop, -1) > 0)
        neap_loop_fail(loop, 0, "a stream was collected before it was closed", NULL, NULL);
    nl_drop(L, &s->node);
    return 0;
}

static int stream_tostring(lua_State *L) {
    nl_stream *s = nl_check(L, NL_STATE(L), 1, NL_STREAM, "a stream");
    neap_fd fd = s->stream != NULL ? neap_sock_fd(neap_stream_sock(s->stream)) : NEAP_ECLOSED;
    if (fd >= 0)
        lua_pushfstring(L, "neap.stream: descriptor %d", (int)fd);
    else
        lua_pushliteral(L, "neap.stream: closed");
    return 1;
}

void nl_open_stream(lua_State *L, nl_state *st) {
    static const luaL_Reg metas[] = {{"__tostring", stream_tostring},
                                     {"__gc", stream_gc},
                                     {"__close", nl_stream_close},
                                     {NULL, NULL}};
    static const luaL_Reg methods[] = {
        {"peer", stream_peer},
        {"name", stream_name},
        {"fileno", stream_fileno},
        {"setsockopt", stream_setsockopt},
        {"getsockopt", stream_getsockopt},
        {"set_marks", stream_set_marks},
        {"limit", stream_limit},
        {"unsent", stream_unsent},
        {"at_end", stream_at_end},
        {"closed", stream_closed},
        {"abort", stream_abort},
        {NULL, NULL},
    };
    static const luaL_Reg functions[] = {{"stream", new_stream},
                                         {"shared_stream", shared_stream},
                                         {"stream_pair", stream_pair},
                                         {NULL, NULL}};
    static const luaL_Reg soon[] = {
        {"close_soon", close_soon}, {"end_soon", end_soon}, {NULL, NULL}};
    st->drops[NL_STREAM] = drop;
    nl_functions(L, st, functions);
    lua_newtable(L);
    nl_functions(L, st, soon);
    lua_setfield(L, -2, "streams");
    lua_getfield(L, -1, "methods"); /* neap/stream.lua adds to them */
    nl_class(L, st, NL_STREAM, "neap.stream", methods, nl_stream_waits, metas);
    nl_functions(L, st, nl_stream_tries);
    lua_setfield(L, -2, "stream");
    lua_pop(L, 1);
}

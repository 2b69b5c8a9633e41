/* lsockio.c: what moves bytes.  Each verb starts its operation; a result that is there comes back at once, else the
   coroutine is suspended until the core has finished.  Failures are nil, err; cancellations are raised. */
#include "lneap.h"

#include <string.h>

enum {
    RECV_DEFAULT = 65536,
    RECV_MAX = 1 << 30
};

/* ---- Arguments and results ---- */

/* How many bytes to receive. */
static size_t check_size(lua_State *L, nl_state *st, int index) {
    if (lua_isnoneornil(L, index))
        return RECV_DEFAULT;
    if (lua_type(L, index) != LUA_TNUMBER)
        nl_type_error(L, st, index, "a number of bytes");
    double n = (double)lua_tonumber(L, index);
    if (!(n >= 0))
        nl_arg_error(L, st, index, NEAP_EVALUE, "a number of bytes cannot be negative");
    return n > RECV_MAX ? RECV_MAX : (size_t)n;
}

static const char *check_data(lua_State *L, nl_state *st, int index, size_t *len) {
    if (lua_type(L, index) != LUA_TSTRING)
        nl_type_error(L, st, index, "a string");
    return lua_tolstring(L, index, len);
}

/* Pushes received bytes.  If no string can be made the bytes are not lost: nl_takeback returns them. */
static void push_bytes(lua_State *L, nl_state *st, neap_sock *sock, const void *data, size_t len) {
    st->lent = (nl_lent){.sock = sock, .data = data, .len = len};
    lua_pushlstring(L, data, len);
    st->lent.len = 0;
}

/* nil and the failure of the operation that the coroutine waited for, or the cancellation raised. */
int nl_fail_waited(lua_State *L, nl_state *st, neap_future *future, const char *op) {
    int32_t code = neap_future_error(future);
    int64_t partial = neap_future_partial(future);
    if (code == NEAP_ECANCELED) {
        nl_push_cancelled(L, st, neap_future_message(future));
        nl_wait_end(st->task);
        return lua_error(L);
    }
    nl_wait_end(st->task);
    nl_fail(L, st, code, op, NULL);
    if (partial > 0) {
        lua_pushinteger(L, (lua_Integer)partial);
        lua_pushvalue(L, -1);
        lua_setfield(L, -3, "partial");
        return 3;
    }
    return 2;
}

static int fail_now(lua_State *L, nl_state *st, int32_t code, const char *op) {
    return nl_fail(L, st, code, op, NULL);
}

/* ---- recv, recvfrom ---- */

/* Keeps the socket (and whether 0 bytes were wanted) at index 1. */
static int recv_end(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_future *future = nl_woken(L, st);
    nl_sock *s = nl_block(L, 1);
    const void *data;
    size_t len;
    if (neap_future_get_bytes(future, &data, &len) < 0)
        return nl_fail_waited(L, st, future, "recv");
    if (len == 0)
        lua_pushnil(L);
    else
        push_bytes(L, st, s->sock, data, len);
    nl_wait_end(st->task);
    return 1;
}

/* Up to n bytes; nil at the end of the stream. */
static int sock_recv(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_sock *s = nl_check_sock(L, st, 1);
    size_t max = check_size(L, st, 2);
    const void *data = NULL;
    neap_future *future = NULL;
    nl_check_wait(L, st);
    if (nl_is_spent(st))
        return nl_again(L, st, sock_recv);
    nl_takeback(st);
    int32_t code = neap_sock_recv_lent(s->sock, max, 0, &data, &future);
    if (code == NEAP_PENDING)
        return nl_park(L, st, future, 1, recv_end);
    if (code < 0)
        return fail_now(L, st, code, "recv");
    if (code == 0 && max > 0)
        lua_pushnil(L);
    else
        push_bytes(L, st, s->sock, data, (size_t)code);
    return 1;
}

static int recvfrom_end(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_future *future = nl_woken(L, st);
    nl_sock *s = nl_block(L, 1);
    const void *data;
    size_t len;
    neap_addr addr;
    if (neap_future_get_bytes(future, &data, &len) < 0)
        return nl_fail_waited(L, st, future, "recvfrom");
    if (neap_future_get_addr(future, &addr) < 0)
        addr.len = 0;
    push_bytes(L, st, s->sock, data, len);
    nl_wait_end(st->task);
    nl_push_address(L, &addr);
    return 2;
}

/* One datagram and its sender. */
static int sock_recvfrom(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_sock *s = nl_check_sock(L, st, 1);
    size_t max = check_size(L, st, 2);
    const void *data = NULL;
    neap_future *future = NULL;
    neap_addr addr;
    addr.len = 0;
    nl_check_wait(L, st);
    if (nl_is_spent(st))
        return nl_again(L, st, sock_recvfrom);
    nl_takeback(st);
    int32_t code = neap_sock_recvfrom_lent(s->sock, max, 0, &data, &addr, &future);
    if (code == NEAP_PENDING)
        return nl_park(L, st, future, 1, recvfrom_end);
    if (code < 0)
        return fail_now(L, st, code, "recvfrom");
    push_bytes(L, st, s->sock, data, (size_t)code);
    nl_push_address(L, &addr);
    return 2;
}

/* ---- send, sendall, sendto ---- */

/* Keeps the string that is sent at index 1. */
static int send_end(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_future *future = nl_woken(L, st);
    int64_t count;
    if (neap_future_get_int(future, &count) < 0)
        return nl_fail_waited(L, st, future, "send");
    nl_wait_end(st->task);
    lua_pushinteger(L, (lua_Integer)count);
    return 1;
}

/* What a send of the string at index 2 answers, now or later. */
int nl_send_answer(lua_State *L, nl_state *st, int32_t code, neap_future *future, const char *op) {
    if (code == NEAP_PENDING) {
        lua_pushvalue(L, 2);
        lua_replace(L, 1);
        return nl_park(L, st, future, 1, send_end);
    }
    if (code < 0)
        return fail_now(L, st, code, op);
    lua_pushinteger(L, code);
    return 1;
}

/* What fits of the string, at least a byte; answers how many. */
static int sock_send(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_sock *s = nl_check_sock(L, st, 1);
    size_t len;
    const char *data = check_data(L, st, 2, &len);
    neap_future *future = NULL;
    nl_check_wait(L, st);
    if (nl_is_spent(st))
        return nl_again(L, st, sock_send);
    int32_t code = neap_sock_send(s->sock, data, len, 0, &future);
    return nl_send_answer(L, st, code, future, "send");
}

/* All of the string; answers its length. */
static int sock_sendall(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_sock *s = nl_check_sock(L, st, 1);
    size_t len;
    const char *data = check_data(L, st, 2, &len);
    neap_future *future = NULL;
    nl_check_wait(L, st);
    if (nl_is_spent(st))
        return nl_again(L, st, sock_sendall);
    int32_t code = neap_sock_sendall(s->sock, data, len, 0, &future);
    return nl_send_answer(L, st, code, future, "sendall");
}

/* A datagram to an address, or to the connected peer. */
static int sock_sendto(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_sock *s = nl_check_sock(L, st, 1);
    size_t len;
    const char *data = check_data(L, st, 2, &len);
    neap_future *future = NULL;
    neap_addr addr;
    int32_t code = 0;
    if (!lua_isnoneornil(L, 3))
        code = nl_address(L, st, 3, &addr);
    if (code < 0)
        return nl_fail(L, st, code, "sendto", lua_tostring(L, 3));
    nl_check_wait(L, st);
    if (nl_is_spent(st))
        return nl_again(L, st, sock_sendto);
    const neap_addr *to = lua_isnoneornil(L, 3) ? NULL : &addr;
    code = neap_sock_sendto(s->sock, data, len, to, 0, &future);
    return nl_send_answer(L, st, code, future, "sendto");
}

/* ---- accept, connect ---- */

static int push_connection(lua_State *L, const neap_addr *addr) {
    nl_push_address(L, addr);
    return 2;
}

/* Keeps the object for the connection at index 1. */
static int accept_end(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_future *future = nl_woken(L, st);
    nl_sock *s = nl_block(L, 1);
    neap_addr addr;
    if (neap_future_error(future) < 0)
        return nl_fail_waited(L, st, future, "accept");
    int32_t code = neap_future_take_sock(future, &s->sock);
    if (neap_future_get_addr(future, &addr) < 0)
        addr.len = 0;
    nl_wait_end(st->task);
    if (code < 0)
        return fail_now(L, st, code, "accept");
    return push_connection(L, &addr);
}

/* A connection and its peer's address. */
static int sock_accept(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_sock *s = nl_check_sock(L, st, 1);
    neap_future *future = NULL;
    neap_addr addr;
    addr.len = 0;
    nl_check_wait(L, st);
    if (nl_is_spent(st))
        return nl_again(L, st, sock_accept);
    lua_settop(L, 1);
    nl_sock *conn = nl_new_sock(L, st);
    int32_t code = neap_sock_accept(s->sock, 0, &conn->sock, &addr, &future);
    if (code == NEAP_PENDING) {
        lua_replace(L, 1);
        return nl_park(L, st, future, 1, accept_end);
    }
    if (code < 0)
        return fail_now(L, st, code, "accept");
    return push_connection(L, &addr);
}

/* Keeps the address at index 1. */
static int connect_end(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_future *future = nl_woken(L, st);
    int32_t code = neap_future_error(future);
    if (code == NEAP_ECANCELED)
        return nl_fail_waited(L, st, future, "connect");
    nl_wait_end(st->task);
    if (code < 0)
        return nl_fail(L, st, code, "connect", lua_tostring(L, 1));
    lua_pushboolean(L, 1);
    return 1;
}

/* true once connected. */
static int sock_connect(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_sock *s = nl_check_sock(L, st, 1);
    neap_future *future = NULL;
    neap_addr addr;
    int32_t code = nl_address(L, st, 2, &addr);
    nl_check_wait(L, st);
    if (nl_is_spent(st))
        return nl_again(L, st, sock_connect);
    if (code >= 0)
        code = neap_sock_connect(s->sock, &addr, 0, &future);
    if (code == NEAP_PENDING) {
        lua_pushvalue(L, 2);
        lua_replace(L, 1);
        return nl_park(L, st, future, 1, connect_end);
    }
    if (code < 0)
        return nl_fail(L, st, code, "connect", lua_tostring(L, 2));
    lua_pushboolean(L, 1);
    return 1;
}

/* ---- The forms that never suspend ---- */

/* As recv, but "" at the end of the stream. */
static int sock_try_recv(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_sock *s = nl_check_sock(L, st, 1);
    size_t max = check_size(L, st, 2);
    const void *data = NULL;
    nl_takeback(st);
    int32_t code = neap_sock_recv_lent(s->sock, max, NEAP_NOWAIT, &data, NULL);
    if (code < 0)
        return fail_now(L, st, code, "recv");
    push_bytes(L, st, s->sock, data, (size_t)code);
    return 1;
}

static int sock_try_recvfrom(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_sock *s = nl_check_sock(L, st, 1);
    size_t max = check_size(L, st, 2);
    const void *data = NULL;
    neap_addr addr;
    addr.len = 0;
    nl_takeback(st);
    int32_t code = neap_sock_recvfrom_lent(s->sock, max, NEAP_NOWAIT, &data, &addr, NULL);
    if (code < 0)
        return fail_now(L, st, code, "recvfrom");
    push_bytes(L, st, s->sock, data, (size_t)code);
    nl_push_address(L, &addr);
    return 2;
}

static int sock_try_send(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_sock *s = nl_check_sock(L, st, 1);
    size_t len;
    const char *data = check_data(L, st, 2, &len);
    int32_t code = neap_sock_send(s->sock, data, len, NEAP_NOWAIT, NULL);
    if (code < 0)
        return fail_now(L, st, code, "send");
    lua_pushinteger(L, code);
    return 1;
}

static int sock_try_sendto(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_sock *s = nl_check_sock(L, st, 1);
    size_t len;
    const char *data = check_data(L, st, 2, &len);
    neap_addr addr;
    int connected = lua_isnoneornil(L, 3);
    int32_t code = connected ? 0 : nl_address(L, st, 3, &addr);
    if (code >= 0)
        code = neap_sock_sendto(s->sock, data, len, connected ? NULL : &addr, NEAP_NOWAIT, NULL);
    if (code < 0)
        return nl_fail(L, st, code, "sendto", lua_tostring(L, 3));
    lua_pushinteger(L, code);
    return 1;
}

static int sock_try_accept(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_sock *s = nl_check_sock(L, st, 1);
    neap_addr addr;
    addr.len = 0;
    nl_sock *conn = nl_new_sock(L, st);
    int32_t code = neap_sock_accept(s->sock, NEAP_NOWAIT, &conn->sock, &addr, NULL);
    return code < 0 ? fail_now(L, st, code, "accept") : push_connection(L, &addr);
}

const luaL_Reg nl_sock_waits[] = {
    {"recv", sock_recv},       {"recvfrom", sock_recvfrom},
    {"send", sock_send},       {"sendall", sock_sendall},
    {"sendto", sock_sendto},   {"accept", sock_accept},
    {"connect", sock_connect}, {NULL, NULL},
};

const luaL_Reg nl_sock_tries[] = {
    {"try_recv", sock_try_recv},     {"try_recvfrom", sock_try_recvfrom},
    {"try_send", sock_try_send},     {"try_sendto", sock_try_sendto},
    {"try_accept", sock_try_accept}, {NULL, NULL}};

/* lsockfut.c: loop:sock_accept and friends: the operations of sockets as futures, with asyncio's names. */
#include "lneap.h"

#include <stdlib.h>

enum {
    RECV_MAX = 1 << 30
};

/* Pushes the future of an operation that was started, or of one that could not be: then it has failed. */
static int answer(lua_State *L, nl_state *st, nl_loop *l, nl_object *o, int32_t code) {
    if (code == NEAP_PENDING || code == NEAP_OK)
        return 1;
    if (code == NEAP_ELOOP_CLOSED || code == NEAP_EWRONGTHREAD || code == NEAP_ENOMEM)
        nl_throw_code(L, st, code);
    nl_check_code(L, st, neap_future_new(l->loop, &o->future));
    neap_future_set_error(o->future, code, NULL);
    return 1;
}

static nl_loop *receiver(lua_State *L, nl_state *st) {
    nl_loop *l = nl_check_loop(L, st, 1);
    if (neap_loop_is_closed(l->loop))
        nl_throw_code(L, st, NEAP_ELOOP_CLOSED);
    return l;
}

static nl_object *new_object(lua_State *L, nl_state *st) {
    nl_object *o = nl_new_object(L, st);
    o->node.flags = NL_INTERNAL;
    return o;
}

static size_t check_size(lua_State *L, nl_state *st, int index) {
    double n = (double)luaL_checknumber(L, index);
    if (!(n >= 0))
        nl_arg_error(L, st, index, NEAP_EVALUE, "a number of bytes cannot be negative");
    return n > RECV_MAX ? RECV_MAX : (size_t)n;
}

static int loop_sock_accept(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_loop *l = receiver(L, st);
    nl_sock *s = nl_check_sock(L, st, 2);
    nl_object *o = new_object(L, st);
    neap_sock *conn = NULL; /* stays empty: the future has it */
    neap_addr addr;
    int32_t code = neap_sock_accept(s->sock, NEAP_WANT_FUTURE, &conn, &addr, &o->future);
    return answer(L, st, l, o, code);
}

static int loop_sock_connect(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_loop *l = receiver(L, st);
    nl_sock *s = nl_check_sock(L, st, 2);
    neap_addr addr;
    int32_t code = nl_address(L, st, 3, &addr);
    nl_object *o = new_object(L, st);
    if (code >= 0)
        code = neap_sock_connect(s->sock, &addr, NEAP_WANT_FUTURE, &o->future);
    return answer(L, st, l, o, code);
}

/* The bytes belong to the operation until it is over, so they stay even if nobody keeps the future. */
typedef struct keeping {
    nl_life *life;
    int ref; /* {bytes, future} */
} keeping;

static void over(neap_future *future, void *user) {
    (void)future;
    (void)user;
}

static void keeping_gone(void *user) {
    keeping *k = user;
    if (k->life->st != NULL)
        nl_unanchor(k->life->st, k->ref);
    nl_life_unref(k->life);
    free(k);
}

/* Keeps what is at `bytes` and the future's userdata on top; both stay until keeping_gone. */
static keeping *keep(lua_State *L, nl_state *st, int bytes) {
    lua_createtable(L, 2, 0);
    lua_pushvalue(L, bytes);
    lua_rawseti(L, -2, 1);
    lua_pushvalue(L, -2);
    lua_rawseti(L, -2, 2);
    int ref = nl_anchor(L, st);
    keeping *k = nl_alloc_with(L, st, sizeof *k, ref);
    k->life = nl_life_ref(st);
    k->ref = ref;
    return k;
}

static int answer_kept(lua_State *L, nl_state *st, nl_loop *l, nl_object *o, int32_t code,
                       keeping *k) {
    if (code == NEAP_PENDING && !neap_future_done(o->future))
        neap_future_on_done(o->future, over, k, keeping_gone, NULL);
    else
        keeping_gone(k);
    return answer(L, st, l, o, code);
}

/* With a buffer of its own, so that the data is moved as soon as it is there, whoever reads it later. */
static int loop_sock_recv(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_loop *l = receiver(L, st);
    nl_sock *s = nl_check_sock(L, st, 2);
    size_t max = check_size(L, st, 3);
    lua_settop(L, 3);
    void *buffer = lua_newuserdata(L, max > 0 ? max : 1);
    nl_object *o = new_object(L, st);
    o->node.flags |= NL_RECEIVED;
    lua_pushvalue(L, 4);
    nl_setslot(L, 5, NL_LINK);
    keeping *k = keep(L, st, 4);
    nl_takeback(st);
    int32_t code = neap_sock_recv(s->sock, buffer, max, NEAP_WANT_FUTURE, &o->future);
    return answer_kept(L, st, l, o, code, k);
}

static int loop_sock_sendall(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_loop *l = receiver(L, st);
    nl_sock *s = nl_check_sock(L, st, 2);
    size_t len;
    if (lua_type(L, 3) != LUA_TSTRING)
        nl_type_error(L, st, 3, "a string");
    const char *data = lua_tolstring(L, 3, &len);
    nl_object *o = new_object(L, st);
    keeping *k = keep(L, st, 3);
    int32_t code = neap_sock_sendall(s->sock, data, len, NEAP_WANT_FUTURE, &o->future);
    return answer_kept(L, st, l, o, code, k);
}

/* A datagram to an address, or to the connected peer. */
static int loop_sock_sendto(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_loop *l = receiver(L, st);
    nl_sock *s = nl_check_sock(L, st, 2);
    size_t len;
    neap_addr addr;
    if (lua_type(L, 3) != LUA_TSTRING)
        nl_type_error(L, st, 3, "a string");
    const char *data = lua_tolstring(L, 3, &len);
    int connected = lua_isnoneornil(L, 4);
    int32_t code = connected ? 0 : nl_address(L, st, 4, &addr);
    nl_object *o = new_object(L, st);
    keeping *k = keep(L, st, 3);
    if (code >= 0)
        code = neap_sock_sendto(s->sock, data, len, connected ? NULL : &addr, NEAP_WANT_FUTURE,
                                &o->future);
    return answer_kept(L, st, l, o, code, k);
}

const luaL_Reg nl_sock_futures[] = {
    {"sock_accept", loop_sock_accept},   {"sock_recv", loop_sock_recv},
    {"sock_sendall", loop_sock_sendall}, {"sock_sendto", loop_sock_sendto},
    {"sock_connect", loop_sock_connect}, {NULL, NULL}};

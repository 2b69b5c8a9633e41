/* lshared.c: channels between threads, for what can be copied. */
#include "lneap.h"

#include <string.h>

typedef struct nl_shared {
    nl_node node;
    neap_shared_chan *chan; /* a reference */
} nl_shared;

/* Marks a received value that is still in its future. */
static const char received_tag = 0;

static neap_shared_chan *check_shared(lua_State *L, nl_state *st, int index) {
    nl_shared *s = nl_check(L, st, index, NL_SHARED_CHAN, "a shared channel");
    return s->chan;
}

/* NULL if it is none. */
neap_shared_chan *nl_to_shared(lua_State *L, nl_state *st, int index) {
    nl_shared *s = nl_test(L, st, index, NL_SHARED_CHAN);
    return s != NULL ? s->chan : NULL;
}

static int new_shared(lua_State *L) {
    nl_state *st = NL_STATE(L);
    size_t capacity = nl_capacity(L, st, 1);
    nl_shared *s = nl_make(L, st, NL_SHARED_CHAN, sizeof *s, 0);
    nl_check_code(L, st, neap_shared_chan_new(NULL, capacity, &s->chan));
    return 1;
}

/* ---- Sending ---- */

static int pack_body(lua_State *L) {
    nl_pack_values(L, lua_touserdata(L, 1), 2, 1, "the value", 0);
    return 0;
}

/* A copy of the value, which goes with the channel if nobody receives it. */
static int32_t send_parcel(lua_State *L, neap_shared_chan *chan, neap_loop *loop,
                           neap_future **ret_future) {
    lua_pushcfunction(L, pack_body);
    nl_parcel *p = nl_parcel_new();
    if (p == NULL)
        return NEAP_ENOMEM;
    lua_pushlightuserdata(L, p);
    lua_pushvalue(L, 2);
    if (lua_pcall(L, 2, 0, 0) != 0) {
        nl_parcel_free(p);
        lua_error(L);
    }
    return neap_shared_chan_send_ptr(chan, loop, &nl_parcel_tag, p, nl_parcel_free, ret_future);
}

static int32_t begin_send(lua_State *L, nl_state *st, neap_future **ret_future) {
    neap_shared_chan *chan = check_shared(L, st, 1);
    neap_loop *loop = ret_future != NULL ? nl_loop_now(L, st)->loop : NULL;
    size_t len;
    const char *bytes;
    switch (lua_type(L, 2)) {
    case LUA_TNUMBER:
        if (nl_isinteger(L, 2))
            return neap_shared_chan_send_int(chan, loop, (int64_t)lua_tointeger(L, 2), ret_future);
        return neap_shared_chan_send_double(chan, loop, (double)lua_tonumber(L, 2), ret_future);
    case LUA_TBOOLEAN:
        return neap_shared_chan_send_bool(chan, loop, lua_toboolean(L, 2), ret_future);
    case LUA_TSTRING:
        bytes = lua_tolstring(L, 2, &len);
        return neap_shared_chan_send_bytes(chan, loop, bytes, len, ret_future);
    case LUA_TNONE:
    case LUA_TNIL: /* which says that a channel is at its end */
        return nl_type_error(L, st, 2, "a value other than nil");
    default:
        return send_parcel(L, chan, loop, ret_future);
    }
}

/* true; nil and an error once the channel is closed. */
static int sent(lua_State *L, nl_state *st, int32_t code) {
    if (code < 0)
        return nl_fail(L, st, code, "send", NULL);
    lua_pushboolean(L, 1);
    return 1;
}

static int send_end(lua_State *L) {
    nl_state *st = NL_STATE(L);
    int32_t code = neap_future_error(nl_woken(L, st));
    nl_wait_end(st->task);
    return sent(L, st, code);
}

static int shared_send(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_future *future = NULL;
    nl_check_wait(L, st);
    if (nl_is_spent(st))
        return nl_again(L, st, shared_send);
    int32_t code = begin_send(L, st, &future);
    return code == NEAP_PENDING ? nl_park(L, st, future, 1, send_end) : sent(L, st, code);
}

/* Whether there was room. */
static int shared_try_send(lua_State *L) {
    nl_state *st = NL_STATE(L);
    int32_t code = begin_send(L, st, NULL);
    if (code != NEAP_EAGAIN)
        return sent(L, st, code);
    lua_pushboolean(L, 0);
    return 1;
}

/* ---- Receiving ---- */

/* nil at the end. */
static int push_received(lua_State *L, nl_state *st, int32_t kind, const neap_value *value) {
    if (kind == NEAP_KIND_PTR && value->ptr.tag == &nl_parcel_tag)
        return nl_unpack_values(L, value->ptr.ptr);
    if (kind == NEAP_ECLOSED || kind == NEAP_KIND_PTR) {
        lua_pushnil(L); /* the end, or another binding's */
        return 1;
    }
    nl_check_code(L, st, kind);
    if (kind == NEAP_KIND_INT)
        lua_pushinteger(L, (lua_Integer)value->i);
    else if (kind == NEAP_KIND_DOUBLE)
        lua_pushnumber(L, (lua_Number)value->d);
    else if (kind == NEAP_KIND_BOOL)
        lua_pushboolean(L, value->i != 0);
    else
        lua_pushlstring(L, value->bytes.data, value->bytes.len);
    return 1;
}

void nl_drop_received(nl_state *st) {
    neap_future_unref(st->received);
    st->received = NULL;
}

/* What is there already lies in a future, which comes as a pointer. */
static int32_t begin_recv(lua_State *L, nl_state *st, int at, neap_future **ret_future,
                          neap_value *ret_value) {
    neap_future *future;
    int waits = ret_future != NULL;
    memset(ret_value, 0, sizeof *ret_value);
    int32_t code = neap_shared_chan_recv(check_shared(L, st, at), nl_loop_now(L, st)->loop,
                                         waits ? 0 : NEAP_NOWAIT, &future);
    if (code < 0 && code != NEAP_PENDING)
        return code;
    if (waits) {
        *ret_future = future;
        return NEAP_PENDING;
    }
    ret_value->ptr.tag = &received_tag;
    ret_value->ptr.ptr = future;
    return NEAP_KIND_PTR;
}

static int answer(lua_State *L, nl_state *st, int32_t code, const neap_value *value) {
    if (code != NEAP_KIND_PTR || value->ptr.tag != &received_tag)
        return push_received(L, st, code, value);
    neap_future *future = value->ptr.ptr;
    neap_value inside;
    int32_t kind = neap_future_value(future, &inside, sizeof inside);
    nl_drop_received(st);
    st->received = future; /* there may be no memory for what is pushed */
    int n = push_received(L, st, kind, &inside);
    nl_drop_received(st);
    return n;
}

static int recv_end(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_value value;
    int32_t kind = neap_future_value(nl_woken(L, st), &value, sizeof value);
    int n = push_received(L, st, kind, &value);
    nl_wait_end(st->task);
    return n;
}

static int shared_recv(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_future *future = NULL;
    neap_value value;
    nl_check_wait(L, st);
    if (nl_is_spent(st))
        return nl_again(L, st, shared_recv);
    int32_t code = begin_recv(L, st, 1, NULL, &value);
    if (code == NEAP_EAGAIN)
        code = begin_recv(L, st, 1, &future, &value);
    return code == NEAP_PENDING ? nl_park(L, st, future, 1, recv_end) : answer(L, st, code, &value);
}

/* The next value if there is one, else nil. */
static int shared_try_recv(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_value value;
    int32_t code = begin_recv(L, st, 1, NULL, &value);
    if (code != NEAP_EAGAIN)
        return answer(L, st, code, &value);
    lua_pushnil(L);
    return 1;
}

/* ---- The rest ---- */

static int shared_close(lua_State *L) {
    nl_state *st = NL_STATE(L);
    lua_pushboolean(L, neap_shared_chan_close(check_shared(L, st, 1)) > 0);
    return 1;
}

static int shared_is_closed(lua_State *L) {
    nl_state *st = NL_STATE(L);
    lua_pushboolean(L, neap_shared_chan_is_closed(check_shared(L, st, 1)) > 0);
    return 1;
}

static int shared_len(lua_State *L) {
    nl_state *st = NL_STATE(L);
    lua_pushinteger(L, (lua_Integer)neap_shared_chan_len(check_shared(L, st, 1)));
    return 1;
}

static void drop(nl_node *node) {
    nl_shared *s = (nl_shared *)node;
    neap_shared_chan_unref(s->chan);
    s->chan = NULL;
}

void neap_lua_push_shared_chan(lua_State *L, neap_shared_chan *chan) {
    nl_shared *s = nl_make(L, nl_state_of(L), NL_SHARED_CHAN, sizeof *s, 0);
    s->chan = neap_shared_chan_ref(chan);
}

neap_shared_chan *neap_lua_to_shared_chan(lua_State *L, int index) {
    nl_shared *s = nl_test(L, nl_state_of(L), index, NL_SHARED_CHAN);
    return s != NULL ? s->chan : NULL;
}

void nl_open_shared(lua_State *L, nl_state *st) {
    static const nl_case shared_case = {begin_recv, answer, NULL, NULL};
    static const luaL_Reg metas[] = {{"__gc", nl_gc}, {"__len", shared_len}, {NULL, NULL}};
    static const luaL_Reg waits[] = {{"send", shared_send}, {"recv", shared_recv}, {NULL, NULL}};
    static const luaL_Reg methods[] = {
        {"try_send", shared_try_send},   {"try_recv", shared_try_recv}, {"close", shared_close},
        {"is_closed", shared_is_closed}, {"len", shared_len},           {NULL, NULL}};
    static const luaL_Reg functions[] = {{"shared_channel", new_shared}, {NULL, NULL}};
    nl_functions(L, st, functions);
    st->drops[NL_SHARED_CHAN] = drop;
    st->cases[NL_SHARED_CHAN] = &shared_case;
    lua_getfield(L, -1, "methods");
    nl_class(L, st, NL_SHARED_CHAN, "neap.shared_channel", methods, waits, metas);
    lua_setfield(L, -2, "shared_channel");
    lua_pop(L, 1);
}

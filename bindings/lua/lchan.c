/* lchan.c: channels of Lua values.  Integers travel as such, all else in a cell that anchors it. */
#include "lneap.h"

typedef struct nl_chan {
    nl_bound b;
    neap_chan *chan; /* a reference, or NULL */
    size_t capacity;
} nl_chan;

static nl_chan *check_chan(lua_State *L, nl_state *st) {
    nl_chan *c = nl_check(L, st, 1, NL_CHAN, "a channel");
    if (c->chan == NULL || !nl_is_bound(&c->b))
        nl_check_code(L, st, neap_chan_new(nl_bind(L, st, &c->b), c->capacity, &c->chan));
    return c;
}

static int new_chan(lua_State *L) {
    nl_state *st = NL_STATE(L);
    lua_Integer capacity = nl_count(L, st, 1, 0, "a number of items");
    nl_chan *c = nl_make(L, st, NL_CHAN, sizeof *c, 0);
    c->capacity = (size_t)capacity;
    nl_track(&c->b.node);
    return 1;
}

/* ---- Sending ---- */

static int32_t send_item(lua_State *L, nl_state *st, nl_chan *c, neap_future **ret_future) {
    if (lua_isnoneornil(L, 2))
        nl_arg_error(L, st, 2, NEAP_EVALUE, "nil cannot be sent: it is the end of a channel");
    if (nl_isinteger(L, 2))
        return neap_chan_send_int(c->chan, (int64_t)lua_tointeger(L, 2), ret_future);
    lua_pushvalue(L, 2);
    void *cell = nl_new_cell(L, st, NL_ONE);
    lua_pop(L, 1);
    return neap_chan_send_ptr(c->chan, st, cell, nl_cell_gone, ret_future);
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
    neap_future *future = nl_woken(L, st);
    int32_t code = neap_future_error(future);
    nl_wait_end(st->task);
    return sent(L, st, code);
}

static int chan_send(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_chan *c = check_chan(L, st);
    neap_future *future = NULL;
    nl_check_wait(L, st);
    if (nl_is_spent(st))
        return nl_again(L, st, chan_send);
    int32_t code = send_item(L, st, c, &future);
    return code == NEAP_PENDING ? nl_park(L, st, future, 1, send_end) : sent(L, st, code);
}

/* Whether there was room. */
static int chan_try_send(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_chan *c = check_chan(L, st);
    int32_t code = send_item(L, st, c, NULL);
    if (code != NEAP_EAGAIN)
        return sent(L, st, code);
    lua_pushboolean(L, 0);
    return 1;
}

/* ---- Receiving ---- */

/* nil at the end. */
static int received(lua_State *L, nl_state *st, int32_t kind, const neap_value *value) {
    if (kind == NEAP_ECLOSED) {
        lua_pushnil(L);
        return 1;
    }
    nl_check_code(L, st, kind);
    if (kind == NEAP_KIND_INT)
        lua_pushinteger(L, (lua_Integer)value->i);
    else if (value->ptr.tag == st)
        nl_push_cell(L, value->ptr.ptr);
    else
        lua_pushnil(L); /* another binding's */
    return 1;
}

static int recv_end(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_future *future = nl_woken(L, st);
    neap_value value;
    int32_t kind = neap_future_value(future, &value, sizeof value);
    int n = received(L, st, kind, &value);
    nl_wait_end(st->task);
    return n;
}

/* What came at once is ours to end. */
static int take(lua_State *L, nl_state *st, int32_t kind, const neap_value *value) {
    int n = received(L, st, kind, value);
    if (kind == NEAP_KIND_PTR && value->ptr.tag == st)
        nl_cell_gone(value->ptr.ptr);
    return n;
}

static int chan_recv(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_chan *c = check_chan(L, st);
    neap_future *future = NULL;
    neap_value value;
    nl_check_wait(L, st);
    if (nl_is_spent(st))
        return nl_again(L, st, chan_recv);
    int32_t kind = neap_chan_recv(c->chan, &value, sizeof value, &future);
    return kind == NEAP_PENDING ? nl_park(L, st, future, 1, recv_end) : take(L, st, kind, &value);
}

/* The next value if there is one, else nil. */
static int chan_try_recv(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_chan *c = check_chan(L, st);
    neap_value value;
    int32_t kind = neap_chan_recv(c->chan, &value, sizeof value, NULL);
    if (kind != NEAP_EAGAIN)
        return take(L, st, kind, &value);
    lua_pushnil(L);
    return 1;
}

/* ---- The rest ---- */

static int chan_close(lua_State *L) {
    nl_state *st = NL_STATE(L);
    int32_t code = neap_chan_close(check_chan(L, st)->chan);
    nl_check_code(L, st, code);
    lua_pushboolean(L, code);
    return 1;
}

static int chan_is_closed(lua_State *L) {
    nl_state *st = NL_STATE(L);
    lua_pushboolean(L, neap_chan_is_closed(check_chan(L, st)->chan) > 0);
    return 1;
}

static int chan_len(lua_State *L) {
    nl_state *st = NL_STATE(L);
    lua_pushinteger(L, (lua_Integer)neap_chan_len(check_chan(L, st)->chan));
    return 1;
}

static void drop(nl_node *node) {
    nl_chan *c = (nl_chan *)node;
    neap_chan_unref(c->chan);
    c->chan = NULL;
    nl_unbind(&c->b);
}

void nl_open_chan(lua_State *L, nl_state *st) {
    static const luaL_Reg metas[] = {{"__gc", nl_gc}, {"__len", chan_len}, {NULL, NULL}};
    static const luaL_Reg waits[] = {{"send", chan_send}, {"recv", chan_recv}, {NULL, NULL}};
    static const luaL_Reg methods[] = {{"try_send", chan_try_send}, {"try_recv", chan_try_recv},
                                       {"close", chan_close},       {"is_closed", chan_is_closed},
                                       {"len", chan_len},           {NULL, NULL}};
    static const luaL_Reg functions[] = {{"channel", new_chan}, {NULL, NULL}};
    nl_functions(L, st, functions);
    st->drops[NL_CHAN] = drop;
    lua_getfield(L, -1, "methods");
    nl_class(L, st, NL_CHAN, "neap.channel", methods, waits, metas);
    lua_setfield(L, -2, "channel");
    lua_pop(L, 1);
}

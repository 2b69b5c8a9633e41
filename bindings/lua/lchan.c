/* lchan.c: channels and queues of Lua values.  Integers travel as such, all else in a cell that anchors it. */
#include "lneap.h"

#include <string.h>

/* A channel, or a queue: a channel in the order of priorities. */
typedef struct nl_chan {
    nl_bound b;
    neap_chan *chan; /* a reference, or NULL */
    size_t capacity;
} nl_chan;

static neap_chan *check_chan(lua_State *L, nl_state *st, int index) {
    nl_chan *c = nl_test(L, st, index, NL_QUEUE);
    int ordered = c != NULL;
    if (!ordered)
        c = nl_check(L, st, index, NL_CHAN, "a channel");
    if (c->chan != NULL && nl_is_bound(&c->b))
        return c->chan;
    neap_loop *loop = nl_bind(L, st, &c->b);
    nl_check_code(L, st,
                  ordered ? neap_chan_new_ordered(loop, c->capacity, &c->chan)
                          : neap_chan_new(loop, c->capacity, &c->chan));
    return c->chan;
}

/* What a channel has room for, at index. */
size_t nl_capacity(lua_State *L, nl_state *st, int index) {
    if (lua_type(L, index) == LUA_TSTRING && strcmp(lua_tostring(L, index), "unbounded") == 0)
        return SIZE_MAX;
    return (size_t)nl_count(L, st, index, 0, "a number of items or \"unbounded\"");
}

static int new_chan(lua_State *L) {
    nl_state *st = NL_STATE(L);
    size_t capacity = nl_capacity(L, st, 1);
    nl_chan *c = nl_make(L, st, NL_CHAN, sizeof *c, 0);
    c->capacity = capacity;
    return 1;
}

static int new_queue(lua_State *L) {
    nl_state *st = NL_STATE(L);
    size_t capacity = nl_capacity(L, st, 1);
    if (capacity == 0)
        nl_arg_error(L, st, 1, NEAP_EVALUE, "a number of at least 1, or \"unbounded\", is needed");
    nl_chan *c = nl_make(L, st, NL_QUEUE, sizeof *c, 0);
    c->capacity = capacity;
    return 1;
}

/* ---- Sending ---- */

/* Sends the value at index `at`, with the priority behind it if there is one. */
static int32_t send_item(lua_State *L, nl_state *st, neap_chan *chan, int at,
                         neap_future **ret_future) {
    if (lua_isnoneornil(L, at))
        nl_arg_error(L, st, at, NEAP_EVALUE, "nil cannot be sent: it is the end of a channel");
    if (!lua_isnoneornil(L, at + 1) && lua_type(L, at + 1) != LUA_TNUMBER)
        nl_type_error(L, st, at + 1, "a number");
    double priority = (double)lua_tonumber(L, at + 1);
    if (nl_isinteger(L, at))
        return neap_chan_put_int(chan, priority, (int64_t)lua_tointeger(L, at), ret_future);
    lua_pushvalue(L, at);
    void *cell = nl_new_cell(L, st, NL_ONE);
    lua_pop(L, 1);
    return neap_chan_put_ptr(chan, priority, st, cell, nl_cell_gone, ret_future);
}

/* true; nil and an error once the channel is closed. */
static int sent(lua_State *L, nl_state *st, int32_t code) {
    if (code == NEAP_EVALUE)
        nl_throw(L, st, code, "a priority is a number, not NaN");
    if (code < 0)
        return nl_fail(L, st, code, "send", NULL);
    lua_pushboolean(L, 1);
    return 1;
}

static int32_t begin_send(lua_State *L, nl_state *st, int at, neap_future **ret_future) {
    return send_item(L, st, check_chan(L, st, at), at + 1, ret_future);
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
    neap_future *future = NULL;
    nl_check_wait(L, st);
    if (nl_is_spent(st))
        return nl_again(L, st, chan_send);
    int32_t code = begin_send(L, st, 1, &future);
    return code == NEAP_PENDING ? nl_park(L, st, future, 1, send_end) : sent(L, st, code);
}

/* Whether there was room. */
static int chan_try_send(lua_State *L) {
    nl_state *st = NL_STATE(L);
    int32_t code = begin_send(L, st, 1, NULL);
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

static int32_t begin_recv(lua_State *L, nl_state *st, int at, neap_future **ret_future,
                          neap_value *ret_value) {
    return neap_chan_recv(check_chan(L, st, at), ret_value, sizeof *ret_value, ret_future);
}

static int chan_recv(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_future *future = NULL;
    neap_value value;
    nl_check_wait(L, st);
    if (nl_is_spent(st))
        return nl_again(L, st, chan_recv);
    int32_t kind = begin_recv(L, st, 1, &future, &value);
    return kind == NEAP_PENDING ? nl_park(L, st, future, 1, recv_end) : take(L, st, kind, &value);
}

/* The next value if there is one, else nil. */
static int chan_try_recv(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_value value;
    int32_t kind = begin_recv(L, st, 1, NULL, &value);
    if (kind != NEAP_EAGAIN)
        return take(L, st, kind, &value);
    lua_pushnil(L);
    return 1;
}

/* ---- The rest ---- */

static int chan_close(lua_State *L) {
    nl_state *st = NL_STATE(L);
    int32_t code = neap_chan_close(check_chan(L, st, 1));
    nl_check_code(L, st, code);
    lua_pushboolean(L, code);
    return 1;
}

static int chan_is_closed(lua_State *L) {
    nl_state *st = NL_STATE(L);
    lua_pushboolean(L, neap_chan_is_closed(check_chan(L, st, 1)) > 0);
    return 1;
}

static int chan_len(lua_State *L) {
    nl_state *st = NL_STATE(L);
    lua_pushinteger(L, (lua_Integer)neap_chan_len(check_chan(L, st, 1)));
    return 1;
}

/* ---- What queues add ---- */

static int queue_task_done(lua_State *L) {
    nl_state *st = NL_STATE(L);
    int32_t code = neap_chan_task_done(check_chan(L, st, 1));
    if (code == NEAP_EINVALID_STATE)
        return nl_throw(L, st, code, "task_done was called for each value already");
    nl_check_code(L, st, code);
    return 0;
}

static int join_end(lua_State *L) {
    nl_state *st = NL_STATE(L);
    int32_t code = neap_future_error(nl_woken(L, st));
    nl_wait_end(st->task);
    nl_check_code(L, st, code);
    return 0;
}

static int queue_join(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_future *future = NULL;
    nl_check_wait(L, st);
    if (nl_is_spent(st))
        return nl_again(L, st, queue_join);
    int32_t code = neap_chan_join(check_chan(L, st, 1), &future);
    if (code == NEAP_PENDING)
        return nl_park(L, st, future, 1, join_end);
    nl_check_code(L, st, code);
    return 0;
}

/* ---- The module ---- */

static void drop(nl_node *node) {
    nl_chan *c = (nl_chan *)node;
    neap_chan_unref(c->chan);
    c->chan = NULL;
    nl_unbind(&c->b);
}

static const luaL_Reg chan_waits[] = {{"send", chan_send}, {"recv", chan_recv}, {NULL, NULL}};
static const luaL_Reg chan_methods[] = {{"try_send", chan_try_send}, {"try_recv", chan_try_recv},
                                        {"close", chan_close},       {"is_closed", chan_is_closed},
                                        {"len", chan_len},           {NULL, NULL}};
static const luaL_Reg queue_waits[] = {
    {"put", chan_send}, {"get", chan_recv}, {"join", queue_join}, {NULL, NULL}};
static const luaL_Reg queue_methods[] = {{"try_put", chan_try_send},
                                         {"try_get", chan_try_recv},
                                         {"task_done", queue_task_done},
                                         {"close", chan_close},
                                         {"is_closed", chan_is_closed},
                                         {"len", chan_len},
                                         {NULL, NULL}};

void nl_open_chan(lua_State *L, nl_state *st) {
    static const nl_case chan_case = {begin_recv, received, begin_send, sent};
    static const luaL_Reg metas[] = {{"__gc", nl_gc}, {"__len", chan_len}, {NULL, NULL}};
    static const luaL_Reg functions[] = {{"channel", new_chan}, {"queue", new_queue}, {NULL, NULL}};
    nl_functions(L, st, functions);
    st->drops[NL_CHAN] = st->drops[NL_QUEUE] = drop;
    st->cases[NL_CHAN] = st->cases[NL_QUEUE] = &chan_case;
    lua_getfield(L, -1, "methods");
    nl_class(L, st, NL_CHAN, "neap.channel", chan_methods, chan_waits, metas);
    lua_setfield(L, -2, "channel");
    nl_class(L, st, NL_QUEUE, "neap.queue", queue_methods, queue_waits, metas);
    lua_setfield(L, -2, "queue");
    lua_pop(L, 1);
}

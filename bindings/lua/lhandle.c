/* lhandle.c: callbacks that the loop calls: call_soon, call_later, call_at and their handles.  Function and arguments
   hang from the handle's userdata, which is anchored while the call is to come. */
#include "lneap.h"

#include <string.h>

/* Pushes a handle with the function at `first` and the arguments behind it, anchored until nl_handle_gone. */
nl_handle *nl_new_handle(lua_State *L, nl_state *st, neap_loop *loop, int first) {
    int nargs = lua_gettop(L) - first;
    if (!nl_is_callable(L, first))
        nl_type_error(L, st, first, "a function");
    nl_handle *h = nl_make(L, st, NL_HANDLE, sizeof *h, NL_HANDLE_SLOTS);
    h->loop = loop;
    if (nargs == 0 && lua_isfunction(L, first))
        lua_pushvalue(L, first);
    else
        nl_pack(L, first, nargs + 1);
    nl_setslot(L, -2, NL_CALLABLE);
    lua_pushvalue(L, -1);
    h->node.ref = nl_anchor(L, st);
    return h;
}

static void call(lua_State *L, nl_state *st, void *arg) {
    nl_handle *h = arg;
    nl_anchored(L, h->node.ref);
    lua_pushvalue(L, 1);
    lua_rawseti(L, LUA_REGISTRYINDEX, st->recent);
    st->handle = h;
    nl_getslot(L, 1, NL_CALLABLE);
    int n = lua_isfunction(L, 2) ? 1 : nl_unpack(L, 2);
    lua_call(L, n - 1, 0);
}

void nl_handle_fire(void *user) {
    nl_handle *h = user;
    nl_call_in(h->node.st, h->loop, call, h);
}

/* The core lets go of the callback. */
void nl_handle_gone(void *user) {
    nl_handle *h = user;
    nl_state *st = h->node.st;
    if (st->closed)
        h->node.ref = LUA_NOREF;
    if (h->node.ref < 0)
        return;
    nl_anchored(st->R, h->node.ref);
    for (int slot = 1; slot <= (h->event != 0 ? NL_HANDLE_SLOTS : 1); slot++) {
        lua_pushnil(st->R);
        nl_setslot(st->R, -2, slot);
    }
    lua_pop(st->R, 1);
    nl_unanchor(st, h->node.ref);
    h->node.ref = LUA_NOREF;
}

/* The core must let go of the callback. */
static void stop(nl_handle *h) {
    if (h->node.ref < 0)
        return; /* it has: its loop was closed */
    if (h->event == NEAP_READ)
        neap_remove_reader(h->loop, h->fd);
    else if (h->event == NEAP_WRITE)
        neap_remove_writer(h->loop, h->fd);
    else
        neap_handle_cancel(h->handle);
}

/* Reports name the callback that ran last; outside a run there is none. */
void nl_forget_recent(nl_state *st) {
    st->handle = NULL;
    lua_pushboolean(st->R, 0);
    lua_rawseti(st->R, LUA_REGISTRYINDEX, st->recent);
}

/* ---- Scheduling ---- */

static int loop_call_soon(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_loop *l = nl_check_loop(L, st, 1);
    nl_handle *h = nl_new_handle(L, st, l->loop, 2);
    nl_check_code(L, st, neap_call_soon(l->loop, nl_handle_fire, h, nl_handle_gone, &h->handle));
    return 1;
}

static int loop_call_later(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_loop *l = nl_check_loop(L, st, 1);
    int64_t delay = nl_seconds(L, 2);
    nl_handle *h = nl_new_handle(L, st, l->loop, 3);
    nl_check_code(L, st,
                  neap_call_later(l->loop, delay, nl_handle_fire, h, nl_handle_gone, &h->handle));
    return 1;
}

static int loop_call_at(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_loop *l = nl_check_loop(L, st, 1);
    int64_t when = nl_seconds(L, 2);
    nl_handle *h = nl_new_handle(L, st, l->loop, 3);
    nl_check_code(L, st,
                  neap_call_at(l->loop, when, nl_handle_fire, h, nl_handle_gone, &h->handle));
    return 1;
}

/* First after s seconds, then each s seconds. */
static int loop_call_every(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_loop *l = nl_check_loop(L, st, 1);
    int64_t interval = nl_seconds(L, 2);
    if (interval == 0)
        nl_arg_error(L, st, 2, NEAP_EVALUE, "an interval above 0 is needed");
    nl_handle *h = nl_new_handle(L, st, l->loop, 3);
    nl_check_code(L, st,
                  neap_call_every(l->loop, interval, interval, nl_handle_fire, h, nl_handle_gone,
                                  &h->handle));
    return 1;
}

/* ---- Methods ---- */

static nl_handle *self(lua_State *L) {
    nl_handle *h = nl_check(L, NL_STATE(L), 1, NL_HANDLE, "a handle");
    if (h->handle == NULL) /* a watch: reports name it, its descriptor ends it */
        nl_throw_code(L, h->node.st, NEAP_EINVALID_STATE);
    return h;
}

static int handle_cancel(lua_State *L) {
    nl_handle *h = self(L);
    int32_t code = neap_handle_cancel(h->handle);
    nl_check_code(L, h->node.st, code == NEAP_ELOOP_CLOSED ? 0 : code);
    lua_pushboolean(L, code > 0);
    return 1;
}

static int handle_cancelled(lua_State *L) {
    lua_pushboolean(L, neap_handle_cancelled(self(L)->handle) > 0);
    return 1;
}

/* The loop's time at which a timer is due, nil of what is no timer. */
static int handle_when(lua_State *L) {
    int64_t when = neap_handle_when(self(L)->handle);
    if (when < 0)
        lua_pushnil(L);
    else
        lua_pushnumber(L, (lua_Number)when / 1e9);
    return 1;
}

/* Moves the deadline of a timer that has not fired, or whose callback runs. */
static int handle_reset(lua_State *L) {
    nl_handle *h = self(L);
    int64_t delay = nl_seconds(L, 2);
    nl_check_code(L, h->node.st, neap_handle_reset(h->handle, delay));
    lua_settop(L, 1);
    return 1;
}

static int handle_tostring(lua_State *L) {
    char text[128];
    neap_handle_describe(self(L)->handle, text, sizeof text);
    lua_pushfstring(L, "neap.handle: %s", text);
    return 1;
}

static void drop(nl_node *node) {
    nl_handle *h = (nl_handle *)node;
    stop(h);
    neap_handle_unref(h->handle);
    h->handle = NULL;
}

static int handle_gc(lua_State *L) {
    nl_handle *h = nl_finalized(L);
    if (h == NULL)
        return 0;
    if (h->node.ref >= 0)
        nl_closing(h->node.st);
    else
        nl_drop(L, &h->node);
    return 0;
}

const luaL_Reg nl_handle_calls[] = {
    {"call_soon", loop_call_soon},   {"call_later", loop_call_later}, {"call_at", loop_call_at},
    {"call_every", loop_call_every}, {"on_shutdown", nl_on_shutdown}, {NULL, NULL}};

void nl_open_handle(lua_State *L, nl_state *st) {
    static const luaL_Reg metas[] = {
        {"__tostring", handle_tostring}, {"__gc", handle_gc}, {NULL, NULL}};
    static const luaL_Reg methods[] = {{"cancel", handle_cancel},
                                       {"cancelled", handle_cancelled},
                                       {"when", handle_when},
                                       {"reset", handle_reset},
                                       {NULL, NULL}};
    st->drops[NL_HANDLE] = drop;
    nl_class(L, st, NL_HANDLE, "neap.handle", methods, NULL, metas);
    lua_pop(L, 1);
}

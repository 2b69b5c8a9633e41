/* lconnect.c: neap.connect: a connection to a name or an address, as a stream or as a socket. */
#include "lneap.h"

#include <string.h>

/* Reads the options at `at`, if there are any. */
static void check_options(lua_State *L, nl_state *st, int at, neap_connect_options *o,
                          neap_addr *local) {
    static const char *const names[] = {"local_addr", "happy_eyeballs_delay", "prefer", NULL};
    memset(o, 0, sizeof *o);
    o->size = sizeof *o;
    if (!nl_has_options(L, st, at, names))
        return;
    lua_getfield(L, at, "local_addr");
    if (!lua_isnil(L, -1)) {
        if (lua_type(L, -1) != LUA_TSTRING || neap_addr_parse(lua_tostring(L, -1), local) < 0)
            nl_throw(L, st, NEAP_EVALUE,
                     "the option 'local_addr' must be a numeric address with a port (0: any)");
        o->local = local;
    }
    lua_getfield(L, at, "prefer");
    o->prefer = nl_family(L, st, lua_gettop(L), "prefer");
    lua_getfield(L, at, "happy_eyeballs_delay");
    if (!lua_isnil(L, -1)) {
        int64_t delay = nl_seconds(L, lua_gettop(L));
        o->delay_ns = delay == NL_NEVER ? -1 : delay > 0 ? delay : 1;
    }
    lua_pop(L, 3);
}

/* Adds to the error on top what was tried in vain. */
static void add_tried(lua_State *L, nl_state *st, neap_future *future) {
    neap_addr addr;
    int32_t code;
    for (size_t i = 0; neap_future_tried(future, i, &addr, &code) > 0; i++) {
        if (i == 0)
            lua_newtable(L);
        lua_createtable(L, 0, 2);
        nl_push_address(L, &addr);
        lua_setfield(L, -2, "address");
        nl_push_error(L, st, code, NULL);
        lua_setfield(L, -2, "error");
        lua_rawseti(L, -2, (int)i + 1);
    }
    if (neap_future_tried(future, 0, &addr, &code) > 0)
        lua_setfield(L, -2, "tried");
}

/* Whether the future says more than its code. */
static int has_message(neap_future *future, int32_t code) {
    return strcmp(neap_future_message(future), neap_strerror(code)) != 0;
}

/* Keeps the address at index 1. */
static int fail_waited(lua_State *L, nl_state *st, neap_future *future, int32_t code) {
    nl_fail(L, st, code, "connect", lua_tostring(L, 1));
    if (has_message(future, code)) {
        lua_pushstring(L, neap_future_message(future));
        lua_setfield(L, -2, "message");
    }
    add_tried(L, st, future);
    nl_wait_end(st->task);
    return 2;
}

static int sock_end(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_future *future = nl_woken(L, st);
    int32_t code = neap_future_error(future);
    if (code < 0)
        return fail_waited(L, st, future, code);
    nl_sock *s = nl_new_sock(L, st);
    nl_check_code(L, st, neap_future_take_sock(future, &s->sock));
    nl_wait_end(st->task);
    return 1;
}

static int stream_end(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_future *future = nl_woken(L, st);
    int32_t code = neap_future_error(future);
    if (code < 0)
        return fail_waited(L, st, future, code);
    nl_stream *s = nl_new_stream(L, st);
    neap_sock *sock = NULL;
    nl_check_code(L, st, neap_future_take_sock(future, &sock));
    code = neap_stream_new(sock, &s->stream);
    neap_sock_unref(sock);
    nl_wait_end(st->task);
    return code < 0 ? nl_fail(L, st, code, "connect", lua_tostring(L, 1)) : 1;
}

static int begin(lua_State *L, lua_CFunction self, nl_cont k) {
    nl_state *st = NL_STATE(L);
    neap_connect_options o;
    neap_addr local;
    neap_future *future = NULL;
    size_t len;
    if (lua_type(L, 1) != LUA_TSTRING)
        nl_type_error(L, st, 1, "an address (a string)");
    const char *address = lua_tolstring(L, 1, &len);
    check_options(L, st, 2, &o, &local);
    nl_check_wait(L, st);
    if (nl_is_spent(st))
        return nl_again(L, st, self);
    int32_t code = strlen(address) == len
                       ? neap_connect(neap_future_loop(st->task->o.future), address, &o, &future)
                       : NEAP_EVALUE;
    if (code < 0)
        return nl_fail(L, st, code, "connect", address);
    return nl_park(L, st, future, 1, k);
}

/* A socket that is connected to the address. */
static int connect_sock(lua_State *L) {
    return begin(L, connect_sock, sock_end);
}

/* A stream over such a socket. */
static int connect_stream(lua_State *L) {
    return begin(L, connect_stream, stream_end);
}

void nl_open_connect(lua_State *L, nl_state *st) {
    static const luaL_Reg waits[] = {
        {"connect", connect_stream}, {"connect_sock", connect_sock}, {NULL, NULL}};
    nl_waits(L, st, waits);
}

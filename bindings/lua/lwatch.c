/* lwatch.c: readers and writers on descriptors.  A watch is a handle without a handle of the core. */
#include "lneap.h"

static neap_fd number_to_fd(lua_State *L, int index) {
    neap_fd fd = (neap_fd)lua_tointeger(L, index);
    return fd < 0 ? NEAP_EBADF : fd;
}

/* The descriptor that a number, a socket, or an object with fileno names; a negative code if it has none. */
neap_fd nl_to_fd(lua_State *L, nl_state *st, int index) {
    nl_sock *s = nl_test(L, st, index, NL_SOCK);
    if (s != NULL)
        return neap_sock_fd(s->sock);
    if (lua_type(L, index) == LUA_TNUMBER)
        return number_to_fd(L, index);
    if (!lua_istable(L, index) && !lua_isuserdata(L, index))
        return nl_type_error(L, st, index, "a descriptor or socket");
    lua_getfield(L, index, "fileno");
    if (!lua_isfunction(L, -1))
        return nl_type_error(L, st, index, "a descriptor or socket");
    lua_pushvalue(L, index);
    lua_call(L, 1, 1);
    neap_fd fd = lua_type(L, -1) == LUA_TNUMBER ? number_to_fd(L, -1) : NEAP_EBADF;
    lua_pop(L, 1);
    return fd;
}

typedef int32_t (*add_fn)(neap_loop *, neap_fd, neap_fn, void *, neap_destroy_fn);
typedef int32_t (*remove_fn)(neap_loop *, neap_fd);

/* Answers whether there was one already. */
static int add(lua_State *L, add_fn fn, int event) {
    nl_state *st = NL_STATE(L);
    nl_loop *l = nl_check_loop(L, st, 1);
    neap_fd fd = nl_to_fd(L, st, 2);
    nl_check_code(L, st, fd);
    nl_handle *h = nl_new_handle(L, st, l->loop, 3);
    lua_pushvalue(L, 2);
    nl_setslot(L, -2, NL_WATCHED);
    h->event = event;
    h->fd = fd;
    int32_t code = fn(l->loop, fd, nl_handle_fire, h, nl_handle_gone);
    nl_check_code(L, st, code);
    lua_pushboolean(L, code);
    return 1;
}

/* Answers whether there was one. */
static int take(lua_State *L, remove_fn fn) {
    nl_state *st = NL_STATE(L);
    nl_loop *l = nl_check_loop(L, st, 1);
    neap_fd fd = nl_to_fd(L, st, 2);
    int32_t code = fd < 0 ? 0 : fn(l->loop, fd);
    nl_check_code(L, st, code == NEAP_EBADF ? 0 : code);
    lua_pushboolean(L, code > 0);
    return 1;
}

static int add_reader(lua_State *L) {
    return add(L, neap_add_reader, NEAP_READ);
}

static int remove_reader(lua_State *L) {
    return take(L, neap_remove_reader);
}

static int add_writer(lua_State *L) {
    return add(L, neap_add_writer, NEAP_WRITE);
}

static int remove_writer(lua_State *L) {
    return take(L, neap_remove_writer);
}

const luaL_Reg nl_watch_calls[] = {{"add_reader", add_reader},
                                   {"remove_reader", remove_reader},
                                   {"add_writer", add_writer},
                                   {"remove_writer", remove_writer},
                                   {NULL, NULL}};

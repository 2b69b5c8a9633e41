/* lfd.c: a descriptor as an object, so that one which is forgotten is closed. */
#include "lneap.h"

#include <unistd.h>

/* Pushes an object without a descriptor, so that none is lost when memory is out. */
nl_fd *nl_new_fd(lua_State *L, nl_state *st) {
    nl_fd *d = nl_make(L, st, NL_FD, sizeof *d, 0);
    d->fd = -1;
    return d;
}

static nl_fd *self(lua_State *L) {
    return nl_check(L, NL_STATE(L), 1, NL_FD, "a descriptor");
}

static int push_number(lua_State *L, const nl_fd *d, const char *op) {
    if (d->fd < 0)
        return nl_fail(L, d->node.st, NEAP_ECLOSED, op, NULL);
    lua_pushinteger(L, (lua_Integer)d->fd);
    return 1;
}

static int fd_fileno(lua_State *L) {
    return push_number(L, self(L), "fileno");
}

/* The number, which is the caller's from now on. */
static int fd_detach(lua_State *L) {
    nl_fd *d = self(L);
    int n = push_number(L, d, "detach");
    d->fd = -1;
    return n;
}

static void shut(nl_fd *d) {
    neap_fd fd = d->fd;
    d->fd = -1;
    if (fd >= 0)
        (void)close((int)fd);
}

static int fd_close(lua_State *L) {
    shut(self(L));
    lua_pushboolean(L, 1);
    return 1;
}

static int fd_closed(lua_State *L) {
    lua_pushboolean(L, self(L)->fd < 0);
    return 1;
}

static int fd_tostring(lua_State *L) {
    const nl_fd *d = self(L);
    if (d->fd >= 0)
        lua_pushfstring(L, "neap.descriptor: %d", (int)d->fd);
    else
        lua_pushliteral(L, "neap.descriptor: closed");
    return 1;
}

static void drop(nl_node *node) {
    shut((nl_fd *)node);
}

void nl_open_fd(lua_State *L, nl_state *st) {
    static const luaL_Reg metas[] = {
        {"__tostring", fd_tostring}, {"__gc", nl_gc}, {"__close", fd_close}, {NULL, NULL}};
    static const luaL_Reg methods[] = {{"fileno", fd_fileno},
                                       {"detach", fd_detach},
                                       {"close", fd_close},
                                       {"closed", fd_closed},
                                       {NULL, NULL}};
    st->drops[NL_FD] = drop;
    nl_class(L, st, NL_FD, "neap.descriptor", methods, NULL, metas);
    lua_pop(L, 1);
}

/* lsock.c: the socket object: making, naming, closing.  What moves bytes is in lsockio.c. */
#include "lneap.h"

#include <stdio.h>
#include <string.h>

/* ---- Making ---- */

/* Pushes a socket object that has no socket yet, so that none is lost when memory is out. */
nl_sock *nl_new_sock(lua_State *L, nl_state *st) {
    return nl_make(L, st, NL_SOCK, sizeof(nl_sock), 0);
}

nl_sock *nl_check_sock(lua_State *L, nl_state *st, int index) {
    nl_sock *s = nl_check(L, st, index, NL_SOCK, "a socket");
    if (s->sock == NULL)
        nl_throw_code(L, st, NEAP_ECLOSED);
    return s;
}

static int32_t family_option(lua_State *L, nl_state *st, int index) {
    const char *word = luaL_optstring(L, index, "any");
    if (strcmp(word, "any") == 0)
        return NEAP_AF_UNSPEC;
    if (strcmp(word, "inet") == 0)
        return NEAP_AF_INET;
    if (strcmp(word, "inet6") == 0)
        return NEAP_AF_INET6;
    return nl_arg_error(L, st, index, NEAP_EVALUE, "the families are \"inet\" and \"inet6\"");
}

static int32_t unix_sort(lua_State *L, nl_state *st, int index) {
    const char *word = luaL_optstring(L, index, "stream");
    if (strcmp(word, "stream") == 0)
        return NEAP_UNIX;
    if (strcmp(word, "dgram") == 0)
        return NEAP_UNIX_DGRAM;
    return nl_arg_error(L, st, index, NEAP_EVALUE, "the sorts are \"stream\" and \"dgram\"");
}

static int new_sock(lua_State *L, nl_state *st, int32_t sort, int32_t family, const char *op) {
    nl_loop *l = nl_loop_now(L, st);
    nl_sock *s = nl_new_sock(L, st);
    int32_t code = neap_sock_new(l->loop, sort, family, &s->sock);
    return code < 0 ? nl_fail(L, st, code, op, NULL) : 1;
}

static int new_tcp(lua_State *L) {
    nl_state *st = NL_STATE(L);
    return new_sock(L, st, NEAP_TCP, family_option(L, st, 1), "tcp");
}

static int new_udp(lua_State *L) {
    nl_state *st = NL_STATE(L);
    return new_sock(L, st, NEAP_UDP, family_option(L, st, 1), "udp");
}

static int new_unix(lua_State *L) {
    nl_state *st = NL_STATE(L);
    return new_sock(L, st, unix_sort(L, st, 1), NEAP_AF_UNIX, "unix");
}

/* Two connected sockets. */
static int new_pair(lua_State *L) {
    nl_state *st = NL_STATE(L);
    int32_t sort = unix_sort(L, st, 1);
    nl_loop *l = nl_loop_now(L, st);
    nl_sock *a = nl_new_sock(L, st), *b = nl_new_sock(L, st);
    int32_t code = neap_sock_pair(l->loop, sort, &a->sock, &b->sock);
    return code < 0 ? nl_fail(L, st, code, "socketpair", NULL) : 2;
}

/* A socket of a descriptor, a number or an object, which becomes the socket's. */
static int adopt(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_fd *d = nl_test(L, st, 1, NL_FD);
    neap_fd fd = d != NULL ? d->fd : (neap_fd)luaL_checkinteger(L, 1);
    nl_loop *l = nl_loop_now(L, st);
    nl_sock *s = nl_new_sock(L, st);
    int32_t code = neap_sock_adopt(l->loop, fd, &s->sock);
    if (code >= 0 && d != NULL)
        d->fd = -1;
    return code < 0 ? nl_fail(L, st, code, "adopt", NULL) : 1;
}

/* ---- Names and options ---- */

static nl_sock *self(lua_State *L) {
    return nl_check_sock(L, NL_STATE(L), 1);
}

/* true, or nil and the error. */
int nl_answer_ok(lua_State *L, nl_state *st, int32_t code, const char *op, const char *address) {
    if (code < 0)
        return nl_fail(L, st, code, op, address);
    lua_pushboolean(L, 1);
    return 1;
}

static int sock_bind(lua_State *L) {
    nl_sock *s = self(L);
    neap_addr addr;
    int32_t code = nl_address(L, s->node.st, 2, &addr);
    if (code >= 0)
        code = neap_sock_bind(s->sock, &addr);
    return nl_answer_ok(L, s->node.st, code, "bind", lua_tostring(L, 2));
}

static int sock_listen(lua_State *L) {
    nl_sock *s = self(L);
    int32_t backlog = (int32_t)luaL_optinteger(L, 2, 0);
    return nl_answer_ok(L, s->node.st, neap_sock_listen(s->sock, backlog), "listen", NULL);
}

static int push_name(lua_State *L, nl_state *st, int32_t code, const neap_addr *addr,
                     const char *op) {
    if (code < 0)
        return nl_fail(L, st, code, op, NULL);
    nl_push_address(L, addr);
    return 1;
}

static int sock_getsockname(lua_State *L) {
    nl_sock *s = self(L);
    neap_addr addr;
    return push_name(L, s->node.st, neap_sock_local(s->sock, &addr), &addr, "getsockname");
}

static int sock_getpeername(lua_State *L) {
    nl_sock *s = self(L);
    neap_addr addr;
    return push_name(L, s->node.st, neap_sock_peer(s->sock, &addr), &addr, "getpeername");
}

static int sock_fileno(lua_State *L) {
    nl_sock *s = self(L);
    neap_fd fd = neap_sock_fd(s->sock);
    if (fd < 0)
        return nl_fail(L, s->node.st, (int32_t)fd, "fileno", NULL);
    lua_pushinteger(L, (lua_Integer)fd);
    return 1;
}

static int sock_setsockopt(lua_State *L) {
    nl_sock *s = self(L);
    const char *name = luaL_checkstring(L, 2);
    int32_t value = lua_isboolean(L, 3) ? lua_toboolean(L, 3) : (int32_t)luaL_checkinteger(L, 3);
    return nl_answer_ok(L, s->node.st, neap_sock_set_option(s->sock, name, value), "setsockopt",
                        name);
}

static int sock_getsockopt(lua_State *L) {
    nl_sock *s = self(L);
    const char *name = luaL_checkstring(L, 2);
    int32_t value = 0, code = neap_sock_get_option(s->sock, name, &value);
    if (code < 0)
        return nl_fail(L, s->node.st, code, "getsockopt", name);
    lua_pushinteger(L, value);
    return 1;
}

static int sock_shutdown(lua_State *L) {
    static const char *const words[] = {"read",    "write", "both", "r", "w",
                                        "receive", "send",  "rw",   NULL};
    static const int32_t hows[] = {NEAP_SHUT_RD, NEAP_SHUT_WR, NEAP_SHUT_RDWR, NEAP_SHUT_RD,
                                   NEAP_SHUT_WR, NEAP_SHUT_RD, NEAP_SHUT_WR,   NEAP_SHUT_RDWR};
    nl_sock *s = self(L);
    int how = luaL_checkoption(L, 2, "both", words);
    return nl_answer_ok(L, s->node.st, neap_sock_shutdown(s->sock, hows[how]), "shutdown", NULL);
}

/* ---- Closing ---- */

static int sock_close(lua_State *L) {
    nl_sock *s = nl_check(L, NL_STATE(L), 1, NL_SOCK, "a socket");
    int32_t code = s->sock != NULL ? neap_sock_close(s->sock) : 0;
    return nl_answer_ok(L, s->node.st, code == NEAP_ELOOP_CLOSED ? 0 : code, "close", NULL);
}

static int sock_closed(lua_State *L) {
    nl_sock *s = nl_check(L, NL_STATE(L), 1, NL_SOCK, "a socket");
    lua_pushboolean(L, s->sock == NULL || neap_sock_fd(s->sock) == NEAP_ECLOSED);
    return 1;
}

static void drop(nl_node *node) {
    nl_sock *s = (nl_sock *)node;
    neap_sock *sock = s->sock;
    s->sock = NULL;
    neap_sock_unref(sock);
}

/* A worker that fails leaves its listeners to the one that takes its place; closed, they would lose their queues. */
static int sock_end(lua_State *L) {
    nl_sock *s = nl_check(L, NL_STATE(L), 1, NL_SOCK, "a socket");
    if (s->node.st->worker == NULL || lua_isnoneornil(L, 2))
        return sock_close(L);
    drop(&s->node);
    return 0;
}

/* The collector closes what nobody closed, and says so in debug mode. */
static int sock_gc(lua_State *L) {
    nl_sock *s = nl_finalized(L);
    if (s == NULL)
        return 0;
    neap_loop *loop = s->sock != NULL ? neap_sock_loop(s->sock) : NULL;
    if (loop != NULL && neap_sock_fd(s->sock) >= 0 && neap_loop_debug(loop, -1) > 0)
        neap_loop_fail(loop, 0, "a socket was collected before it was closed", NULL, NULL);
    nl_drop(L, &s->node);
    return 0;
}

static int sock_tostring(lua_State *L) {
    nl_sock *s = nl_check(L, NL_STATE(L), 1, NL_SOCK, "a socket");
    neap_fd fd = s->sock != NULL ? neap_sock_fd(s->sock) : NEAP_ECLOSED;
    if (fd >= 0)
        lua_pushfstring(L, "neap.sock: descriptor %d", (int)fd);
    else
        lua_pushfstring(L, "neap.sock: %s", fd == NEAP_EBADF ? "not open yet" : "closed");
    return 1;
}

void nl_open_sock(lua_State *L, nl_state *st) {
    static const luaL_Reg metas[] = {
        {"__tostring", sock_tostring}, {"__gc", sock_gc}, {"__close", sock_end}, {NULL, NULL}};
    static const luaL_Reg methods[] = {
        {"bind", sock_bind},
        {"listen", sock_listen},
        {"getsockname", sock_getsockname},
        {"getpeername", sock_getpeername},
        {"fileno", sock_fileno},
        {"setsockopt", sock_setsockopt},
        {"getsockopt", sock_getsockopt},
        {"shutdown", sock_shutdown},
        {"close", sock_close},
        {"closed", sock_closed},
        {NULL, NULL},
    };
    static const luaL_Reg functions[] = {{"tcp", new_tcp},   {"udp", new_udp},
                                         {"unix", new_unix}, {"socketpair", new_pair},
                                         {"adopt", adopt},   {NULL, NULL}};
    st->drops[NL_SOCK] = drop;
    nl_class(L, st, NL_SOCK, "neap.sock", methods, nl_sock_waits, metas);
    nl_functions(L, st, nl_sock_tries);
    nl_functions(L, st, nl_sock_msgs);
    nl_waits(L, st, nl_sock_msg_waits);
    lua_pop(L, 1);
    nl_functions(L, st, functions);
}

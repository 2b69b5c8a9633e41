/* lserver.c: servers: what neap/serve.lua builds on.  While a server has a function its userdata is anchored, and the core has a
   record that outlives the Lua state, if need be. */
#include "lneap.h"

#include <stdlib.h>
#include <string.h>

typedef struct record record;

typedef struct nl_server {
    nl_node node;
    neap_server *server; /* a reference */
    record *record;      /* the core's, or NULL */
} nl_server;

struct record {
    nl_server *s; /* NULL once the userdata is gone */
};

/* Lua values of a server. */
enum {
    BODY = 1, /* what each connection's task runs: body(socket, address) */
    SLOTS = 1
};

static nl_server *self(lua_State *L) {
    nl_server *s = nl_check(L, NL_STATE(L), 1, NL_SERVER, "a server");
    if (s->server == NULL)
        nl_throw_code(L, s->node.st, NEAP_ECLOSED);
    return s;
}

/* ---- Options ---- */

static int flag_option(lua_State *L, nl_state *st, int at, const char *name, int otherwise) {
    lua_getfield(L, at, name);
    if (!lua_isnil(L, -1) && !lua_isboolean(L, -1))
        nl_throw(L, st, NEAP_ETYPE, "the option '%s' must be true or false", name);
    int on = lua_isnil(L, -1) ? otherwise : lua_toboolean(L, -1);
    lua_pop(L, 1);
    return on;
}

/* Seconds as the core's options have them: 0 if nothing is said, -1 for none. */
static int64_t time_option(lua_State *L, nl_state *st, int at, const char *name) {
    lua_getfield(L, at, name);
    if (!lua_isnil(L, -1) && lua_type(L, -1) != LUA_TNUMBER)
        nl_throw(L, st, NEAP_ETYPE, "the option '%s' must be a number of seconds", name);
    int64_t ns = lua_isnil(L, -1) ? 0 : nl_seconds(L, lua_gettop(L));
    if (!lua_isnil(L, -1) && ns == 0)
        ns = -1;
    lua_pop(L, 1);
    return ns == NL_NEVER ? INT64_MAX : ns;
}

static void read_options(lua_State *L, nl_state *st, int at, neap_server_options *o) {
    static const char *const names[] = {
        "backlog", "max_connections", "batch",  "backoff", "reuse_port", "one_port",   "shed",
        "unlink",  "shutdown",        "paused", "sockets", "name",       "keep_alive", NULL};
    memset(o, 0, sizeof *o);
    o->size = sizeof *o;
    if (!nl_has_options(L, st, at, names))
        return;
    o->backlog = nl_count_option(L, st, at, "backlog", 0, INT32_MAX);
    o->max_connections = (uint64_t)nl_count_option(L, st, at, "max_connections", 0, INT32_MAX);
    o->batch = (uint32_t)nl_count_option(L, st, at, "batch", 0, INT32_MAX);
    int64_t backoff = time_option(L, st, at, "backoff");
    o->backoff_ns = backoff > 0 ? backoff : 0;
    o->flags = (flag_option(L, st, at, "reuse_port", 0) ? NEAP_SERVER_REUSE_PORT : 0) |
               (flag_option(L, st, at, "one_port", 0) ? NEAP_SERVER_ONE_PORT : 0) |
               (flag_option(L, st, at, "shed", 1) ? 0 : NEAP_SERVER_KEEP_QUEUED) |
               (flag_option(L, st, at, "unlink", 1) ? 0 : NEAP_SERVER_KEEP_PATHS) |
               (flag_option(L, st, at, "shutdown", 1) ? 0 : NEAP_SERVER_NO_SHUTDOWN) |
               (flag_option(L, st, at, "paused", 0) ? NEAP_SERVER_PAUSED : 0) |
               (flag_option(L, st, at, "keep_alive", 0) ? NEAP_SERVER_KEEP_ALIVE : 0);
}

/* ---- Making ---- */

/* Reads the list of addresses at index 1 into a userdata, which it pushes; *ret_bad: the index of one that is none. */
static neap_addr *push_addresses(lua_State *L, nl_state *st, size_t *ret_n, size_t *ret_bad,
                                 int32_t *ret_code) {
    size_t n = lua_rawlen(L, 1);
    neap_addr *addrs = lua_newuserdata(L, (n > 0 ? n : 1) * sizeof *addrs);
    *ret_code = 0;
    for (size_t i = 0; i < n && *ret_code == 0; i++) {
        lua_rawgeti(L, 1, (int)i + 1);
        *ret_code = nl_address(L, st, lua_gettop(L), &addrs[i]);
        *ret_bad = i;
        lua_pop(L, 1);
    }
    *ret_n = n;
    return addrs;
}

static int fail_at(lua_State *L, nl_state *st, int32_t code, size_t index) {
    lua_rawgeti(L, 1, (int)index + 1);
    return nl_fail(L, st, code, "listen", lua_tostring(L, -1));
}

/* listen(addresses[, options]): a server, or nil and an error that names the address. */
static int listen_on(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_server_options o;
    size_t n, failed = 0;
    int32_t code;
    luaL_checktype(L, 1, LUA_TTABLE);
    read_options(L, st, 2, &o);
    lua_settop(L, 2);
    const neap_addr *addrs = push_addresses(L, st, &n, &failed, &code);
    if (code < 0)
        return fail_at(L, st, code, failed);
    nl_loop *l = nl_loop_now(L, st);
    nl_server *s = nl_make(L, st, NL_SERVER, sizeof *s, SLOTS);
    code = neap_server_new(l->loop, addrs, n, &o, &s->server, &failed);
    if (code < 0)
        return fail_at(L, st, code, failed);
    if ((o.flags & NEAP_SERVER_NO_SHUTDOWN) == 0)
        nl_note_listener(st);
    return 1;
}

/* ---- Connections ---- */

typedef struct arrival {
    nl_server *s;
    neap_sock *sock; /* a reference, until a userdata has it */
    const neap_addr *peer;
    int served;
} arrival;

/* Spawns the task that serves the connection, into the server's scope. */
static void serve(lua_State *L, nl_state *st, void *arg) {
    arrival *a = arg;
    neap_server *server = a->s->server;
    nl_loop *l = nl_find_loop(st, neap_server_loop(server));
    nl_anchored(L, a->s->node.ref);
    nl_getslot(L, 1, BODY);
    nl_sock *conn = nl_new_sock(L, st);
    conn->sock = neap_sock_ref(a->sock);
    nl_push_address(L, a->peer);
    const char *address = lua_tostring(L, -1);
    nl_spawning how = {*address != '\0' ? address : NULL, 0, neap_server_scope(server), 0, 0};
    nl_task *t = nl_spawn(L, st, l, 2, &how);
    nl_check_code(L, st, neap_server_serve_by(server, a->sock, nl_core_task(t)));
    a->served = 1;
}

static void connected(neap_server *server, neap_sock *sock, const neap_addr *peer, void *user) {
    const record *r = user;
    arrival a = {r->s, sock, peer, 0};
    if (r->s != NULL)
        nl_call_in(r->s->node.st, neap_server_loop(server), serve, &a);
    if (!a.served)
        neap_sock_close(sock);
    neap_sock_unref(sock);
}

/* The core lets go of the function. */
static void gone(void *user) {
    record *r = user;
    nl_server *s = r->s;
    free(r);
    if (s == NULL)
        return;
    s->record = NULL;
    nl_unanchor(s->node.st, s->node.ref);
    s->node.ref = LUA_NOREF;
}

/* begin(server, body): from now on each connection has a task that runs body(socket, address). */
static int begin(lua_State *L) {
    nl_server *s = self(L);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_settop(L, 2);
    nl_setslot(L, 1, BODY);
    s->node.ref = nl_anchor(L, s->node.st);
    record *r = nl_alloc_with(L, s->node.st, sizeof *r, s->node.ref);
    r->s = s;
    s->record = r;
    nl_check_code(L, s->node.st, neap_server_on_connection(s->server, connected, r, gone));
    return 0;
}

/* ---- Methods ---- */

static int truth(lua_State *L, nl_state *st, int32_t code) {
    nl_check_code(L, st, code);
    lua_pushboolean(L, 1);
    return 1;
}

static int server_pause(lua_State *L) {
    nl_server *s = self(L);
    int32_t code = neap_server_pause(s->server);
    return truth(L, s->node.st, code == NEAP_ECLOSED ? 0 : code);
}

static int server_resume(lua_State *L) {
    nl_server *s = self(L);
    int32_t code = neap_server_resume(s->server);
    return truth(L, s->node.st, code == NEAP_ECLOSED ? 0 : code);
}

/* The addresses on which it listens now. */
static int server_addresses(lua_State *L) {
    nl_server *s = self(L);
    neap_sock *sock;
    neap_addr addr;
    lua_newtable(L);
    for (int i = 0; (sock = neap_server_listener(s->server, (size_t)i)) != NULL; i++) {
        if (neap_sock_local(sock, &addr) < 0)
            continue; /* somebody has closed it */
        nl_push_address(L, &addr);
        lua_rawseti(L, -2, (int)lua_rawlen(L, -2) + 1);
    }
    return 1;
}

/* The sockets that it listens on. */
static int server_sockets(lua_State *L) {
    nl_server *s = self(L);
    neap_sock *sock;
    lua_newtable(L);
    for (int i = 0; (sock = neap_server_listener(s->server, (size_t)i)) != NULL; i++) {
        nl_sock *own = nl_new_sock(L, s->node.st);
        own->sock = neap_sock_ref(sock);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

typedef struct listing {
    lua_State *L;
    nl_server *s;
    int n;
} listing;

static int32_t list_one(const neap_connection *c, void *user) {
    listing *to = user;
    lua_State *L = to->L;
    int64_t now = neap_loop_time(neap_server_loop(to->s->server));
    lua_createtable(L, 0, 5);
    lua_pushinteger(L, (lua_Integer)c->id);
    lua_setfield(L, -2, "id");
    nl_push_address(L, &c->peer);
    lua_setfield(L, -2, "address");
    lua_pushnumber(L, (lua_Number)(now - c->since_ns) / 1e9);
    lua_setfield(L, -2, "age");
    lua_pushboolean(L, c->sock != NULL);
    lua_setfield(L, -2, "open");
    if (c->task != NULL) {
        nl_push_task(L, to->s->node.st, c->task);
        lua_setfield(L, -2, "task");
    }
    lua_rawseti(L, -2, ++to->n);
    return 0;
}

static int server_connections(lua_State *L) {
    listing to = {L, self(L), 0};
    lua_newtable(L);
    nl_check_code(L, to.s->node.st, neap_server_walk(to.s->server, list_one, &to));
    return 1;
}

static int server_metrics(lua_State *L) {
    nl_server *s = self(L);
    neap_server_metrics m;
    nl_check_code(L, s->node.st, neap_server_get_metrics(s->server, &m, sizeof m));
    const struct {
        const char *name;
        uint64_t value;
    } fields[] = {{"open", m.open},
                  {"accepted", m.accepted},
                  {"shed", m.shed},
                  {"shortages", m.shortages},
                  {"turns", m.turns}};
    lua_createtable(L, 0, 5);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        lua_pushinteger(L, (lua_Integer)fields[i].value);
        lua_setfield(L, -2, fields[i].name);
    }
    return 1;
}

static const char *const state_names[] = {"open", "closing", "cancelling", "closed"};

static int server_state(lua_State *L) {
    nl_server *s = self(L);
    int32_t state = neap_server_state(s->server);
    nl_check_code(L, s->node.st, state);
    lua_pushstring(L, state_names[state]);
    return 1;
}

/* ---- The end ---- */

/* close{grace=, cancel_grace=, reason=} begins it; true if there was something to end. */
static int server_close(lua_State *L) {
    static const char *const names[] = {"grace", "cancel_grace", "reason", NULL};
    nl_server *s = self(L);
    nl_state *st = s->node.st;
    neap_server_close_options o = {.size = sizeof o};
    if (nl_has_options(L, st, 2, names)) {
        o.grace_ns = time_option(L, st, 2, "grace");
        o.cancel_grace_ns = time_option(L, st, 2, "cancel_grace");
        o.reason = nl_push_text_option(L, st, 2, "reason");
    }
    int32_t code = neap_server_close(s->server, &o);
    if (code != NEAP_ELOOP_CLOSED)
        nl_check_code(L, st, code);
    lua_pushboolean(L, code > 0);
    return 1;
}

static int server_abort(lua_State *L) {
    nl_server *s = self(L);
    int32_t code = neap_server_abort(s->server);
    if (code != NEAP_ELOOP_CLOSED)
        nl_check_code(L, s->node.st, code);
    lua_pushboolean(L, code > 0);
    return 1;
}

static int closed_end(lua_State *L) {
    nl_state *st = NL_STATE(L);
    int32_t code = neap_future_error(nl_woken(L, st));
    nl_wait_end(st->task);
    nl_check_code(L, st, code);
    lua_pushboolean(L, 1);
    return 1;
}

/* Waits until nothing is left of it. */
static int server_wait_closed(lua_State *L) {
    nl_server *s = self(L);
    nl_state *st = s->node.st;
    neap_future *future = NULL;
    nl_check_wait(L, st);
    if (nl_is_spent(st))
        return nl_again(L, st, server_wait_closed);
    int32_t code = neap_server_closed(s->server, &future);
    if (code == NEAP_PENDING)
        return nl_park(L, st, future, 1, closed_end);
    return truth(L, st, code);
}

/* Who leaves the block while the server closes aborts it. */
static int left_end(lua_State *L) {
    nl_state *st = NL_STATE(L);
    const nl_server *s = nl_block(L, 1);
    if (neap_server_state(s->server) != NEAP_SERVER_CLOSED)
        (void)neap_server_abort(s->server);
    nl_woken(L, st);
    nl_wait_end(st->task);
    return 0;
}

/* __close(server, error): the end of its block waits for its end; after an error there is no grace. */
static int server_left(lua_State *L) {
    nl_server *s = nl_check(L, NL_STATE(L), 1, NL_SERVER, "a server");
    nl_state *st = s->node.st;
    neap_future *future = NULL;
    const neap_server_close_options o = {.size = sizeof o,
                                         .grace_ns = lua_isnoneornil(L, 2) ? 0 : -1};
    if (s->server == NULL || neap_server_close(s->server, &o) <= 0 || st->task == NULL ||
        !nl_can_wait(L, st))
        return 0;
    if (neap_server_closed(s->server, &future) != NEAP_PENDING)
        return 0;
    lua_settop(L, 1);
    return nl_park(L, st, future, 1, left_end);
}

/* ---- accept ---- */

/* Keeps the object for the connection at index 1. */
static int accept_end(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_future *future = nl_woken(L, st);
    nl_sock *conn = nl_block(L, 1);
    neap_addr addr;
    int32_t code = neap_future_take_sock(future, &conn->sock);
    if (neap_future_get_addr(future, &addr) < 0)
        addr.len = 0;
    nl_wait_end(st->task);
    if (code < 0)
        return nl_fail(L, st, code, "accept", NULL);
    nl_push_address(L, &addr);
    return 2;
}

/* The next connection's socket and address, of a server without a handler. */
static int server_accept(lua_State *L) {
    nl_server *s = self(L);
    nl_state *st = s->node.st;
    neap_future *future = NULL;
    neap_addr addr;
    addr.len = 0;
    nl_check_wait(L, st);
    if (nl_is_spent(st))
        return nl_again(L, st, server_accept);
    lua_settop(L, 1);
    nl_sock *conn = nl_new_sock(L, st);
    int32_t code = neap_server_accept(s->server, 0, &conn->sock, &addr, &future);
    if (code == NEAP_PENDING) {
        lua_replace(L, 1);
        return nl_park(L, st, future, 1, accept_end);
    }
    if (code == NEAP_EINVALID_STATE)
        nl_throw(L, st, code, "the server has a handler, which gets the connections");
    if (code < 0)
        return nl_fail(L, st, code, "accept", NULL);
    nl_push_address(L, &addr);
    return 2;
}

/* closed_error(op): what a call on a transport that closes answers. */
static int closed_error(lua_State *L) {
    return nl_fail(L, NL_STATE(L), NEAP_ECLOSED, luaL_checkstring(L, 1), NULL);
}

/* ---- The class ---- */

/* A server without a handler has nobody who could go on with it; one with a handler is anchored, and gone with its state. */
static void drop(nl_node *node) {
    nl_server *s = (nl_server *)node;
    neap_server *server = s->server;
    s->server = NULL;
    if (s->record != NULL)
        s->record->s = NULL;
    s->record = NULL;
    if (server == NULL)
        return;
    (void)neap_server_abort(server);
    neap_server_unref(server);
}

static int server_tostring(lua_State *L) {
    const nl_server *s = nl_check(L, NL_STATE(L), 1, NL_SERVER, "a server");
    int32_t state = s->server != NULL ? neap_server_state(s->server) : NEAP_SERVER_CLOSED;
    lua_pushfstring(L, "neap.server: %p (%s)", (const void *)s,
                    state_names[state < 0 ? NEAP_SERVER_CLOSED : state]);
    return 1;
}

void nl_open_server(lua_State *L, nl_state *st) {
    static const luaL_Reg metas[] = {
        {"__tostring", server_tostring}, {"__gc", nl_gc}, {NULL, NULL}};
    static const luaL_Reg methods[] = {{"addresses", server_addresses},
                                       {"sockets", server_sockets},
                                       {"connections", server_connections},
                                       {"metrics", server_metrics},
                                       {"state", server_state},
                                       {"pause", server_pause},
                                       {"resume", server_resume},
                                       {"close", server_close},
                                       {"abort", server_abort},
                                       {NULL, NULL}};
    static const luaL_Reg waits[] = {
        {"accept", server_accept}, {"wait_closed", server_wait_closed}, {NULL, NULL}};
    static const luaL_Reg block[] = {{"__close", server_left}, {NULL, NULL}};
    static const luaL_Reg functions[] = {
        {"listen", listen_on}, {"begin", begin}, {"closed_error", closed_error}, {NULL, NULL}};
    lua_newtable(L);
    nl_functions(L, st, functions);
    lua_setfield(L, -2, "servers");
    lua_getfield(L, -1, "methods");
    st->drops[NL_SERVER] = drop;
    nl_class(L, st, NL_SERVER, "neap.server", methods, waits, metas);
    lua_setfield(L, -2, "server");
    lua_pop(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, st->meta_ref[NL_SERVER]);
    nl_waits(L, st, block);
    lua_pop(L, 1);
}

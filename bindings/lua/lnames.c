/* lnames.c: host names and addresses: neap.resolve, neap.getnameinfo, loop:getaddrinfo, and how they are looked up. */
#include "lneap.h"

#include <string.h>

/* ---- Arguments ---- */

/* A family by the word at `index`. */
int32_t nl_family(lua_State *L, nl_state *st, int index, const char *what) {
    const char *word = lua_type(L, index) == LUA_TSTRING ? lua_tostring(L, index) : "";
    if (lua_isnoneornil(L, index) || strcmp(word, "any") == 0)
        return NEAP_AF_UNSPEC;
    if (strcmp(word, "inet") == 0)
        return NEAP_AF_INET;
    if (strcmp(word, "inet6") == 0)
        return NEAP_AF_INET6;
    return nl_throw(L, st, NEAP_EVALUE, "the option '%s' is one of \"any\", \"inet\" and \"inet6\"",
                    what);
}

typedef struct question {
    const char *host;
    const char *service; /* or NULL */
    int32_t family;
    uint32_t flags;
} question;

/* A text without zeros, or NULL. */
static const char *plain_text(lua_State *L, int index) {
    size_t len;
    const char *text = lua_tolstring(L, index, &len);
    return strlen(text) == len ? text : NULL;
}

static void check_options(lua_State *L, nl_state *st, int at, question *q) {
    static const char *const names[] = {"family", "canonical", NULL};
    if (!nl_has_options(L, st, at, names))
        return;
    lua_getfield(L, at, "family");
    q->family = nl_family(L, st, lua_gettop(L), "family");
    lua_getfield(L, at, "canonical");
    if (lua_toboolean(L, -1))
        q->flags |= NEAP_CANONNAME;
    lua_pop(L, 2);
}

/* host [, service] [, options] from `at` on; a code for a host or service that cannot be one. */
static int32_t check_question(lua_State *L, nl_state *st, int at, question *q) {
    memset(q, 0, sizeof *q);
    if (lua_type(L, at) != LUA_TSTRING)
        nl_type_error(L, st, at, "a host (a string)");
    int has_service = lua_isnumber(L, at + 1) || lua_type(L, at + 1) == LUA_TSTRING;
    if (!has_service && !lua_isnoneornil(L, at + 1) && !lua_istable(L, at + 1))
        nl_type_error(L, st, at + 1, "a port or the name of a service");
    check_options(L, st, lua_istable(L, at + 1) ? at + 1 : at + 2, q);
    if (lua_type(L, at + 1) == LUA_TNUMBER)
        nl_count(L, st, at + 1, 0, "a port");
    if (lua_type(L, at + 1) == LUA_TNUMBER) { /* no "80.0", and the argument stays what it is */
        lua_pushfstring(L, "%d", (int)lua_tointeger(L, at + 1));
        lua_replace(L, at + 1);
    }
    q->host = plain_text(L, at);
    q->service = has_service ? plain_text(L, at + 1) : NULL;
    if (q->host == NULL)
        return NEAP_ENAME_BAD;
    return has_service && q->service == NULL ? NEAP_EVALUE : 0;
}

/* ---- Answers ---- */

/* Pushes what a lookup has found: a list of addresses, or the names of an address. */
int nl_push_addrs(lua_State *L, const neap_addrs *addrs) {
    const char *name = neap_addrs_name(addrs), *service = neap_addrs_service(addrs);
    if (service != NULL) {
        lua_pushstring(L, name);
        lua_pushstring(L, service);
        return 2;
    }
    size_t n = neap_addrs_count(addrs);
    lua_createtable(L, (int)n, name != NULL);
    for (size_t i = 0; i < n; i++) {
        neap_addr addr;
        neap_addrs_get(addrs, i, &addr);
        nl_push_address(L, &addr);
        lua_rawseti(L, -2, (int)i + 1);
    }
    if (name != NULL) {
        lua_pushstring(L, name);
        lua_setfield(L, -2, "canonical");
    }
    return 1;
}

/* Pushes "host: text" of a lookup that did not begin. */
static const char *push_refusal(lua_State *L, int host, int32_t code) {
    lua_pushvalue(L, host);
    lua_pushliteral(L, ": ");
    lua_pushstring(L, code == NEAP_EVALUE  ? "a port is a number of up to 65535"
                      : code == NEAP_ENAME ? "a numeric address with a port is needed"
                                           : neap_strerror(code));
    lua_concat(L, 3);
    return lua_tostring(L, -1);
}

/* nil and an error that knows the host, which is at index 1.  text NULL: the code's own. */
static int fail(lua_State *L, nl_state *st, int32_t code, const char *text, const char *op) {
    lua_pushstring(L, text);
    nl_fail(L, st, code, op, NULL);
    if (text != NULL)
        lua_pushvalue(L, -3);
    else
        push_refusal(L, 1, code);
    lua_setfield(L, -2, "message");
    lua_pushvalue(L, 1);
    lua_setfield(L, -2, "host");
    return 2;
}

static int push_addrs(lua_State *L) {
    return nl_push_addrs(L, lua_touserdata(L, 1));
}

/* Answers and ends the addresses, also if there is no memory for the answer.  push_addrs is on top. */
static int answer(lua_State *L, neap_addrs *addrs) {
    int function = lua_gettop(L);
    lua_pushlightuserdata(L, addrs);
    int status = lua_pcall(L, 1, LUA_MULTRET, 0);
    neap_addrs_unref(addrs);
    return status == 0 ? lua_gettop(L) - function + 1 : lua_error(L);
}

/* Keeps the host at index 1. */
static int lookup_end(lua_State *L, const char *op) {
    nl_state *st = NL_STATE(L);
    neap_future *future = nl_woken(L, st);
    neap_addrs *addrs;
    int32_t code = neap_future_get_addrs(future, &addrs);
    int n = code < 0 ? fail(L, st, code, neap_future_message(future), op) : nl_push_addrs(L, addrs);
    nl_wait_end(st->task);
    return n;
}

static int resolve_end(lua_State *L) {
    return lookup_end(L, "resolve");
}

static int getnameinfo_end(lua_State *L) {
    return lookup_end(L, "getnameinfo");
}

/* ---- Waiting ---- */

/* The addresses of a host. */
static int resolve(lua_State *L) {
    nl_state *st = NL_STATE(L);
    question q;
    neap_addrs *addrs = NULL;
    neap_future *future = NULL;
    int32_t code = check_question(L, st, 1, &q);
    nl_check_wait(L, st);
    if (nl_is_spent(st))
        return nl_again(L, st, resolve);
    neap_loop *loop = neap_future_loop(st->task->o.future);
    lua_pushcfunction(L, push_addrs);
    if (code == 0)
        code = neap_getaddrinfo(loop, q.host, q.service, q.family, q.flags, &addrs, &future);
    if (code == NEAP_PENDING)
        return nl_park(L, st, future, 1, resolve_end);
    return code < 0 ? fail(L, st, code, NULL, "resolve") : answer(L, addrs);
}

static int32_t numeric_address(lua_State *L, nl_state *st, int index, neap_addr *addr) {
    int32_t code = nl_address(L, st, index, addr);
    return code < 0 || addr->family == NEAP_AF_UNIX ? NEAP_ENAME : 0;
}

/* The name of an address, and that of the service at its port. */
static int getnameinfo(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_addr addr;
    neap_future *future = NULL;
    int32_t code = numeric_address(L, st, 1, &addr);
    nl_check_wait(L, st);
    if (code == 0)
        code = neap_getnameinfo(neap_future_loop(st->task->o.future), &addr, &future);
    if (code == NEAP_PENDING)
        return nl_park(L, st, future, 1, getnameinfo_end);
    return fail(L, st, code, NULL, "getnameinfo");
}

/* ---- As futures ---- */

static nl_loop *receiver(lua_State *L, nl_state *st) {
    nl_loop *l = nl_check_loop(L, st, 1);
    if (neap_loop_is_closed(l->loop))
        nl_throw_code(L, st, NEAP_ELOOP_CLOSED);
    return l;
}

/* A lookup that could not begin is a future that has failed; its object is on top, the host at `host`. */
static int answer_future(lua_State *L, nl_state *st, nl_loop *l, nl_object *o, int32_t code,
                         int host) {
    if (code == NEAP_PENDING)
        return 1;
    if (code == NEAP_ENOMEM || code == NEAP_EWRONGTHREAD)
        nl_throw_code(L, st, code);
    nl_check_code(L, st, neap_future_new(l->loop, &o->future));
    neap_future_set_error(o->future, code, push_refusal(L, host, code));
    lua_pop(L, 1);
    return 1;
}

static int loop_getaddrinfo(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_loop *l = receiver(L, st);
    question q;
    lua_settop(L, 4);
    int32_t code = check_question(L, st, 2, &q);
    nl_object *o = nl_new_object(L, st);
    o->node.flags = NL_INTERNAL;
    if (code == 0)
        code = neap_getaddrinfo(l->loop, q.host, q.service, q.family, q.flags | NEAP_WANT_FUTURE,
                                NULL, &o->future);
    return answer_future(L, st, l, o, code, 2);
}

static int loop_getnameinfo(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_loop *l = receiver(L, st);
    neap_addr addr;
    int32_t code = numeric_address(L, st, 2, &addr);
    nl_object *o = nl_new_object(L, st);
    o->node.flags = NL_INTERNAL;
    if (code == 0)
        code = neap_getnameinfo(l->loop, &addr, &o->future);
    return answer_future(L, st, l, o, code, 2);
}

/* ---- How ---- */

/* Pushes a string option, which stays on the stack while it is used. */
static const char *text_option(lua_State *L, nl_state *st, const char *name) {
    lua_getfield(L, 1, name);
    if (!lua_isnil(L, -1) && (lua_type(L, -1) != LUA_TSTRING || plain_text(L, -1) == NULL))
        nl_throw(L, st, NEAP_ETYPE, "the option '%s' must be a string", name);
    return lua_tostring(L, -1);
}

/* Pushes the list of servers as one text, or nil. */
static const char *servers_option(lua_State *L, nl_state *st) {
    lua_getfield(L, 1, "servers");
    if (lua_isnil(L, -1))
        return NULL;
    int list = lua_gettop(L), n = lua_istable(L, list) ? (int)lua_rawlen(L, list) : 0;
    if (n == 0)
        nl_throw(L, st, NEAP_ETYPE, "the option 'servers' must be a list of addresses");
    luaL_checkstack(L, n + LUA_MINSTACK, "too many servers");
    for (int i = 1; i <= n; i++) {
        lua_rawgeti(L, list, i);
        if (lua_type(L, -1) != LUA_TSTRING || plain_text(L, -1) == NULL)
            nl_throw(L, st, NEAP_ETYPE, "the option 'servers' must be a list of addresses");
        if (i < n)
            lua_pushliteral(L, ",");
    }
    lua_concat(L, 2 * n - 1);
    return lua_tostring(L, -1);
}

static int64_t seconds_option(lua_State *L, const char *name) {
    lua_getfield(L, 1, name);
    int64_t ns = lua_isnil(L, -1) ? 0 : nl_seconds(L, lua_gettop(L));
    lua_pop(L, 1);
    return ns;
}

static void set_resolver(lua_State *L, nl_state *st, neap_loop *loop) {
    neap_resolver_options o = {.size = sizeof o};
    o.engine = text_option(L, st, "engine");
    o.resolv_conf = text_option(L, st, "resolv_conf");
    o.servers = servers_option(L, st);
    o.tries = (uint32_t)nl_count_option(L, st, 1, "tries", 0, INT16_MAX);
    o.cache = (uint32_t)nl_count_option(L, st, 1, "cache", 0, INT16_MAX);
    o.timeout_ns = seconds_option(L, "timeout");
    o.negative_ns = seconds_option(L, "negative");
    int32_t code = neap_loop_set_resolver(loop, &o);
    if (code == NEAP_ENOTSUP)
        nl_throw(L, st, code, "the resolver '%s' is not here, or has not all of these options",
                 o.engine != NULL ? o.engine : neap_loop_resolver(loop));
    if (code == NEAP_EVALUE)
        nl_throw(L, st, code, "a name server is not a numeric address with a port: %s", o.servers);
    nl_check_code(L, st, code);
}

/* Sets how names are looked up; answers by whom. */
static int resolver(lua_State *L) {
    static const char *const names[] = {"engine", "servers", "resolv_conf", "timeout",
                                        "tries",  "cache",   "negative",    NULL};
    nl_state *st = NL_STATE(L);
    neap_loop *loop = nl_loop_now(L, st)->loop;
    lua_settop(L, 1);
    if (nl_has_options(L, st, 1, names))
        set_resolver(L, st, loop);
    lua_pushstring(L, neap_loop_resolver(loop));
    return 1;
}

const luaL_Reg nl_name_futures[] = {
    {"getaddrinfo", loop_getaddrinfo}, {"getnameinfo", loop_getnameinfo}, {NULL, NULL}};

void nl_open_names(lua_State *L, nl_state *st) {
    static const luaL_Reg waits[] = {
        {"resolve", resolve}, {"getnameinfo", getnameinfo}, {NULL, NULL}};
    static const luaL_Reg functions[] = {{"resolver", resolver}, {NULL, NULL}};
    nl_waits(L, st, waits);
    nl_functions(L, st, functions);
}

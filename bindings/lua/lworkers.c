/* lworkers.c: what neap/workers.lua needs to start workers and to hear of them: the starter's side. */
#include "lworker.h"

#include <stdlib.h>
#include <string.h>

typedef struct nl_places {
    nl_node node;
    neap_listeners *listeners; /* a reference */
    int count;
} nl_places;

typedef struct nl_hired {
    nl_node node;
    nl_worker *w; /* a reference */
} nl_hired;

/* ---- Places ---- */

/* places(n): what n workers listen on together. */
static int new_places(lua_State *L) {
    nl_state *st = NL_STATE(L);
    int n = (int)luaL_checkinteger(L, 1);
    nl_places *p = nl_make(L, st, NL_PLACES, sizeof *p, 0);
    nl_check_code(L, st, neap_listeners_new(NULL, n, &p->listeners));
    p->count = n;
    return 1;
}

/* The worker does not come back. */
static int leave(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_places *p = nl_check(L, st, 1, NL_PLACES, "places");
    nl_check_code(L, st, neap_listeners_leave(p->listeners, (int32_t)luaL_checkinteger(L, 2) - 1));
    return 0;
}

static void drop_places(nl_node *node) {
    nl_places *p = (nl_places *)node;
    neap_listeners_unref(p->listeners);
    p->listeners = NULL;
}

/* ---- Starting ---- */

static char *copy_bytes(lua_State *L, const char *bytes, size_t len) {
    char *copy = nl_alloc(L, len + 1);
    memcpy(copy, bytes, len);
    return copy;
}

static char *copy_field(lua_State *L, int table, const char *name) {
    lua_getfield(L, table, name);
    size_t len = 0;
    const char *text = lua_tolstring(L, -1, &len);
    char *copy = copy_bytes(L, text != NULL ? text : "", len);
    lua_pop(L, 1);
    return copy;
}

static void read_value(lua_State *L, nl_state *st, int at, nl_plain *v) {
    int type = lua_type(L, at);
    if (type == LUA_TNUMBER) {
        v->whole = nl_isinteger(L, at);
        v->i = v->whole ? lua_tointeger(L, at) : 0;
        v->n = lua_tonumber(L, at);
    } else if (type == LUA_TBOOLEAN) {
        v->whole = lua_toboolean(L, at);
    } else if (type == LUA_TSTRING) {
        const char *bytes = lua_tolstring(L, at, &v->len);
        v->bytes = copy_bytes(L, bytes, v->len);
    } else if (neap_lua_to_shared_chan(L, at) != NULL) {
        v->chan = neap_shared_chan_ref(neap_lua_to_shared_chan(L, at));
    } else if (type != LUA_TNIL) {
        nl_throw(L, st, NEAP_ETYPE, "a %s cannot go to a worker", luaL_typename(L, at));
    }
    v->type = type;
}

/* The list `values` of the options at index 3, which has a field n. */
static void read_values(lua_State *L, nl_state *st, nl_worker *w) {
    lua_getfield(L, 3, "values");
    lua_getfield(L, -1, "n");
    int n = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    w->values = nl_alloc(L, ((size_t)n + 1) * sizeof *w->values);
    for (int i = 0; i < n; i++) {
        lua_rawgeti(L, -1, i + 1);
        w->nvalues = i + 1;
        read_value(L, st, lua_gettop(L), &w->values[i]);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

/* check(value): raises if it cannot go to a worker. */
static int check(lua_State *L) {
    nl_plain v = {0};
    read_value(L, NL_STATE(L), 1, &v);
    free(v.bytes);
    neap_shared_chan_unref(v.chan);
    return 0;
}

static int64_t span(lua_State *L, const char *name) {
    lua_getfield(L, 3, name);
    int64_t ns = lua_isnil(L, -1) ? -1 : nl_seconds(L, lua_gettop(L));
    lua_pop(L, 1);
    return ns;
}

static int whole(lua_State *L, const char *name) {
    lua_getfield(L, 3, name);
    int n = lua_isboolean(L, -1) ? lua_toboolean(L, -1) : (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    return n;
}

static void read_options(lua_State *L, nl_state *st, nl_worker *w) {
    w->restarts = whole(L, "restarts");
    w->control = whole(L, "control");
    w->channels = whole(L, "channels");
    w->is_script = whole(L, "is_script");
    w->grace = span(L, "grace");
    w->stop_grace = span(L, "stop_grace");
    lua_getfield(L, 3, "code");
    const char *code = luaL_checklstring(L, -1, &w->code_len);
    w->code = copy_bytes(L, code, w->code_len);
    lua_pop(L, 1);
    lua_getglobal(L, "package");
    int package = lua_gettop(L);
    w->path = copy_field(L, package, "path");
    w->cpath = copy_field(L, package, "cpath");
    lua_pop(L, 1);
    read_values(L, st, w);
}

static void make_futures(lua_State *L, nl_state *st, nl_worker *w) {
    neap_loop *loop = nl_loop_now(L, st)->loop;
    w->home = neap_loop_ref(loop);
    nl_check_code(L, st, neap_future_new(loop, &w->ready));
    nl_check_code(L, st, neap_future_new(loop, &w->ended));
}

/* start(places, id, options): starts a worker; answers it, and the futures that it is ready and that it has ended. */
static int start(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_places *p = nl_check(L, st, 1, NL_PLACES, "places");
    nl_hired *c = nl_make(L, st, NL_WORKER, sizeof *c, 0);
    nl_worker *w = c->w = nl_worker_new();
    if (w == NULL)
        nl_throw_code(L, st, NEAP_ENOMEM);
    w->id = (int)luaL_checkinteger(L, 2);
    w->count = p->count;
    w->listeners = neap_listeners_ref(p->listeners);
    read_options(L, st, w);
    make_futures(L, st, w);
    neap_lua_push_future(L, w->ready);
    neap_lua_push_future(L, w->ended);
    nl_check_code(L, st, neap_loop_hold(w->home)); /* to wait for the thread is no deadlock */
    int code = nl_worker_start(w);
    if (code != 0) {
        neap_loop_release(w->home);
        nl_throw_code(L, st, -code);
    }
    return 3;
}

/* ---- Asking ---- */

static nl_worker *self(lua_State *L) {
    nl_hired *c = nl_check(L, NL_STATE(L), 1, NL_WORKER, "a worker");
    return c->w;
}

static int worker_stop(lua_State *L) {
    nl_check_code(L, NL_STATE(L), nl_worker_stop(self(L)));
    return 0;
}

static int worker_hasten(lua_State *L) {
    nl_check_code(L, NL_STATE(L), nl_worker_hasten(self(L)));
    return 0;
}

/* A future of the figures, for `figures`; nil if the worker has no loop now. */
static int worker_ask(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_worker *w = self(L);
    neap_future *answer;
    nl_check_code(L, st, neap_future_new(nl_loop_now(L, st)->loop, &answer));
    neap_lua_push_future(L, answer);
    neap_future_unref(answer); /* the object has its own */
    int32_t code = nl_worker_ask(w, answer);
    if (code == NEAP_ECLOSED || code == NEAP_ELOOP_CLOSED)
        lua_pushnil(L);
    else
        nl_check_code(L, st, code);
    return 1;
}

/* How it has ended: "done", "error", "exit" or "signal", the error or status, the traceback, whether it was ready. */
static int worker_outcome(lua_State *L) {
    nl_worker *w = self(L);
    pthread_mutex_lock(&w->lock);
    int over = w->over;
    pthread_mutex_unlock(&w->lock);
    if (!over)
        return 0;
    lua_pushstring(L, w->how);
    if (strcmp(w->how, "exit") == 0)
        lua_pushinteger(L, w->status);
    else
        lua_pushstring(L, w->text);
    lua_pushstring(L, w->traceback);
    lua_pushboolean(L, w->was_ready);
    return 4;
}

/* Figures as a table, from the bytes of an answer. */
static int figures(lua_State *L) {
    neap_metrics m;
    size_t len;
    const char *bytes = luaL_checklstring(L, 1, &len);
    memset(&m, 0, sizeof m);
    memcpy(&m, bytes, len < sizeof m ? len : sizeof m);
    nl_push_metrics(L, &m);
    return 1;
}

/* ---- The end ---- */

static struct timespec in_time(int64_t ns) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += ns / 1000000000;
    t.tv_nsec += ns % 1000000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000;
    }
    return t;
}

/* finish(seconds, hasten): waits, blocking, so long for the threads of all workers of this state, after ending their graces if
   that is wanted; answers the numbers of those that have not ended. */
static int finish(lua_State *L) {
    nl_state *st = NL_STATE(L);
    struct timespec until = in_time(nl_seconds(L, 1));
    int n = 0;
    for (nl_node *node = st->nodes; node != NULL; node = node->next)
        if (node->kind == NL_WORKER && lua_toboolean(L, 2))
            nl_worker_hasten(((nl_hired *)node)->w);
    lua_newtable(L);
    for (nl_node *node = st->nodes; node != NULL; node = node->next) {
        if (node->kind != NL_WORKER || nl_worker_await(((nl_hired *)node)->w, &until))
            continue;
        lua_pushinteger(L, ((nl_hired *)node)->w->id);
        lua_rawseti(L, -2, ++n);
    }
    return 1;
}

/* The system's monotonic time, which loops read. */
static int now(lua_State *L) {
    struct timespec t = in_time(0);
    lua_pushnumber(L, (lua_Number)t.tv_sec + (lua_Number)t.tv_nsec / 1e9);
    return 1;
}

/* A failure that nobody awaits, for those who want to hear of such. */
static int report(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_loop_fail(nl_loop_now(L, st)->loop, 0, luaL_checkstring(L, 1), NULL, NULL);
    return 0;
}

/* Raises what is a misuse of neap.workers. */
static int refuse(lua_State *L) {
    return nl_throw(L, NL_STATE(L), NEAP_EVALUE, "%s", luaL_checkstring(L, 1));
}

/* An error object for a worker's failure. */
static int failure(lua_State *L) {
    nl_push_error(L, NL_STATE(L), NEAP_EFOREIGN, luaL_checkstring(L, 1));
    return 1;
}

/* Its thread goes on, if it still runs, and is told to end. */
static void drop_worker(nl_node *node) {
    nl_hired *c = (nl_hired *)node;
    nl_worker *w = c->w;
    if (w == NULL)
        return;
    c->w = NULL;
    nl_worker_stop(w);
    nl_worker_unref(w);
}

void nl_open_workers(lua_State *L, nl_state *st) {
    static const luaL_Reg metas[] = {{"__gc", nl_gc}, {NULL, NULL}};
    static const luaL_Reg places[] = {{"leave", leave}, {NULL, NULL}};
    static const luaL_Reg methods[] = {{"stop", worker_stop},
                                       {"hasten", worker_hasten},
                                       {"ask", worker_ask},
                                       {"outcome", worker_outcome},
                                       {NULL, NULL}};
    static const luaL_Reg functions[] = {
        {"places", new_places}, {"start", start}, {"figures", figures}, {"finish", finish},
        {"report", report},     {"now", now},     {"check", check},     {"refuse", refuse},
        {"failure", failure},   {NULL, NULL}};
    st->drops[NL_PLACES] = drop_places;
    st->drops[NL_WORKER] = drop_worker;
    nl_class(L, st, NL_PLACES, "neap.places", places, NULL, metas);
    lua_pop(L, 1);
    nl_class(L, st, NL_WORKER, "neap.worker", methods, NULL, metas);
    lua_pop(L, 1);
    lua_newtable(L);
    nl_functions(L, st, functions);
    lua_setfield(L, -2, "workers");
}

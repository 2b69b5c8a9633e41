/* lworkers.c: what neap/workers.lua needs to start workers and to hear of them: the starter's side. */
#include "lworker.h"

#include <stdlib.h>
#include <string.h>

typedef struct nl_crewed {
    nl_node node;
    nl_crew *crew; /* a reference, or NULL */
} nl_crewed;

typedef struct nl_hired {
    nl_node node;
    nl_worker *w; /* a reference, or NULL */
} nl_hired;

/* ---- Crews ---- */

/* Of the options at index 1: a number of seconds, or -1. */
static int64_t span(lua_State *L, const char *name) {
    lua_getfield(L, 1, name);
    int64_t ns = lua_isnil(L, -1) ? -1 : nl_seconds(L, lua_gettop(L));
    lua_pop(L, 1);
    return ns;
}

/* crew({count=, control=, grace=, stop_grace=}, channels, main, ...): what its workers will need, as it is now. */
static int new_crew(lua_State *L) {
    nl_state *st = NL_STATE(L);
    int nargs = lua_gettop(L) - 3;
    nl_crewed *made = nl_make(L, st, NL_CREW, sizeof *made, 0);
    nl_crew *crew = made->crew = nl_crew_new();
    if (crew == NULL)
        nl_throw_code(L, st, NEAP_ENOMEM);
    lua_getfield(L, 1, "count");
    crew->count = (int)luaL_checkinteger(L, -1);
    lua_getfield(L, 1, "control");
    crew->control = lua_toboolean(L, -1);
    lua_pop(L, 2);
    crew->grace = span(L, "grace");
    crew->stop_grace = span(L, "stop_grace");
    crew->is_script = lua_type(L, 3) == LUA_TSTRING;
    nl_pack_paths(L, crew->paths);
    nl_pack_values(L, crew->call, 2, 1, "channels", 0);
    if (crew->is_script)
        nl_pack_values(L, crew->call, 3, 1, "script", 0);
    else
        nl_pack_function(L, crew->call, 3, "pass it as an argument");
    nl_pack_values(L, crew->call, 4, nargs, "argument", 1);
    nl_check_code(L, st, neap_listeners_new(NULL, crew->count, &crew->listeners));
    return 1;
}

static nl_crew *check_crew(lua_State *L) {
    const nl_crewed *made = nl_check(L, NL_STATE(L), 1, NL_CREW, "a crew");
    return made->crew;
}

/* leave(crew, id): the worker does not come back. */
static int leave(lua_State *L) {
    int32_t place = (int32_t)luaL_checkinteger(L, 2) - 1;
    nl_check_code(L, NL_STATE(L), neap_listeners_leave(check_crew(L)->listeners, place));
    return 0;
}

static void drop_crew(nl_node *node) {
    nl_crewed *made = (nl_crewed *)node;
    nl_crew_unref(made->crew);
    made->crew = NULL;
}

/* ---- Starting ---- */

static void make_futures(lua_State *L, nl_state *st, nl_worker *w) {
    neap_loop *loop = nl_loop_now(L, st)->loop;
    w->home = neap_loop_ref(loop);
    nl_check_code(L, st, neap_future_new(loop, &w->ready));
    nl_check_code(L, st, neap_future_new(loop, &w->ended));
}

/* start(crew, id, restarts): starts a worker; answers it, and the futures that it is ready and that it has ended. */
static int start(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_crew *crew = check_crew(L);
    nl_hired *c = nl_make(L, st, NL_WORKER, sizeof *c, 0);
    nl_worker *w = c->w = nl_worker_new(crew, (int)luaL_checkinteger(L, 2));
    if (w == NULL)
        nl_throw_code(L, st, NEAP_ENOMEM);
    w->restarts = (int)luaL_checkinteger(L, 3);
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
    const nl_object *answer = nl_new_future(L, st, nl_loop_now(L, st));
    nl_share(L, st, lua_gettop(L)); /* the worker's answer completes it */
    int32_t code = nl_worker_ask(w, answer->future);
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

/* NULL: the node is none, or was never filled. */
static nl_worker *worker_of(const nl_node *node) {
    return node->kind == NL_WORKER ? ((const nl_hired *)node)->w : NULL;
}

/* finish(seconds, hasten): waits, blocking, so long for the threads of all workers of this state, after ending their graces if
   that is wanted; answers the numbers of those that have not ended. */
static int finish(lua_State *L) {
    nl_state *st = NL_STATE(L);
    struct timespec until = in_time(nl_seconds(L, 1));
    int n = 0;
    for (nl_node *node = st->nodes; node != NULL; node = node->next) {
        nl_worker *w = worker_of(node);
        if (w != NULL && lua_toboolean(L, 2))
            nl_worker_hasten(w);
    }
    lua_newtable(L);
    for (nl_node *node = st->nodes; node != NULL; node = node->next) {
        nl_worker *w = worker_of(node);
        if (w == NULL || nl_worker_await(w, &until))
            continue;
        lua_pushinteger(L, w->id);
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
    static const luaL_Reg crews[] = {{"leave", leave}, {NULL, NULL}};
    static const luaL_Reg methods[] = {{"stop", worker_stop},
                                       {"hasten", worker_hasten},
                                       {"ask", worker_ask},
                                       {"outcome", worker_outcome},
                                       {NULL, NULL}};
    static const luaL_Reg functions[] = {
        {"crew", new_crew}, {"start", start},     {"figures", figures},
        {"finish", finish}, {"report", report},   {"now", now},
        {"refuse", refuse}, {"failure", failure}, {NULL, NULL}};
    st->drops[NL_CREW] = drop_crew;
    st->drops[NL_WORKER] = drop_worker;
    nl_class(L, st, NL_CREW, "neap.workers.crew", crews, NULL, metas);
    lua_pop(L, 1);
    nl_class(L, st, NL_WORKER, "neap.worker", methods, NULL, metas);
    lua_pop(L, 1);
    lua_newtable(L);
    nl_functions(L, st, functions);
    lua_setfield(L, -2, "workers");
}

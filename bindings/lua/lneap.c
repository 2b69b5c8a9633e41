/* lneap.c: the record of a Lua state, its classes and anchors, and every way from C into Lua. */
#include "lneap.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const char nl_token_byte = 0;
const char nl_failure_byte = 0;
static const char state_key = 0;

/* ---- Anchors: registry slots for what must stay although no script may know it.  Slots that are free hold false and
   wait here for their next use: one call instead of the several of luaL_ref. ---- */

/* Makes room for all slots, so that giving one back cannot fail; called when none is free.  The room is not touched before it
   is used, so that it costs pages of memory only then. */
static void grow_free(lua_State *L, nl_state *st) {
    int cap = st->free_cap == 0 ? 64 : 2 * st->free_cap;
    int *refs = malloc((size_t)cap * sizeof *refs);
    if (refs == NULL)
        luaL_error(L, "not enough memory");
    free(st->free_refs);
    st->free_refs = refs;
    st->free_cap = cap;
}

/* Takes the value on top. */
int nl_anchor(lua_State *L, nl_state *st) {
    if (st->free_len > 0) {
        int ref = st->free_refs[--st->free_len];
        lua_rawseti(L, LUA_REGISTRYINDEX, ref);
        return ref;
    }
    if (st->anchored == st->free_cap)
        grow_free(L, st);
    int ref = luaL_ref(L, LUA_REGISTRYINDEX);
    st->anchored++;
    return ref;
}

/* Runs on the state's own thread, because it is called from places that have none; it cannot fail. */
void nl_unanchor(nl_state *st, int ref) {
    if (st->closed || ref < 0)
        return;
    lua_pushboolean(st->R, 0);
    lua_rawseti(st->R, LUA_REGISTRYINDEX, ref);
    st->free_refs[st->free_len++] = ref;
}

void nl_anchored(lua_State *L, int ref) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, ref);
}

/* Memory for what the core keeps: not Lua's, which may go before. */
void *nl_alloc(lua_State *L, size_t size) {
    void *p = calloc(1, size);
    if (p == NULL)
        luaL_error(L, "not enough memory");
    return p;
}

/* As nl_alloc, for what will hold an anchor: that goes if there is no memory. */
void *nl_alloc_with(lua_State *L, nl_state *st, size_t size, int ref) {
    void *p = calloc(1, size);
    if (p == NULL) {
        nl_unanchor(st, ref);
        luaL_error(L, "not enough memory");
    }
    return p;
}

nl_life *nl_life_ref(nl_state *st) {
    st->life->refs++;
    return st->life;
}

void nl_life_unref(nl_life *life) {
    if (--life->refs == 0)
        free(life);
}

/* ---- Classes ---- */

void nl_setmeta(lua_State *L, nl_state *st, nl_kind kind) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, st->meta_ref[kind]);
    lua_setmetatable(L, -2);
}

static void push_function(lua_State *L, nl_state *st, lua_CFunction fn) {
    lua_pushlightuserdata(L, st);
    lua_pushcclosure(L, fn, 1);
}

/* Adds functions to the table on top. */
void nl_functions(lua_State *L, nl_state *st, const luaL_Reg *functions) {
    for (; functions != NULL && functions->name != NULL; functions++) {
        push_function(L, st, functions->func);
        lua_setfield(L, -2, functions->name);
    }
}

/* Notes {table, name} for neap/wrap.lua, and that the function on top is not to blame where a wait is impossible. */
static void note_wait(lua_State *L, nl_state *st, const char *name) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, st->passers);
    lua_pushvalue(L, -2);
    lua_pushstring(L, name);
    lua_rawset(L, -3);
    lua_getfield(L, -1, "waits");
    lua_createtable(L, 2, 0);
    lua_pushvalue(L, -5);
    lua_rawseti(L, -2, 1);
    lua_pushstring(L, name);
    lua_rawseti(L, -2, 2);
    lua_rawseti(L, -2, (int)lua_rawlen(L, -2) + 1);
    lua_pop(L, 2);
}

/* Adds functions that may suspend to the table on top. */
void nl_waits(lua_State *L, nl_state *st, const luaL_Reg *functions) {
    for (; functions != NULL && functions->name != NULL; functions++) {
        push_function(L, st, functions->func);
        note_wait(L, st, functions->name);
        lua_setfield(L, -2, functions->name);
    }
}

static int count(const luaL_Reg *functions) {
    int n = 0;
    while (functions != NULL && functions[n].name != NULL)
        n++;
    return n;
}

/* Makes a metatable; its methods stay on the stack so that a few can be added.  Where two names fall on one place in a table
   the engine finds the one sooner that was there first: the index and what suspends come before all others. */
void nl_class(lua_State *L, nl_state *st, nl_kind kind, const char *name, const luaL_Reg *methods,
              const luaL_Reg *waits, const luaL_Reg *metas) {
    enum {
        INDEX_NAME_METATABLE = 3,
        ADDED = 8
    };
    lua_createtable(L, 0, count(metas) + INDEX_NAME_METATABLE);
    lua_pushvalue(L, -1);
    st->meta_ref[kind] = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_createtable(L, 0, count(waits) + count(methods) + ADDED);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "__index");
    nl_waits(L, st, waits);
    nl_functions(L, st, methods);
    lua_insert(L, -2);
    lua_pushstring(L, name);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "__name");
    lua_setfield(L, -2, "__metatable"); /* so that no script gives it to something else */
    nl_functions(L, st, metas);
    lua_pop(L, 1);
}

/* ---- Arguments ---- */

/* Seconds as nanoseconds: NaN raises, negative is 0, more than anybody waits is NL_NEVER. */
int64_t nl_seconds(lua_State *L, int index) {
    nl_state *st = NL_STATE(L);
    if (lua_type(L, index) != LUA_TNUMBER)
        nl_type_error(L, st, index, "a number of seconds");
    double s = (double)lua_tonumber(L, index);
    if (isnan(s))
        nl_arg_error(L, st, index, NEAP_EVALUE, "a number of seconds is needed, not NaN");
    if (s <= 0)
        return 0;
    return s >= (double)NL_NEVER / 1e9 ? NL_NEVER : (int64_t)llround(s * 1e9);
}

/* A count of at least 0. */
lua_Integer nl_count(lua_State *L, nl_state *st, int index, lua_Integer otherwise,
                     const char *what) {
    if (lua_isnoneornil(L, index))
        return otherwise;
    if (lua_type(L, index) != LUA_TNUMBER)
        nl_type_error(L, st, index, what);
    double n = (double)lua_tonumber(L, index);
    if (!(n >= 0 && n <= INT32_MAX && n == floor(n)))
        nl_arg_error(L, st, index, NEAP_EVALUE, "a whole number of at least 0 is needed");
    return (lua_Integer)n;
}

/* ---- From C into Lua ---- */

typedef struct entry {
    nl_body body;
    void *arg;
} entry;

static int run_entry(lua_State *L) {
    entry *e = lua_touserdata(L, 1);
    lua_settop(L, 0);
    e->body(L, NL_STATE(L), e->arg);
    return 0;
}

/* Keeps the traceback of an error that nothing below catches. */
static int keep_trail(lua_State *L) {
    nl_state *st = NL_STATE(L);
    luaL_traceback(L, L, NULL, 1);
    lua_rawseti(L, LUA_REGISTRYINDEX, st->trail);
    lua_settop(L, 1);
    return 1;
}

/* Calls body on the state's thread.  Answers a Lua status; after a failure the error is on top of that thread and the
   traceback in the registry. */
int nl_enter(nl_state *st, nl_body body, void *arg) {
    lua_State *R = st->R;
    if (st->closed)
        return LUA_OK;
    entry e = {body, arg};
    lua_checkstack(R, LUA_MINSTACK);
    lua_rawgeti(R, LUA_REGISTRYINDEX, st->tracing);
    lua_rawgeti(R, LUA_REGISTRYINDEX, st->entry);
    lua_pushlightuserdata(R, &e);
    int status = lua_pcall(R, 1, 0, -3);
    lua_remove(R, status == LUA_OK ? -1 : -2);
    return status;
}

/* A callback of the loop: failures are reported, the batch goes on. */
void nl_call_in(nl_state *st, neap_loop *loop, nl_body body, void *arg) {
    if (st->closed)
        return;
    nl_tidy(st);
    if (nl_enter(st, body, arg) == LUA_OK) {
        nl_takeback(st);
        return;
    }
    lua_State *R = st->R;
    if (!(st->exiting && nl_is_cancelled(R, st, -1))) {
        lua_pushvalue(R, -1);
        lua_rawseti(R, LUA_REGISTRYINDEX, st->fault);
        neap_loop_fail(loop, nl_error_code(R, st, -1), nl_error_text(R, st, -1), st, st);
        lua_pushboolean(R, 0);
        lua_rawseti(R, LUA_REGISTRYINDEX, st->fault);
    }
    lua_pop(R, 1);
    nl_takeback(st);
}

void nl_give_back(nl_state *st) {
    nl_lent lent = st->lent;
    st->lent.len = 0;
    if (lent.sock != NULL)
        neap_sock_unrecv(lent.sock, lent.data, lent.len);
    else
        neap_stream_unread(lent.stream, lent.data, lent.len);
}

/* ---- The record ---- */

static int new_ref(lua_State *L) {
    lua_newtable(L);
    return luaL_ref(L, LUA_REGISTRYINDEX);
}

static int new_weak_ref(lua_State *L, const char *mode) {
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushstring(L, mode);
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    return luaL_ref(L, LUA_REGISTRYINDEX);
}

static int new_slot(lua_State *L) {
    lua_pushboolean(L, 0);
    return luaL_ref(L, LUA_REGISTRYINDEX);
}

static int new_string(lua_State *L, const char *text) {
    lua_pushstring(L, text);
    return luaL_ref(L, LUA_REGISTRYINDEX);
}

/* Functions of the engine that let waits through, so that an error never blames them. */
static void note_passers(lua_State *L, nl_state *st) {
    static const char *const names[] = {NL_PASSERS};
    st->passers = new_ref(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, st->passers);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        lua_getglobal(L, names[i]);
        if (lua_isfunction(L, -1)) {
            lua_pushboolean(L, 1);
            lua_rawset(L, -3);
        } else {
            lua_pop(L, 1);
        }
    }
    lua_newtable(L);
    lua_setfield(L, -2, "waits");
    lua_pop(L, 1);
}

/* ---- What belongs to the loop of its first use ---- */

int nl_is_bound(const nl_bound *b) {
    return b->loop != NULL && !neap_loop_is_closed(b->loop);
}

/* To the present loop; what there was of a former one goes. */
neap_loop *nl_bind(lua_State *L, nl_state *st, nl_bound *b) {
    neap_loop *loop = nl_loop_now(L, st)->loop;
    st->drops[b->node.kind](&b->node);
    return b->loop = neap_loop_ref(loop);
}

void nl_unbind(nl_bound *b) {
    neap_loop *loop = b->loop;
    b->loop = NULL;
    if (loop != NULL)
        neap_loop_unref(loop);
}

/* ---- The end ---- */

/* The Lua state closes: whatever is open goes silently, and Lua is never called again.  Called by the first finalizer
   that sees an object which only the end of the state can have taken. */
void nl_closing(nl_state *st) {
    if (st->closed)
        return;
    st->closed = 1;
    st->life->st = NULL;
    for (nl_loop *l = st->loops; l != NULL; l = l->next)
        if (!l->attached)
            neap_loop_close(l->loop, NEAP_CLOSE_SILENT);
    nl_end_nodes(st);
    nl_end_pools(st);
    nl_drop_received(st);
    while (st->loops != NULL)
        nl_loop_drop(st->loops);
    st->loop = st->running = NULL;
    st->task = NULL;
    st->failed = NULL;
    st->dead = NULL;
}

/* The guard, made first and so finalized last where engines keep that order. */
static int state_gc(lua_State *L) {
    nl_state *st = lua_touserdata(L, 1);
    if (st->life == NULL)
        return 0;
    nl_closing(st);
    nl_end_nodes(st); /* made while the state closed */
    nl_end_pools(st);
    nl_free_blocks(st);
    nl_life_unref(st->life);
    st->life = NULL;
    free(st->free_refs);
    st->free_refs = NULL;
    return 0;
}

static void push_chunk(lua_State *L, const char *text) {
    if (luaL_loadbuffer(L, text, strlen(text), "=neap") != 0)
        lua_error(L);
}

/* A function in Lua that calls what it gets. */
static void push_trampoline(lua_State *L) {
    push_chunk(L, "local function call(fn, ...) return fn(...) end return call");
    lua_call(L, 0, 1);
}

static void open_tables(lua_State *L, nl_state *st) {
    st->patched = new_ref(L);
    st->owned = new_weak_ref(L, "k");
    st->waiting = new_weak_ref(L, "k");
    st->shared = new_weak_ref(L, "v");
    st->batches = new_weak_ref(L, "k");
    st->scopes = new_weak_ref(L, "v");
    st->idle.canary = new_weak_ref(L, "v");
    st->idle.least_kb = INT_MAX;
    st->trail = new_slot(L);
    st->fault = new_slot(L);
    st->recent = new_slot(L);
    st->key_code = new_string(L, "code");
    st->key_message = new_string(L, "message");
    st->key_site = new_string(L, "site");
    note_passers(L, st);
    push_function(L, st, keep_trail);
    st->tracing = luaL_ref(L, LUA_REGISTRYINDEX);
    push_chunk(L, "return");
    st->poke = luaL_ref(L, LUA_REGISTRYINDEX);
    if (NL_PUC51)
        push_trampoline(L);
    else
        push_function(L, st, nl_trace_failure);
    st->bottom = luaL_ref(L, LUA_REGISTRYINDEX);
    push_function(L, st, run_entry);
    st->entry = luaL_ref(L, LUA_REGISTRYINDEX);
}

static nl_state *new_state(lua_State *L) {
    nl_open_compat(L);
    nl_state *st = nl_newblock(L, sizeof *st, 1);
    memset(st, 0, sizeof *st);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, state_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    st->life = nl_alloc(L, sizeof *st->life);
    st->life->st = st;
    st->life->refs = 1;
    st->R = lua_newthread(L);
    luaL_ref(L, LUA_REGISTRYINDEX);
    lua_checkstack(st->R, 4 * LUA_MINSTACK);
    open_tables(L, st);
    lua_pushlightuserdata(L, (void *)&state_key);
    lua_insert(L, -2);
    lua_rawset(L, LUA_REGISTRYINDEX);
    return st;
}

/* The table that `require "neap.core"` gives. */
static void open_module(lua_State *L, nl_state *st) {
    lua_newtable(L);
    int module = lua_gettop(L);
    lua_newtable(L);
    lua_setfield(L, -2, "methods");
    nl_open_error(L, st);
    nl_open_future(L, st);
    nl_open_task(L, st);
    nl_open_wait(L, st);
    nl_open_gather(L, st);
    nl_open_local(L, st);
    nl_open_scope(L, st);
    nl_open_lock(L, st);
    nl_open_sync(L, st);
    nl_open_chan(L, st);
    nl_open_shared(L, st);
    nl_open_pool(L, st);
    nl_open_select(L, st);
    nl_open_handle(L, st);
    nl_open_loop(L, st);
    nl_open_sock(L, st);
    nl_open_fd(L, st);
    nl_open_stream(L, st);
    nl_open_names(L, st);
    nl_open_connect(L, st);
    nl_open_fs(L, st);
    nl_open_coroutine(L, st);
    nl_open_tree(L, st);
    nl_open_control(L, st);
    nl_open_run(L, st);
    nl_open_testing(L, st);
    nl_open_shutdown(L, st);
    nl_open_workers(L, st);
    nl_open_server(L, st);
    nl_open_sigwatch(L, st);
    nl_open_process(L, st);
    lua_rawgeti(L, LUA_REGISTRYINDEX, st->passers);
    lua_getfield(L, -1, "waits");
    if (NL_WRAPPED)
        lua_setfield(L, -3, "waits");
    lua_settop(L, module);
    st->module = luaL_ref(L, LUA_REGISTRYINDEX);
}

nl_state *nl_find_state(lua_State *L) {
    lua_pushlightuserdata(L, (void *)&state_key);
    lua_rawget(L, LUA_REGISTRYINDEX);
    nl_state *st = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return st;
}

nl_state *nl_state_of(lua_State *L) {
    nl_state *st = nl_find_state(L);
    if (st == NULL) {
        st = new_state(L);
        open_module(L, st);
    }
    return st;
}

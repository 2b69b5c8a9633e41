/* ljob.c: a function of Lua that runs on a thread of a pool, in a Lua state of that thread.  What goes there and comes back
   are copies (lcopy.c).  A thread keeps its state for later jobs; each call has globals of its own, through which it sees
   those of the state. */
#include "lneap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LOOKS = 100000, /* instructions after which a job asks whether it is still wanted */
    MESSAGE_MAX = 256
};

struct nl_job {
    nl_parcel *paths;  /* of package */
    nl_parcel *call;   /* what to call, its arguments */
    nl_parcel *answer; /* its results, or the error and the traceback */
    neap_job *job;     /* while it runs */
    int named;         /* what to call is "module:function" */
    int failed;
    char message[MESSAGE_MAX]; /* of the error, for reports */
};

/* What a thread keeps its state under, and a state its running job. */
static const char state_tag = 0;
static const char trace_tag = 0;

/* ---- Made, on the loop's thread ---- */

void nl_job_free(void *user) {
    nl_job *job = user;
    nl_parcel_free(job->paths);
    nl_parcel_free(job->call);
    nl_parcel_free(job->answer);
    free(job);
}

static void check_function(lua_State *L, nl_state *st, int fn) {
    if (lua_type(L, fn) == LUA_TSTRING && strchr(lua_tostring(L, fn), ':') != NULL)
        return;
    if (!lua_isfunction(L, fn))
        nl_throw(L, st, NEAP_ETYPE, "a function or the name \"module:function\" expected, got %s",
                 luaL_typename(L, fn));
}

/* At 1 the job, at 2 what to call, and its arguments. */
static int pack_call(lua_State *L) {
    nl_job *job = lua_touserdata(L, 1);
    nl_parcel *p = job->call;
    int nargs = lua_gettop(L) - 2;
    nl_pack_paths(L, job->paths);
    if (job->named)
        nl_pack_values(L, p, 2, 1, "a name", 0);
    else
        nl_pack_function(L, p, 2, "pass it as an argument, or name a function of a module");
    nl_pack_values(L, p, 3, nargs, "argument", 1);
    return 0;
}

/* A job for the function at `fn` and the arguments above it, which are taken; raises if something cannot be copied. */
nl_job *nl_job_new(lua_State *L, nl_state *st, int fn) {
    check_function(L, st, fn);
    int named = lua_type(L, fn) == LUA_TSTRING;
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    lua_pushcfunction(L, pack_call);
    lua_insert(L, fn);
    nl_job *job = nl_alloc(L, sizeof *job);
    job->named = named;
    job->paths = nl_parcel_new();
    job->call = nl_parcel_new();
    job->answer = nl_parcel_new();
    lua_pushlightuserdata(L, job);
    lua_insert(L, fn + 1);
    if (job->paths == NULL || job->call == NULL || job->answer == NULL) {
        nl_job_free(job);
        nl_throw_code(L, st, NEAP_ENOMEM);
    }
    if (lua_pcall(L, lua_gettop(L) - fn, 0, 0) != 0) {
        nl_job_free(job);
        lua_error(L);
    }
    return job;
}

/* ---- Run, on a thread of the pool ---- */

static void close_state(void *L) {
    lua_close(L);
}

static int open_state(lua_State *L) {
    luaL_openlibs(L);
    return 0;
}

/* The thread's state, made for its first job; NULL if there is no memory. */
static lua_State *state_of_thread(neap_job *job) {
    lua_State *L = neap_job_get_data(job, &state_tag);
    if (L != NULL)
        return L;
    L = nl_newstate();
    if (L == NULL)
        return NULL;
    if (nl_cpcall(L, open_state, NULL) == 0)
        return neap_job_set_data(job, &state_tag, L, close_state) == 0 ? L : NULL;
    lua_close(L);
    return NULL;
}

static void set_running(lua_State *L, nl_job *job) {
    lua_pushlightuserdata(L, (void *)&state_tag);
    if (job != NULL)
        lua_pushlightuserdata(L, job);
    else
        lua_pushboolean(L, 0); /* in the place that is there already: this cannot fail */
    lua_rawset(L, LUA_REGISTRYINDEX);
}

static nl_job *running(lua_State *L) {
    lua_pushlightuserdata(L, (void *)&state_tag);
    lua_rawget(L, LUA_REGISTRYINDEX);
    nl_job *job = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return job;
}

int nl_in_job(lua_State *L) {
    return running(L) != NULL;
}

/* Whether somebody still waits for what the running function makes; true outside of jobs. */
int nl_job_wanted(lua_State *L) {
    nl_job *job = running(L);
    return job == NULL || neap_job_wanted(job->job) != 0;
}

static void stop_unwanted(lua_State *L, lua_Debug *ar) {
    (void)ar;
    if (!nl_job_wanted(L))
        luaL_error(L, "nobody waits for the result any more");
}

/* Globals of this call alone, behind which are those of the state. */
static void push_globals(lua_State *L) {
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "_G");
    lua_createtable(L, 0, 1);
    nl_pushglobals(L);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
}

/* Pushes the function that "module:function" names. */
static void push_named(lua_State *L, const char *name) {
    const char *colon = strchr(name, ':');
    lua_getglobal(L, "require");
    lua_pushlstring(L, name, (size_t)(colon - name));
    lua_pushvalue(L, -1);
    lua_insert(L, -3);
    lua_call(L, 1, 1);
    if (lua_istable(L, -1))
        lua_getfield(L, -1, colon + 1);
    else
        lua_pushnil(L);
    if (!lua_isfunction(L, -1))
        luaL_error(L, "module '%s' has no function '%s'", lua_tostring(L, -3), colon + 1);
    lua_replace(L, -3);
    lua_pop(L, 1);
}

/* Pushes the function for what was sent at `at`. */
static void push_function(lua_State *L, const nl_job *job, int at) {
    size_t len;
    if (!lua_isstring(L, at)) {
        lua_pushvalue(L, at);
        return;
    }
    const char *bytes = lua_tolstring(L, at, &len);
    if (job->named) {
        push_named(L, bytes);
        return;
    }
    push_globals(L);
    if (luaL_loadbuffer(L, bytes, len, "=pool") != 0)
        lua_error(L);
    nl_setglobals(L);
}

/* Channels are objects of neap, which is loaded for them as a script would. */
static void load_neap(lua_State *L) {
    lua_getglobal(L, "require");
    lua_pushliteral(L, "neap");
    lua_call(L, 1, 0);
}

/* Calls what was sent; answers its results. */
static int call_function(lua_State *L) {
    nl_job *job = lua_touserdata(L, 1);
    lua_settop(L, 0);
    nl_unpack_paths(L, job->paths);
    if (nl_parcel_has_channels(job->call))
        load_neap(L);
    int n = nl_unpack_values(L, job->call);
    push_function(L, job, 1);
    lua_replace(L, 1);
    lua_call(L, n - 1, LUA_MULTRET);
    return lua_gettop(L);
}

/* Keeps the traceback of an error before its frames go. */
static int keep_trace(lua_State *L) {
    lua_settop(L, 1);
    lua_pushlightuserdata(L, (void *)&trace_tag);
    luaL_traceback(L, L, NULL, 1);
    lua_rawset(L, LUA_REGISTRYINDEX);
    return 1;
}

static int pack_results(lua_State *L) {
    nl_job *job = lua_touserdata(L, 1);
    nl_pack_values(L, job->answer, 2, lua_gettop(L) - 1, "result", 1);
    return 0;
}

/* Pushes what is sent for the error on top: itself, if it is a table of data or an error of ours, else its text. */
static void push_error_to_send(lua_State *L) {
    nl_state *st = nl_find_state(L);
    if (lua_istable(L, -1)) {
        int plain = !lua_getmetatable(L, -1);
        if (!plain)
            lua_pop(L, 1);
        lua_pushvalue(L, -1);
        if (plain || (st != NULL && nl_is_error(L, st, -1)))
            return;
        lua_pop(L, 1);
    }
    nl_tolstring(L, -1, NULL);
}

/* The error on top becomes the answer. */
static void pack_error(lua_State *L, nl_job *job) {
    nl_tolstring(L, -1, NULL);
    snprintf(job->message, sizeof job->message, "%s", lua_tostring(L, -1));
    lua_pop(L, 1);
    nl_parcel_clear(job->answer);
    push_error_to_send(L);
    lua_pushlightuserdata(L, (void *)&trace_tag);
    lua_rawget(L, LUA_REGISTRYINDEX);
    nl_pack_values(L, job->answer, lua_gettop(L) - 1, 2, NULL, 0);
    job->failed = 1;
}

static int run_body(lua_State *L) {
    nl_job *job = lua_touserdata(L, 1);
    set_running(L, job);
    lua_pushcfunction(L, keep_trace);
    lua_pushcfunction(L, pack_results);
    lua_pushlightuserdata(L, job);
    lua_pushcfunction(L, call_function);
    lua_pushlightuserdata(L, job);
    int status = lua_pcall(L, 1, LUA_MULTRET, 2);
    if (status == 0)
        status = lua_pcall(L, lua_gettop(L) - 3, 0, 2);
    if (status != 0)
        pack_error(L, job);
    return 0;
}

int64_t nl_job_run(neap_job *njob, void *user) {
    nl_job *job = user;
    lua_State *L = state_of_thread(njob);
    if (L == NULL)
        return NEAP_ENOMEM;
    job->job = njob;
    if (NL_OWN_HOOKS)
        lua_sethook(L, stop_unwanted, LUA_MASKCOUNT, LOOKS);
    int status = nl_cpcall(L, run_body, job);
    lua_sethook(L, NULL, 0, 0);
    if (status != 0) { /* there was no memory, so the state is better given up */
        (void)neap_job_set_data(njob, &state_tag, NULL, NULL);
        return NEAP_ENOMEM;
    }
    lua_settop(L, 0);
    set_running(L, NULL);
    return 0;
}

/* ---- Back on the loop's thread ---- */

int32_t nl_job_finish(neap_future *future, int64_t result, void *user) {
    nl_job *job = user;
    if (result < 0)
        return (int32_t)result;
    nl_parcel *answer = job->answer;
    job->answer = NULL;
    if (job->failed)
        return neap_future_set_exception(future, NEAP_EFOREIGN, job->message, &nl_parcel_tag,
                                         answer, nl_parcel_free);
    return neap_future_set_ptr(future, &nl_parcel_tag, answer, nl_parcel_free);
}

/* Pushes the error that a job has answered: a table with a message and a traceback. */
void nl_push_job_error(lua_State *L, nl_state *st, const nl_parcel *answer) {
    nl_unpack_values(L, answer);
    int error = lua_gettop(L) - 1;
    if (!lua_istable(L, error)) {
        nl_push_error(L, st, NEAP_EFOREIGN, lua_tostring(L, error));
        lua_replace(L, error);
    }
    lua_pushliteral(L, "traceback");
    lua_rawget(L, error);
    if (lua_isnil(L, -1)) {
        lua_pushvalue(L, error + 1);
        lua_setfield(L, error, "traceback");
    }
    lua_settop(L, error);
}

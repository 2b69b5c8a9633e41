/* lworker.c: what runs in a worker's thread, and the posts by which others reach it.

   Life: new -> the thread makes a state as the command does, loads script or function, and runs it as the main task of a
   loop -> the loop can be posted to -> the main task has had its first step: ready, unless it has failed -> the run ends,
   by itself or through its shutdown -> the state is closed -> over, which the starter hears. */
#include "lworker.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    RETRY_US = 10000 /* when there is no memory to say that the worker has ended */
};

/* ---- The records ---- */

/* NULL: no memory. */
nl_crew *nl_crew_new(void) {
    nl_crew *crew = calloc(1, sizeof *crew);
    if (crew == NULL)
        return NULL;
    atomic_init(&crew->refs, 1);
    crew->paths = nl_parcel_new();
    crew->call = nl_parcel_new();
    if (crew->paths != NULL && crew->call != NULL)
        return crew;
    nl_crew_unref(crew);
    return NULL;
}

void nl_crew_unref(nl_crew *crew) {
    if (crew == NULL || atomic_fetch_sub(&crew->refs, 1) != 1)
        return;
    nl_parcel_free(crew->paths);
    nl_parcel_free(crew->call);
    neap_listeners_unref(crew->listeners);
    free(crew);
}

/* NULL: no memory. */
nl_worker *nl_worker_new(nl_crew *crew, int id) {
    nl_worker *w = calloc(1, sizeof *w);
    pthread_condattr_t monotonic;
    if (w == NULL)
        return NULL;
    atomic_init(&w->refs, 1);
    atomic_fetch_add(&crew->refs, 1);
    w->crew = crew;
    w->id = id;
    w->over = 1;
    pthread_mutex_init(&w->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&w->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return w;
}

void nl_worker_unref(nl_worker *w) {
    if (atomic_fetch_sub(&w->refs, 1) != 1)
        return;
    nl_crew_unref(w->crew);
    free(w->text);
    free(w->traceback);
    neap_future_unref(w->ready);
    neap_future_unref(w->ended);
    neap_loop_unref(w->home);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

static void unref(void *user) {
    nl_worker_unref(user);
}

/* ---- Posts to the worker ---- */

/* Nobody but the worker's thread runs these, while the run is on. */

static void stop_here(void *user) {
    nl_worker *w = user;
    if (w->st->signo == 0)
        w->st->signo = SIGTERM;
    nl_begin_shutdown(w->st, w->loop, "the workers stop");
}

static void hasten_here(void *user) {
    nl_worker *w = user;
    if (w->st->ending) {
        neap_loop_raise(w->loop, NL_RAISE_ABORT);
        return;
    }
    stop_here(w);
    atomic_fetch_add(&w->refs, 1);
    neap_loop_post(w->loop, hasten_here, w, unref); /* once the shutdown turns the loop */
}

static int32_t post(nl_worker *w, neap_fn fn) {
    atomic_fetch_add(&w->refs, 1);
    return neap_loop_post(w->loop, fn, w, unref);
}

/* Begins the worker's shutdown, at the latest when its loop is there. */
int32_t nl_worker_stop(nl_worker *w) {
    pthread_mutex_lock(&w->lock);
    int32_t code = w->loop != NULL && !w->stopping ? post(w, stop_here) : 0;
    if (code >= 0)
        w->stopping = 1;
    pthread_mutex_unlock(&w->lock);
    return code;
}

/* Ends the graces of the shutdown, which begins if it has not. */
int32_t nl_worker_hasten(nl_worker *w) {
    pthread_mutex_lock(&w->lock);
    int32_t code = w->loop != NULL && !w->hastened ? post(w, hasten_here) : 0;
    if (code >= 0)
        w->hastened = 1;
    pthread_mutex_unlock(&w->lock);
    return code;
}

/* What goes home again: everything of it ends on the starter's thread. */
typedef struct reply {
    neap_loop *home; /* with the future: references */
    neap_future *future;
    neap_metrics figures;
} reply;

typedef struct question {
    nl_worker *w;
    reply *reply; /* NULL: on its way */
} question;

static void free_reply(void *user) {
    reply *r = user;
    neap_loop *home = r->home;
    neap_future_unref(r->future);
    free(r);
    neap_loop_unref(home);
}

static void reply_home(void *user) {
    reply *r = user;
    neap_future_set_bytes(r->future, &r->figures, sizeof r->figures);
}

static void answer_here(void *user) {
    question *q = user;
    reply *r = q->reply;
    q->reply = NULL;
    neap_loop_metrics(q->w->loop, &r->figures, sizeof r->figures);
    neap_loop_post(r->home, reply_home, r, free_reply);
}

static void free_question(void *user) {
    question *q = user;
    if (q->reply != NULL)
        free_reply(q->reply);
    nl_worker_unref(q->w);
    free(q);
}

static question *new_question(nl_worker *w, neap_future *answer) {
    question *q = calloc(1, sizeof *q);
    reply *r = q == NULL ? NULL : calloc(1, sizeof *r);
    if (r == NULL) {
        free(q);
        return NULL;
    }
    atomic_fetch_add(&w->refs, 1);
    r->future = neap_future_ref(answer);
    r->home = neap_loop_ref(w->home);
    q->w = w;
    q->reply = r;
    return q;
}

/* The figures of the worker's loop come into the future as the bytes of a neap_metrics, unless the worker ends before. */
int32_t nl_worker_ask(nl_worker *w, neap_future *answer) {
    question *q = new_question(w, answer);
    if (q == NULL)
        return NEAP_ENOMEM;
    pthread_mutex_lock(&w->lock);
    neap_loop *loop = w->loop != NULL ? neap_loop_ref(w->loop) : NULL;
    pthread_mutex_unlock(&w->lock);
    if (loop == NULL) {
        free_question(q);
        return NEAP_ECLOSED;
    }
    int32_t code = neap_loop_post(loop, answer_here, q, free_question);
    neap_loop_unref(loop);
    return code;
}

/* Whether the thread has ended by then; the caller blocks. */
int nl_worker_await(nl_worker *w, const struct timespec *until) {
    int code = 0;
    pthread_mutex_lock(&w->lock);
    while (!w->over && code == 0)
        code = pthread_cond_timedwait(&w->changed, &w->lock, until);
    int over = w->over;
    pthread_mutex_unlock(&w->lock);
    return over;
}

/* ---- The run ---- */

static void ready_at_home(void *user) {
    nl_worker *w = user;
    if (w->ready != NULL)
        neap_future_set_int(w->ready, 1);
}

/* The main task has had its first step. */
static void first_step_done(void *user) {
    nl_worker *w = user;
    if (neap_future_done(w->main) && neap_future_error(w->main) < 0)
        return;
    w->was_ready = 1;
    atomic_fetch_add(&w->refs, 1);
    neap_loop_post(w->home, ready_at_home, w, unref);
}

/* The run of the worker is about to turn its loop. */
void nl_worker_begins(lua_State *L, nl_state *st, nl_loop *l, neap_future *main) {
    nl_worker *w = st->worker;
    nl_check_code(L, st, neap_loop_set_listeners(l->loop, w->crew->listeners, w->id - 1));
    atomic_fetch_add(&w->refs, 1);
    nl_check_code(L, st, neap_call_soon(l->loop, first_step_done, w, unref, NULL));
    pthread_mutex_lock(&w->lock);
    w->st = st;
    w->main = main;
    w->loop = neap_loop_ref(l->loop);
    int32_t code = w->hastened ? post(w, hasten_here) : w->stopping ? post(w, stop_here) : 0;
    pthread_mutex_unlock(&w->lock);
    nl_check_code(L, st, code);
}

/* It has ended: nobody reaches the loop any more. */
void nl_worker_ends(nl_worker *w) {
    pthread_mutex_lock(&w->lock);
    neap_loop *loop = w->loop;
    w->loop = NULL;
    pthread_mutex_unlock(&w->lock);
    neap_loop_unref(loop);
}

/* ---- The state ---- */

/* The modules of the starter's state, and of neap this very library. */
static void set_package(lua_State *L, const nl_worker *w) {
    nl_unpack_paths(L, w->crew->paths);
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "preload");
    lua_pushcfunction(L, luaopen_neap_core);
    lua_setfield(L, -2, "neap.core");
    lua_pushcfunction(L, luaopen_neap_corejit);
    lua_setfield(L, -2, "neap.corejit");
    lua_pop(L, 2);
}

/* Puts the function in the place of what was sent for it: a script's path, code, or itself if it is in C. */
static void load_function(lua_State *L, const nl_worker *w, int at) {
    size_t len;
    const char *sent = lua_tolstring(L, at, &len);
    if (sent == NULL)
        return;
    int status =
        w->crew->is_script ? luaL_loadfile(L, sent) : luaL_loadbuffer(L, sent, len, "=worker");
    if (status != LUA_OK)
        lua_error(L);
    lua_replace(L, at);
}

/* Sets neap.worker and a script's `arg`; answers function and arguments as the options of the run. */
static const char opener[] =
    "local neap, id, count, restarts, script, channels, fn = ...\n"
    "neap.worker = { id = id, count = count, restarts = restarts, channels = channels }\n"
    "if script then arg = { [0] = script, select(8, ...) } end\n"
    "return { fn, n = select('#', ...) - 6, name = 'worker ' .. id, select(8, ...) }\n";

static void push_require(lua_State *L, const char *name) {
    lua_getglobal(L, "require");
    lua_pushstring(L, name);
    lua_call(L, 1, 1);
}

static void set_span(lua_State *L, const char *name, int64_t ns) {
    if (ns < 0)
        return;
    lua_pushnumber(L, (lua_Number)ns / 1e9);
    lua_setfield(L, -2, name);
}

/* Pushes the options of the run. */
static void push_run(lua_State *L, const nl_worker *w) {
    int script = lua_gettop(L) + 6;
    if (luaL_loadbuffer(L, opener, sizeof opener - 1, "=neap") != LUA_OK)
        lua_error(L);
    push_require(L, "neap");
    lua_pushinteger(L, w->id);
    lua_pushinteger(L, w->crew->count);
    lua_pushinteger(L, w->restarts);
    lua_pushnil(L);
    int n = nl_unpack_values(L, w->crew->call);
    if (w->crew->is_script) {
        lua_pushvalue(L, script + 2);
        lua_replace(L, script);
    }
    load_function(L, w, script + 2);
    lua_call(L, 5 + n, 1);
    lua_pushboolean(L, w->crew->control);
    lua_setfield(L, -2, "control");
    set_span(L, "grace", w->crew->grace);
    set_span(L, "stop_grace", w->crew->stop_grace);
}

static char *copy_text(const char *text) {
    return text != NULL ? strdup(text) : NULL;
}

/* What run_command has answered from index `at` on. */
static void note_outcome(lua_State *L, nl_state *st, nl_worker *w, int at) {
    const char *how = lua_tostring(L, at);
    w->how = strcmp(how, "exit") == 0     ? "exit"
             : strcmp(how, "signal") == 0 ? "signal"
             : strcmp(how, "error") == 0  ? "error"
                                          : "done";
    if (strcmp(w->how, "exit") == 0)
        w->status = (int)lua_tointeger(L, at + 1);
    if (strcmp(w->how, "error") != 0)
        return;
    w->text = copy_text(nl_error_text(L, st, at + 1));
    w->traceback = copy_text(lua_tostring(L, at + 2));
}

static int work(lua_State *L) {
    nl_worker *w = lua_touserdata(L, 1);
    luaL_openlibs(L);
    set_package(L, w);
    nl_state *st = nl_state_of(L);
    st->worker = w;
    lua_rawgeti(L, LUA_REGISTRYINDEX, st->module);
    lua_getfield(L, -1, "run_command");
    int at = lua_gettop(L);
    push_run(L, w);
    lua_call(L, 1, LUA_MULTRET);
    note_outcome(L, st, w, at);
    return 0;
}

/* An error outside of the run: the script cannot be loaded, say. */
static int note_failure(lua_State *L) {
    nl_worker *w = lua_touserdata(L, lua_upvalueindex(1));
    if (w->text != NULL)
        return 1;
    luaL_traceback(L, L, NULL, 1);
    w->traceback = copy_text(lua_tostring(L, -1));
    w->text = copy_text(nl_error_text(L, nl_state_of(L), 1));
    lua_settop(L, 1);
    return 1;
}

/* ---- The thread ---- */

static int guard(lua_State *L) {
    nl_worker *w = lua_touserdata(L, 1);
    lua_pushcclosure(L, note_failure, 1);
    lua_pushcfunction(L, work);
    lua_pushlightuserdata(L, w);
    if (lua_pcall(L, 1, 0, 1) != LUA_OK)
        w->how = "error";
    return 0;
}

static void run_state(nl_worker *w) {
    lua_State *L = nl_newstate();
    w->how = "error";
    if (L != NULL && nl_cpcall(L, guard, w) != LUA_OK)
        w->how = "error";
    if (strcmp(w->how, "error") == 0 && w->text == NULL)
        w->text = copy_text("not enough memory");
    nl_worker_ends(w);
    if (L != NULL)
        lua_close(L);
}

/* The futures go here, so that nothing of the starter's loop is left when it has heard of the end. */
static void over_at_home(void *user) {
    nl_worker *w = user;
    neap_future *ready = w->ready, *ended = w->ended;
    w->ready = w->ended = NULL;
    neap_loop_release(w->home);
    neap_future_set_int(ended, 1);
    neap_future_unref(ready);
    neap_future_unref(ended);
}

static void say_over(nl_worker *w) {
    int32_t code;
    pthread_mutex_lock(&w->lock);
    w->over = 1;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
    do {
        atomic_fetch_add(&w->refs, 1);
        code = neap_loop_post(w->home, over_at_home, w, unref);
    } while (code == NEAP_ENOMEM && usleep(RETRY_US) == 0);
}

static void *thread_main(void *user) {
    nl_worker *w = user;
    run_state(w);
    say_over(w);
    nl_worker_unref(w);
    return NULL;
}

/* All but those that the thread's own instructions cause. */
static void block_signals(sigset_t *before) {
    static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};
    sigset_t all;
    sigfillset(&all);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        sigdelset(&all, own[i]);
    pthread_sigmask(SIG_BLOCK, &all, before);
}

/* Answers 0 or an errno. */
int nl_worker_start(nl_worker *w) {
    pthread_t thread;
    pthread_attr_t detached;
    sigset_t before;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    block_signals(&before);
    atomic_fetch_add(&w->refs, 1);
    w->over = 0;
    int code = pthread_create(&thread, &detached, thread_main, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&detached);
    if (code != 0) {
        w->over = 1;
        nl_worker_unref(w);
    }
    return code;
}

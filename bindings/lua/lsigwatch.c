/* lsigwatch.c: signals that a script takes: as a stream that is waited for, and by callbacks of a loop.

   A signal that somebody waits for in this way can wake the program, so each watch holds the loop: waiting for it alone is no
   deadlock.  SIGINT and SIGTERM are then the script's: the run, or the interpreter, does not hear of them. */
#include "lneap.h"

#include <string.h>

enum {
    SIGNALS_MAX = 64
};

typedef struct nl_signal_stream nl_signal_stream;

typedef struct source {
    nl_signal_stream *stream;
    neap_handle *handle; /* a reference, or NULL */
    int signo;
    uint8_t arrived; /* and nobody has received it */
} source;

struct nl_signal_stream {
    nl_node node;
    neap_loop *loop;   /* a reference; NULL once it is closed */
    neap_event *event; /* set while something has arrived, or it is closed */
    int n;
    int next; /* where the search for what has arrived begins: each signal has its turn */
    source sources[];
};

/* ---- Names ---- */

typedef struct name {
    const char *text;
    int signo;
} name;

static const name names[] = {
    {"HUP", SIGHUP},       {"INT", SIGINT},   {"QUIT", SIGQUIT},   {"ILL", SIGILL},
    {"TRAP", SIGTRAP},     {"ABRT", SIGABRT}, {"BUS", SIGBUS},     {"FPE", SIGFPE},
    {"KILL", SIGKILL},     {"USR1", SIGUSR1}, {"SEGV", SIGSEGV},   {"USR2", SIGUSR2},
    {"PIPE", SIGPIPE},     {"ALRM", SIGALRM}, {"TERM", SIGTERM},   {"CHLD", SIGCHLD},
    {"CONT", SIGCONT},     {"STOP", SIGSTOP}, {"TSTP", SIGTSTP},   {"TTIN", SIGTTIN},
    {"TTOU", SIGTTOU},     {"URG", SIGURG},   {"XCPU", SIGXCPU},   {"XFSZ", SIGXFSZ},
    {"VTALRM", SIGVTALRM}, {"PROF", SIGPROF}, {"WINCH", SIGWINCH}, {"IO", SIGIO},
    {"PWR", SIGPWR},       {"SYS", SIGSYS},
};
enum {
    NAMES = sizeof names / sizeof *names
};

static int by_name(const char *text) {
    if (strncmp(text, "SIG", 3) == 0)
        text += 3;
    for (int i = 0; i < NAMES; i++)
        if (strcmp(names[i].text, text) == 0)
            return names[i].signo;
    return -1;
}

/* The number of the signal at index: "HUP", "SIGHUP" or a number. */
int nl_to_signal(lua_State *L, nl_state *st, int index) {
    int signo = -1;
    if (lua_type(L, index) == LUA_TNUMBER)
        signo = (int)lua_tointeger(L, index);
    else if (lua_type(L, index) == LUA_TSTRING)
        signo = by_name(lua_tostring(L, index));
    else
        nl_type_error(L, st, index, "the name of a signal");
    if (signo < 0 || signo > SIGNALS_MAX)
        nl_arg_error(L, st, index, NEAP_EVALUE,
                     lua_pushfstring(L, "there is no signal '%s'", lua_tostring(L, index)));
    return signo;
}

/* Pushes "HUP", or the number of a signal without a name. */
void nl_push_signal(lua_State *L, int signo) {
    for (int i = 0; i < NAMES; i++) {
        if (names[i].signo == signo) {
            lua_pushstring(L, names[i].text);
            return;
        }
    }
    lua_pushinteger(L, signo);
}

static int number(lua_State *L) {
    lua_pushinteger(L, nl_to_signal(L, NL_STATE(L), 1));
    return 1;
}

static int name_of(lua_State *L) {
    nl_push_signal(L, nl_to_signal(L, NL_STATE(L), 1));
    return 1;
}

static int watchable(lua_State *L, nl_state *st, int index) {
    int signo = nl_to_signal(L, st, index);
    if (signo == 0 || signo == SIGKILL || signo == SIGSTOP)
        nl_arg_error(L, st, index, NEAP_EVALUE, "this signal cannot be caught");
    return signo;
}

/* ---- Streams ---- */

static nl_signal_stream *check_stream(lua_State *L, nl_state *st) {
    return nl_check(L, st, 1, NL_SIGNAL_STREAM, "a signal stream");
}

static void on_arrival(int32_t signo, void *user) {
    source *from = user;
    (void)signo;
    from->arrived = 1;
    (void)neap_event_set(from->stream->event);
}

/* The core lets go of the watch: its loop was closed, or we have asked. */
static void source_gone(void *user) {
    const source *from = user;
    nl_signal_gone(from->stream->node.st, from->signo);
}

static void end_sources(nl_signal_stream *s) {
    for (int i = 0; i < s->n; i++) {
        neap_handle *handle = s->sources[i].handle;
        s->sources[i].handle = NULL;
        if (handle == NULL)
            continue;
        neap_handle_cancel(handle);
        neap_handle_unref(handle);
    }
}

static void close_stream(nl_signal_stream *s) {
    neap_loop *loop = s->loop;
    if (loop == NULL)
        return;
    s->loop = NULL;
    end_sources(s);
    if (s->event != NULL) {
        (void)neap_event_set(s->event); /* nobody waits any more */
        neap_event_unref(s->event);
        s->event = NULL;
    }
    (void)neap_loop_release(loop);
    neap_loop_unref(loop);
    nl_signals_back(s->node.st);
}

static void drop(nl_node *node) {
    close_stream((nl_signal_stream *)node);
}

static int32_t open_sources(nl_signal_stream *s) {
    nl_state *st = s->node.st;
    int32_t code = neap_event_new(s->loop, &s->event);
    for (int i = 0; code >= 0 && i < s->n; i++) {
        source *from = &s->sources[i];
        nl_signal_taken(st, from->signo);
        code = neap_signal_watch(s->loop, from->signo, 0, on_arrival, from, source_gone,
                                 &from->handle);
    }
    return code;
}

/* signal(name, ...): a stream of the arrivals of these signals. */
static int new_stream(lua_State *L) {
    nl_state *st = NL_STATE(L);
    int n = lua_gettop(L);
    if (n == 0)
        nl_type_error(L, st, 1, "the name of a signal");
    if (n > SIGNALS_MAX)
        nl_arg_error(L, st, n, NEAP_EVALUE, "there are not so many signals");
    for (int i = 1; i <= n; i++)
        (void)watchable(L, st, i);
    nl_loop *l = nl_loop_now(L, st);
    size_t size = sizeof(nl_signal_stream) + (size_t)n * sizeof(source);
    nl_signal_stream *s = nl_make(L, st, NL_SIGNAL_STREAM, size, 0);
    nl_check_code(L, st, neap_loop_hold(l->loop));
    s->loop = neap_loop_ref(l->loop);
    s->n = n;
    for (int i = 0; i < n; i++)
        s->sources[i] = (source){.stream = s, .signo = nl_to_signal(L, st, i + 1)};
    int32_t code = open_sources(s);
    if (code < 0)
        close_stream(s);
    nl_check_code(L, st, code);
    return 1;
}

/* Takes what has arrived, in turns; 0: nothing. */
static int take(nl_signal_stream *s) {
    for (int i = 0; i < s->n; i++) {
        source *from = &s->sources[(s->next + i) % s->n];
        if (from->arrived) {
            from->arrived = 0;
            s->next = (s->next + i + 1) % s->n;
            return from->signo;
        }
    }
    if (s->event != NULL)
        (void)neap_event_clear(s->event);
    return 0;
}

static int answer(lua_State *L, int signo) {
    nl_push_signal(L, signo);
    lua_pushinteger(L, signo);
    return 2;
}

static int stream_recv(lua_State *L);

static int recv_end(lua_State *L) {
    nl_state *st = NL_STATE(L);
    int32_t code = neap_future_error(nl_woken(L, st));
    nl_wait_end(st->task);
    lua_settop(L, 1);
    if (code >= 0)
        return stream_recv(L);
    lua_pushnil(L); /* the loop was closed */
    return 1;
}

/* The next signal: its name and number; nil once the stream is closed. */
static int stream_recv(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_signal_stream *s = check_stream(L, st);
    neap_future *future = NULL;
    nl_check_wait(L, st);
    if (nl_is_spent(st))
        return nl_again(L, st, stream_recv);
    int signo = take(s);
    if (signo > 0)
        return answer(L, signo);
    if (s->loop == NULL || neap_loop_is_closed(s->loop)) {
        lua_pushnil(L);
        return 1;
    }
    int32_t code = neap_event_wait(s->event, &future);
    if (code != NEAP_PENDING)
        nl_check_code(L, st, code);
    return nl_park(L, st, future, 1, recv_end);
}

static int stream_try_recv(lua_State *L) {
    int signo = take(check_stream(L, NL_STATE(L)));
    if (signo > 0)
        return answer(L, signo);
    lua_pushnil(L);
    return 1;
}

/* What has arrived can still be received. */
static int stream_close(lua_State *L) {
    nl_signal_stream *s = check_stream(L, NL_STATE(L));
    lua_pushboolean(L, s->loop != NULL);
    close_stream(s);
    return 1;
}

static int stream_tostring(lua_State *L) {
    nl_signal_stream *s = check_stream(L, NL_STATE(L));
    lua_pushliteral(L, "neap.signal:");
    for (int i = 0; i < s->n; i++) {
        lua_pushliteral(L, " ");
        nl_push_signal(L, s->sources[i].signo);
        lua_concat(L, 3);
    }
    if (s->loop == NULL) {
        lua_pushliteral(L, " (closed)");
        lua_concat(L, 2);
    }
    return 1;
}

/* ---- Callbacks ---- */

static void fire(int32_t signo, void *user) {
    (void)signo;
    nl_handle_fire(user);
}

static void watch_gone(void *user) {
    nl_handle *h = user;
    nl_signal_gone(h->node.st, (int)h->fd);
    nl_handle_gone(user);
}

/* watch(loop, signal, fn, ...): the handle of a callback. */
static int watch(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_loop *l = nl_check_loop(L, st, 1);
    int signo = watchable(L, st, 2);
    nl_handle *h = nl_new_handle(L, st, l->loop, 3);
    h->fd = signo;
    nl_signal_taken(st, signo);
    nl_check_code(L, st, neap_signal_watch(l->loop, signo, 0, fire, h, watch_gone, &h->handle));
    (void)neap_loop_hold(l->loop);
    return 1;
}

/* unwatch(handle): ends it.  false if its loop was closed before. */
static int unwatch(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_handle *h = nl_check(L, st, 1, NL_HANDLE, "a handle");
    int ended = neap_handle_cancel(h->handle) > 0;
    if (ended)
        (void)neap_loop_release(h->loop);
    nl_signals_back(st);
    lua_pushboolean(L, ended);
    return 1;
}

void nl_open_sigwatch(lua_State *L, nl_state *st) {
    static const luaL_Reg metas[] = {
        {"__tostring", stream_tostring}, {"__gc", nl_gc}, {"__close", stream_close}, {NULL, NULL}};
    static const luaL_Reg waits[] = {{"recv", stream_recv}, {NULL, NULL}};
    static const luaL_Reg calls[] = {{"__call", stream_recv}, {NULL, NULL}};
    static const luaL_Reg methods[] = {
        {"try_recv", stream_try_recv}, {"close", stream_close}, {NULL, NULL}};
    static const luaL_Reg functions[] = {{"signal", new_stream}, {NULL, NULL}};
    static const luaL_Reg parts[] = {{"watch", watch},
                                     {"unwatch", unwatch},
                                     {"number", number},
                                     {"name", name_of},
                                     {NULL, NULL}};
    nl_functions(L, st, functions);
    lua_newtable(L);
    nl_functions(L, st, parts);
    lua_setfield(L, -2, "signals");
    st->drops[NL_SIGNAL_STREAM] = drop;
    nl_class(L, st, NL_SIGNAL_STREAM, "neap.signal", methods, waits, metas);
    lua_rawgeti(L, LUA_REGISTRYINDEX, st->meta_ref[NL_SIGNAL_STREAM]);
    nl_waits(L, st, calls);
    lua_pop(L, 2);
}

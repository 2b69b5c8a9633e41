/* lsignal.c: SIGINT and SIGTERM during a run that asked for them: the first cancels the main task, the second ends the
   run at once.  For the command, a second one also ends a program that does not come back to its loop.

   A run that did not ask leaves an interrupt to the interpreter, whose handler sets a hook in the main coroutine.  The
   loop only sees to it that the hook gets its turn. */
#include "lneap.h"

#include <signal.h>
#include <string.h>

static const int watched[] = {SIGINT, SIGTERM};

/* Signals of the command that its loop has not seen yet. */
static volatile sig_atomic_t unseen;

/* The thread that runs a line of the prompt, or NULL.  An interrupt stops the line even if it never waits; then the loop
   hears of one that has done its work. */
static lua_State *volatile line_thread;
static volatile sig_atomic_t stopped;

static void stop_line(lua_State *L, lua_Debug *ar) {
    (void)ar;
    lua_sethook(L, NULL, 0, 0);
    stopped = 1;
    nl_push_cancelled(L, nl_state_of(L), "interrupted");
    lua_error(L);
}

/* What stop_line has not seen to, the loop does. */
static void drop_stop(void) {
    if (line_thread != NULL && lua_gethook(line_thread) == stop_line)
        lua_sethook(line_thread, NULL, 0, 0);
}

/* The command's own handler, called before the loop's.  A hook may be set at any time, as `lua` does. */
static void on_arrival(int signo) {
    lua_State *L = line_thread;
    if (++unseen < 2) {
        if (signo == SIGINT && L != NULL && L == nl_running_step.L)
            lua_sethook(L, stop_line, LUA_MASKCALL | LUA_MASKRET | LUA_MASKCOUNT, 1);
        return;
    }
    signal(signo, SIG_DFL);
    raise(signo);
}

static void on_signal(int32_t signo, void *user) {
    nl_signals *s = user;
    int first = s->st->signo == 0;
    unseen = 0;
    drop_stop();
    if (signo == SIGINT && stopped) {
        stopped = 0;
        return;
    }
    s->st->signo = signo;
    if (first)
        neap_task_cancel(s->task, signo == SIGINT ? "interrupted" : "terminated");
    else
        neap_loop_raise(s->loop, NL_RAISE_ABORT);
}

/* A signal that this program was told to ignore stays ignored. */
static int is_ignored(int signo) {
    struct sigaction now;
    return sigaction(signo, NULL, &now) == 0 && now.sa_handler == SIG_IGN;
}

static int is_handled(int signo) {
    struct sigaction now;
    return sigaction(signo, NULL, &now) == 0 && now.sa_handler != SIG_DFL &&
           now.sa_handler != SIG_IGN;
}

static int32_t watch(nl_signals *s, int i) {
    uint32_t flags = 0;
    if (is_ignored(watched[i]))
        return 0;
    if (s->last_resort) {
        struct sigaction ours;
        memset(&ours, 0, sizeof ours);
        ours.sa_handler = on_arrival;
        sigaction(watched[i], &ours, NULL);
        flags = NEAP_SIGNAL_CHAIN;
    }
    return neap_signal_watch(s->loop, watched[i], flags, on_signal, s, NULL, &s->watches[i]);
}

void nl_signals_on(lua_State *L, nl_signals *s) {
    s->st->signo = 0;
    unseen = 0;
    memset(s->watches, 0, sizeof s->watches);
    for (int i = 0; i < 2; i++) {
        int32_t code = watch(s, i);
        if (code < 0) {
            nl_signals_off(s);
            nl_throw_code(L, s->st, code);
        }
    }
}

void nl_signals_off(nl_signals *s) {
    for (int i = 0; i < 2; i++) {
        if (s->watches[i] == NULL)
            continue;
        neap_handle_cancel(s->watches[i]);
        neap_handle_unref(s->watches[i]);
        s->watches[i] = NULL;
        if (s->last_resort)
            signal(watched[i], SIG_DFL);
    }
}

/* For the command's prompt: what a cancellation of the main task means.  true: an interrupt, which is forgotten;
   false: the program is to end; nil: neither. */
static int interrupted(lua_State *L) {
    nl_state *st = NL_STATE(L);
    if (st->signo == SIGINT)
        lua_pushboolean(L, 1);
    else if (st->signo != 0 || st->exiting)
        lua_pushboolean(L, 0);
    else
        lua_pushnil(L);
    if (st->signo == SIGINT)
        st->signo = 0;
    return 1;
}

/* line(whether): a line of the prompt begins to run, or has ended. */
static int line(lua_State *L) {
    drop_stop();
    line_thread = lua_toboolean(L, 1) ? L : NULL;
    return 0;
}

const luaL_Reg nl_signal_calls[] = {{"interrupted", interrupted}, {"line", line}, {NULL, NULL}};

/* ---- Interrupts that are the interpreter's ---- */

static void on_interrupt(int32_t signo, void *user) {
    (void)signo;
    neap_loop_raise(user, NEAP_EINTR);
}

/* Until nl_interrupt_off, an interrupt ends the loop's runs with NEAP_EINTR, also one that arrives before the loop waits;
   the handler that is there does its work first.  NULL if there is none. */
neap_handle *nl_interrupt_on(neap_loop *loop) {
    neap_handle *watch = NULL;
    if (is_handled(SIGINT))
        neap_signal_watch(loop, SIGINT, NEAP_SIGNAL_CHAIN, on_interrupt, loop, NULL, &watch);
    return watch;
}

void nl_interrupt_off(neap_handle *watch) {
    if (watch == NULL)
        return;
    neap_handle_cancel(watch);
    neap_handle_unref(watch);
}

/* Lets a hook that a signal handler has set in the meantime raise its error, as the stock interpreter's does for an
   interrupt.  Answers 1 with the error on top, or 0. */
int nl_interrupted(lua_State *L, nl_state *st) {
    if (lua_gethook(L) == NULL)
        return 0;
    lua_rawgeti(L, LUA_REGISTRYINDEX, st->poke);
    return lua_pcall(L, 0, 0, 0) != LUA_OK;
}

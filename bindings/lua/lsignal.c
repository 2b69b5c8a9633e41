/* lsignal.c: SIGINT and SIGTERM during a run that asked for them: the first begins the shutdown, the second ends the graces.
   The first also starts a timer, which sends the second when the time of the shutdown is over.

   A program that does not come back to its loop hears of none: then the timer interrupts the Lua code that runs, and if
   that does not help, or at once when a person sends a second signal, the process is ended by the signal itself.

   A run that did not ask leaves an interrupt to the interpreter, whose handler sets a hook in the main coroutine.  The
   loop only sees to it that the hook gets its turn.

   Either keeps still about a signal that a script has taken (lsigwatch.c). */
#include "lneap.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid /* what the C library has no name for */
#endif

#define STOP_GRACE_DEFAULT ((int64_t)10000000000)

enum {
    MARGIN_MS = 1000 /* after the time of the shutdown, and between further signals of the timer */
};

static const int watched[NL_SIGNALS] = {SIGINT, SIGTERM};

/* The one run of the process whose signals have handlers of ours. */
static _Atomic(nl_signals *) in_charge;

/* Signals that its loop has not seen yet, and the last that came. */
static volatile sig_atomic_t unseen, arrived;

static int index_of(int signo) {
    for (int i = 0; i < NL_SIGNALS; i++)
        if (watched[i] == signo)
            return i;
    return -1;
}

static int is_taken(const nl_state *st, int signo) {
    return st->taken[index_of(signo)] > 0;
}

/* ---- The prompt ---- */

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

/* From the handler.  A hook may be set at any time, as `lua` does. */
static void interrupt_line(void) {
    lua_State *L = line_thread;
    if (L != NULL && L == nl_running_step.L)
        lua_sethook(L, stop_line, LUA_MASKCALL | LUA_MASKRET | LUA_MASKCOUNT, 1);
}

/* What a cancellation of the main task means.  true: an interrupt, which is forgotten; false: the program is to end; nil:
   neither. */
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
    nl_state *st = NL_STATE(L);
    drop_stop();
    line_thread = lua_toboolean(L, 1) ? L : NULL;
    if (st->signals != NULL)
        st->signals->prompting = 1;
    return 0;
}

const luaL_Reg nl_signal_calls[] = {{"interrupted", interrupted}, {"line", line}, {NULL, NULL}};

/* ---- In the handler ---- */

static void print(const char *text) {
    ssize_t written = write(STDERR_FILENO, text, strlen(text));
    (void)written;
}

static void print_number(uint64_t n) {
    char digits[24];
    size_t at = sizeof digits - 1;
    digits[at] = '\0';
    do
        digits[--at] = (char)('0' + n % 10);
    while ((n /= 10) > 0);
    print(digits + at);
}

/* Who does not let the loop have its turn. */
static void blame(const nl_task *t) {
    print("neap: the time for the shutdown is over, and ");
    if (t == NULL || t->o.future == NULL) {
        print("a callback");
    } else if (t->named) {
        print("task ");
        print(neap_task_name(nl_core_task(t)));
    } else {
        print("task-");
        print_number(neap_task_id(nl_core_task(t)));
    }
    print(" does not return to the loop\n");
}

static void die(int signo) {
    signal(signo, SIG_DFL);
    raise(signo);
}

static struct timespec from_ms(int ms) {
    struct timespec span = {ms / 1000, ms % 1000 * 1000000L};
    return span;
}

static void start_timer(nl_signals *s, int signo) {
    int ms = atomic_load(&s->end_ms);
    const struct itimerspec at = {from_ms(MARGIN_MS), from_ms(ms)};
    if (ms > 0)
        timer_settime(s->timers[signo == watched[0] ? 0 : 1], 0, &at, NULL);
}

/* On the loop's thread, where the timer sends its signals. */
static void time_is_over(nl_signals *s, int signo) {
    if (unseen == 2)
        nl_count_now(s->st);
    if (unseen < 3)
        return;
    blame(s->st->task);
    die(signo);
}

/* Called before the loop's own handler is through. */
static void on_arrival(int signo, siginfo_t *info, void *context) {
    nl_signals *s = atomic_load(&in_charge);
    int timed = info->si_code == SI_TIMER;
    (void)context;
    if (s != NULL && !timed && is_taken(s->st, signo))
        return;
    unseen++;
    arrived = signo;
    if (s == NULL)
        return;
    if (timed)
        time_is_over(s, signo);
    else if (unseen > 1)
        die(signo);
    else if (signo == SIGINT && s->prompting)
        interrupt_line();
    else if (!atomic_exchange(&s->timing, 1))
        start_timer(s, signo);
}

/* ---- In the loop ---- */

static void on_signal(int32_t signo, void *user) {
    nl_signals *s = user;
    nl_state *st = s->st;
    int again = st->signo != 0;
    if (is_taken(st, signo) && !atomic_load(&s->timing))
        return;
    unseen = 0;
    drop_stop();
    if (signo == SIGINT && stopped) {
        stopped = 0;
        return;
    }
    st->signo = signo;
    if (signo == SIGINT && s->prompting && !again)
        neap_task_cancel(s->main, "interrupted");
    else if (s->count++ == 0)
        nl_begin_shutdown(st, s->loop, signo == SIGINT ? "interrupted" : "terminated");
    else if (st->ending)
        neap_loop_raise(s->loop, NL_RAISE_ABORT);
}

/* ---- On and off ---- */

static void limit(nl_signals *s, int64_t stop_grace) {
    int64_t ns = stop_grace >= NL_NEVER || s->grace >= NL_NEVER ? NL_NEVER : stop_grace + s->grace;
    int64_t ms = ns / 1000000 + MARGIN_MS;
    atomic_store(&s->end_ms, ms > INT_MAX ? 0 : (int)ms);
}

/* Tasks will have time to end by themselves. */
void nl_signals_heard(nl_signals *s) {
    if (s->stop_grace < 0)
        limit(s, STOP_GRACE_DEFAULT);
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

/* Puts handler and timer in place; without a timer the rest works all the same. */
static int take(nl_signals *s, int i) {
    struct sigevent event;
    struct sigaction ours;
    memset(&event, 0, sizeof event);
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = watched[i];
    event.sigev_notify_thread_id = gettid();
    s->timed[i] = timer_create(CLOCK_MONOTONIC, &event, &s->timers[i]) == 0;
    if (!s->timed[i])
        return 0;
    memset(&ours, 0, sizeof ours);
    ours.sa_sigaction = on_arrival;
    ours.sa_flags = SA_SIGINFO | SA_RESTART;
    sigaction(watched[i], &ours, &s->before[i]);
    return 1;
}

static void give_back(nl_signals *s, int i) {
    if (!s->timed[i])
        return;
    timer_delete(s->timers[i]);
    sigaction(watched[i], &s->before[i], NULL);
    s->timed[i] = 0;
}

static int32_t watch(nl_signals *s, int i) {
    if (is_ignored(watched[i]))
        return 0;
    uint32_t flags = atomic_load(&in_charge) == s && take(s, i) ? NEAP_SIGNAL_CHAIN : 0;
    return neap_signal_watch(s->loop, watched[i], flags, on_signal, s, NULL, &s->watches[i]);
}

void nl_signals_on(lua_State *L, nl_signals *s) {
    nl_signals *nobody = NULL;
    if (atomic_compare_exchange_strong(&in_charge, &nobody, s))
        unseen = 0;
    limit(s, s->stop_grace > 0 ? s->stop_grace : 0);
    s->st->signals = s;
    for (int i = 0; i < NL_SIGNALS; i++) {
        int32_t code = watch(s, i);
        if (code < 0) {
            nl_signals_off(s);
            nl_throw_code(L, s->st, code);
        }
    }
}

/* Who was interrupted may have ended the run before its loop has seen the signal. */
void nl_signals_off(nl_signals *s) {
    s->st->signals = NULL;
    if (unseen > 0 && s->count == 0 && atomic_load(&in_charge) == s)
        s->st->signo = arrived;
    for (int i = 0; i < NL_SIGNALS; i++) {
        if (s->watches[i] != NULL) {
            neap_handle_cancel(s->watches[i]);
            neap_handle_unref(s->watches[i]);
            s->watches[i] = NULL;
        }
        give_back(s, i);
    }
    nl_signals *self = s;
    atomic_compare_exchange_strong(&in_charge, &self, NULL);
}

/* ---- Interrupts that are the interpreter's ---- */

static void on_interrupt(int32_t signo, void *user) {
    (void)signo;
    neap_loop_raise(user, NEAP_EINTR);
}

static void watch_interrupts(nl_state *st) {
    if (st->interruptible != NULL && st->interrupt == NULL && st->taken[0] == 0 &&
        is_handled(SIGINT))
        neap_signal_watch(st->interruptible, SIGINT, NEAP_SIGNAL_CHAIN, on_interrupt,
                          st->interruptible, NULL, &st->interrupt);
}

static void ignore_interrupts(nl_state *st) {
    neap_handle *watch = st->interrupt;
    st->interrupt = NULL;
    if (watch == NULL)
        return;
    neap_handle_cancel(watch);
    neap_handle_unref(watch);
}

/* Until nl_interrupt_off, an interrupt ends the loop's runs with NEAP_EINTR, also one that arrives before the loop waits;
   the handler that is there, if there is one, does its work first. */
void nl_interrupt_on(nl_state *st, neap_loop *loop) {
    st->interruptible = loop;
    watch_interrupts(st);
}

void nl_interrupt_off(nl_state *st) {
    ignore_interrupts(st);
    st->interruptible = NULL;
}

/* ---- Signals that a script takes ---- */

/* Neither the run nor the interpreter hears of it, until nl_signal_gone was called as often. */
void nl_signal_taken(nl_state *st, int signo) {
    int i = index_of(signo);
    if (i < 0)
        return;
    st->taken[i]++;
    if (signo == SIGINT)
        ignore_interrupts(st);
}

/* Also inside a destroy hook. */
void nl_signal_gone(nl_state *st, int signo) {
    int i = index_of(signo);
    if (i >= 0)
        st->taken[i]--;
}

/* After those that are gone: interrupts are the interpreter's again, if nobody else has them. */
void nl_signals_back(nl_state *st) {
    if (!st->closed)
        watch_interrupts(st);
}

/* Lets a hook that a signal handler has set in the meantime raise its error, as the stock interpreter's does for an
   interrupt.  Answers 1 with the error on top, or 0. */
int nl_interrupted(lua_State *L, nl_state *st) {
    if (lua_gethook(L) == NULL)
        return 0;
    lua_rawgeti(L, LUA_REGISTRYINDEX, st->poke);
    return lua_pcall(L, 0, 0, 0) != LUA_OK;
}

/* lsignal.c: SIGINT and SIGTERM during a run that asked for them: the first cancels the main task, the second ends the
   run at once.  For the command, a second one also ends a program that does not come back to its loop. */
#include "lneap.h"

#include <signal.h>
#include <string.h>

static const int watched[] = {SIGINT, SIGTERM};

/* Signals of the command that its loop has not seen yet. */
static volatile sig_atomic_t unseen;

/* The command's own handler, called before the loop's. */
static void on_arrival(int signo) {
    if (++unseen < 2)
        return;
    signal(signo, SIG_DFL);
    raise(signo);
}

static void on_signal(int32_t signo, void *user) {
    nl_signals *s = user;
    int first = s->st->signo == 0;
    unseen = 0;
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

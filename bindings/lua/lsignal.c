/* lsignal.c: SIGINT and SIGTERM during a run that asked for them: the first cancels the main task, the second ends the
   run at once. */
#include "lneap.h"

#include <signal.h>
#include <string.h>

static const int watched[] = {SIGINT, SIGTERM};

static void on_signal(int32_t signo, void *user) {
    nl_signals *s = user;
    if (s->st->signo == 0) {
        s->st->signo = signo;
        neap_task_cancel(s->task, signo == SIGINT ? "interrupted" : "terminated");
    } else {
        s->st->signo = signo;
        neap_loop_raise(s->loop, NL_RAISE_ABORT);
    }
}

void nl_signals_on(lua_State *L, nl_signals *s) {
    s->st->signo = 0;
    memset(s->watches, 0, sizeof s->watches);
    for (int i = 0; i < 2; i++) {
        int32_t code = neap_signal_watch(s->loop, watched[i], 0, on_signal, s, NULL, &s->watches[i]);
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
    }
}

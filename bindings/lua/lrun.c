/* lrun.c: run and exit.  A run makes or adopts a loop, runs the main task, then cancels what is left, closes the loop,
   and answers or raises what the main task did; each step happens even if the one before failed. */
#include "lneap.h"

#include <stdio.h>
#include <string.h>

#define GRACE_DEFAULT ((int64_t)5000000000)

typedef struct run {
    nl_state *st;
    nl_loop *l;
    int loop_at; /* stack index of the loop's userdata */
    int main_at; /* of the main task's */
    int patch;   /* let waits pass through coroutines */
    int signals;
    int command;
    int64_t stop_grace; /* ns; -1: that depends on who listens */
    int control;
    int64_t grace;
    int32_t code; /* how the loop ended */
    int raised;   /* stack index of the error of an interrupt, or 0 */
    nl_signals watch;
} run;

/* ---- Options ---- */

static const char *const option_names[] = {"n",          "debug",   "signals", "virtual",
                                           "backend",    "name",    "grace",   "stop_grace",
                                           "coroutines", "control", NULL};

static int has_field(lua_State *L, int at, const char *name) {
    lua_getfield(L, at, name);
    int there = !lua_isnil(L, -1);
    lua_pop(L, 1);
    return there;
}

static int is_true(lua_State *L, int at, const char *name) {
    lua_getfield(L, at, name);
    int truth = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return truth;
}

static int64_t span(lua_State *L, int at, const char *name, int64_t otherwise) {
    lua_getfield(L, at, name);
    int64_t ns = lua_isnil(L, -1) ? otherwise : nl_seconds(L, lua_gettop(L));
    lua_pop(L, 1);
    return ns;
}

static void read_options(lua_State *L, run *r, int at) {
    nl_check_options(L, r->st, at, option_names);
    r->signals = is_true(L, at, "signals");
    if (has_field(L, at, "control"))
        r->control = is_true(L, at, "control");
    if (has_field(L, at, "coroutines"))
        r->patch = is_true(L, at, "coroutines");
    r->stop_grace = span(L, at, "stop_grace", -1);
    r->grace = span(L, at, "grace", GRACE_DEFAULT);
}

/* ---- The loop of the run ---- */

static int can_adopt(lua_State *L, nl_state *st, int options) {
    nl_loop *l = st->loop;
    if (l == NULL || neap_loop_is_closed(l->loop))
        return 0;
    return options == 0 || !(is_true(L, options, "virtual") || has_field(L, options, "backend") ||
                             has_field(L, options, "name"));
}

/* Puts the loop's userdata at loop_at. */
static void choose_loop(lua_State *L, run *r, int options) {
    if (can_adopt(L, r->st, options)) {
        r->l = r->st->loop;
        nl_push_loop(L, r->l);
    } else {
        r->l = nl_make_loop(L, r->st, options);
    }
    lua_replace(L, r->loop_at);
    if (options != 0 && is_true(L, options, "debug"))
        neap_loop_debug(r->l->loop, 1);
}

static void refuse(lua_State *L, nl_state *st) {
    int host_runs = st->loop != NULL && neap_loop_is_running(st->loop->loop);
    if (st->running != NULL || st->task != NULL || host_runs)
        nl_throw_code(L, st, NEAP_ELOOP_RUNNING);
}

/* Reads the arguments, makes loop and main task. */
static void prepare(lua_State *L, run *r) {
    static const nl_spawning how = {"main", 0, NULL, 0, 0};
    nl_state *st = r->st;
    r->patch = 1;
    r->stop_grace = -1;
    r->control = nl_control_wanted();
    r->grace = GRACE_DEFAULT;
    refuse(L, st);
    lua_settop(L, lua_gettop(L) > 0 ? lua_gettop(L) : 1);
    r->main_at = nl_expand_options(L, st, 1, 1);
    int options = r->main_at > 1;
    if (options) {
        read_options(L, r, 1);
    } else {
        lua_pushnil(L);
        lua_insert(L, 1);
        r->main_at = 2;
    }
    r->loop_at = r->main_at - 1;
    nl_check_body(L, st, r->main_at);
    choose_loop(L, r, options ? 1 : 0);
    nl_spawn(L, st, r->l, r->main_at, &how);
    if (r->control)
        nl_control_start(L, st, r->l);
}

/* ---- The run ---- */

/* The main task's future; one that has ended may have let go of it. */
static neap_future *main_future(lua_State *L, const run *r) {
    return nl_check_future(L, r->st, r->main_at);
}

/* Between the steps of the shutdown: who runs on after the last grace is interrupted. */
static void on_step(neap_loop *loop, const neap_shutdown_step *step, void *user) {
    run *r = user;
    if (step->step == NEAP_SHUTDOWN_STOP)
        nl_overtime(r->st, step->limit_ns, r->grace);
    else if (step->step == NEAP_SHUTDOWN_CANCEL)
        nl_overtime(r->st, step->limit_ns, 0);
    else if (step->step == NEAP_SHUTDOWN_ABORT)
        nl_overtime(r->st, NL_CLOSING_NS, 0);
    else if (step->step == NEAP_SHUTDOWN_WAITING && r->command && r->st->signo != 0)
        fprintf(stderr, "neap: %s%s%s\n", r->st->worker != NULL ? neap_loop_name(loop) : "",
                r->st->worker != NULL ? ": " : "", step->text);
}

static int32_t found(neap_task *task, void *user) {
    (void)task;
    (void)user;
    return 1;
}

/* As the core's options say it.  When the main task has ended by itself, the others have no time to do so unless the
   run's options say so. */
static int64_t stop_grace(const run *r) {
    if (r->stop_grace > 0)
        return r->stop_grace;
    return r->stop_grace < 0 && neap_loop_shutting_down(r->l->loop) > 0 ? 0 : -1;
}

/* Ends all tasks, the main one if it goes on, too. */
static void shut_down(run *r, neap_future *future) {
    nl_state *st = r->st;
    neap_loop *loop = r->l->loop;
    neap_shutdown_options o = {.size = sizeof o,
                               .stop_grace_ns = stop_grace(r),
                               .grace_ns = r->grace > 0 ? r->grace : -1,
                               .fn = on_step,
                               .user = r};
    if (r->code == NL_RAISE_SHUTDOWN && !neap_future_done(future))
        o.first = neap_future_task(future);
    st->ending = 1;
    if (st->heard || neap_task_walk(loop, found, NULL) > 0)
        nl_overtime_begin(st, loop);
    neap_loop_shutdown_with(loop, &o);
    nl_tidy(st);
    st->ending = 0;
}

/* In a host's loop, whose other tasks are the host's to end. */
static void cancel_main(lua_State *L, run *r, neap_future *future) {
    if (r->code != NL_RAISE_SHUTDOWN)
        return;
    r->st->ending = 1;
    neap_future_cancel(future, NULL);
    r->code = nl_run_loop(L, r->l, future, 0);
    r->st->ending = 0;
}

/* Runs the main task to its end and cleans up behind it. */
static void drive(lua_State *L, run *r) {
    nl_state *st = r->st;
    nl_run_begin(L, r->l, r->loop_at, r->patch);
    neap_future *future = neap_future_ref(main_future(L, r));
    st->in_main = 1;
    r->code = nl_run_loop(L, r->l, future, !r->signals && st->worker == NULL);
    st->in_main = 0;
    r->raised = r->code == NEAP_EINTR ? lua_gettop(L) : 0;
    if (r->l->attached)
        cancel_main(L, r, future);
    else
        shut_down(r, future);
    if (!r->l->attached)
        nl_drain_standard(L, r->l);
    nl_tidy(st);
    nl_overtime_end(st, r->l->loop);
    if (r->signals)
        nl_signals_off(&r->watch);
    neap_future_unref(future);
    if (st->exiting)
        r->code = NL_RAISE_EXIT;
    st->exiting = 0;
    nl_run_end(L, r->l, r->patch);
}

/* Pushes the values of the main task, or its error; answers how many values, or -1; -2 if it did not come to an end. */
static int push_outcome(lua_State *L, run *r) {
    if (r->raised != 0) {
        lua_pushvalue(L, r->raised);
        return -1;
    }
    if (r->code < 0)
        return -2;
    if (r->code == NL_RAISE_EXIT) {
        lua_pushinteger(L, r->st->exit_status);
        return 1;
    }
    int n = nl_push_own_outcome(L, r->st, r->main_at);
    if (n >= 0 || !nl_is_cancelled(L, r->st, -1))
        return n;
    if (r->st->signo == 0 && r->code == NL_RAISE_SHUTDOWN) {
        lua_pop(L, 1); /* the program has asked for its end */
        return 0;
    }
    if (r->st->signo != 0) {
        lua_pushinteger(L, r->st->signo);
        lua_setfield(L, -2, "signal");
    }
    return n;
}

static void start(lua_State *L, run *r, int command) {
    memset(r, 0, sizeof *r);
    r->st = NL_STATE(L);
    prepare(L, r);
    r->command = command;
    r->st->signo = 0;
    r->st->heard = 0;
    if (r->signals) {
        r->watch.st = r->st;
        r->watch.loop = r->l->loop;
        r->watch.main = neap_future_task(main_future(L, r));
        r->watch.stop_grace = r->stop_grace;
        r->watch.grace = r->grace;
        nl_signals_on(L, &r->watch);
    }
    if (command && r->st->worker != NULL)
        nl_worker_begins(L, r->st, r->l, main_future(L, r));
}

static int lua_run(lua_State *L) {
    run r;
    start(L, &r, 0);
    drive(L, &r);
    int n = push_outcome(L, &r);
    if (!r.l->attached)
        nl_close_loop(L, r.l, r.loop_at);
    if (n == -2)
        return nl_run_answer(L, r.st, r.code);
    return n < 0 ? lua_error(L) : n;
}

/* ---- For the command ---- */

/* As run; answers "exit" and a status, "signal" and a number, "error", the error and its traceback, or "done". */
static int run_command(lua_State *L) {
    run r;
    start(L, &r, 1);
    drive(L, &r);
    if (r.st->worker != NULL)
        nl_worker_ends(r.st->worker);
    int n = push_outcome(L, &r), at = lua_gettop(L);
    nl_getslot(L, r.main_at, NL_LINK);
    if (lua_istable(L, -1))
        lua_getfield(L, -1, "traceback");
    if (!r.l->attached)
        nl_close_loop(L, r.l, r.loop_at);
    if (r.code == NL_RAISE_EXIT) {
        lua_pushliteral(L, "exit");
        lua_pushvalue(L, at);
        return 2;
    }
    int hastened = r.watch.count > 1;
    if (r.st->signo != 0 && (n < 0 ? nl_is_cancelled(L, r.st, at) : hastened)) {
        lua_pushliteral(L, "signal");
        lua_pushinteger(L, r.st->signo);
        return 2;
    }
    if (n == -2)
        return nl_run_answer(L, r.st, r.code);
    if (n >= 0) {
        lua_pushliteral(L, "done");
        return 1;
    }
    lua_pushliteral(L, "error");
    lua_pushvalue(L, at);
    lua_pushvalue(L, -3);
    return 3;
}

/* ---- exit ---- */

nl_loop *nl_running_loop(nl_state *st) {
    if (st->running != NULL)
        return st->running;
    return st->loop != NULL && neap_loop_is_running(st->loop->loop) ? st->loop : NULL;
}

static int exit_end(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_woken(L, st);
    return nl_throw_code(L, st, NEAP_ECANCELED);
}

/* Ends the run with a status after its clean-up, or gives the clean-up that status.  The calling task does not go on. */
static int lua_exit(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_loop *l = nl_running_loop(st);
    int status = lua_isboolean(L, 1) ? !lua_toboolean(L, 1) : (int)luaL_optinteger(L, 1, 0);
    if (l == NULL)
        nl_throw_code(L, st, NEAP_ENO_LOOP);
    if (!st->ending)
        nl_check_code(L, st, neap_loop_raise(l->loop, NL_RAISE_EXIT));
    st->exit_status = status;
    st->exiting = 1;
    if (st->task == NULL) {
        nl_push_cancelled(L, st, "the program exits");
        return lua_error(L);
    }
    nl_check_wait(L, st);
    st->task->exiting = 1;
    return nl_park_tick(L, st, exit_end);
}

/* ---- The module ---- */

/* neap/init.lua has put everything in its place. */
static int wired(lua_State *L) {
    nl_state *st = NL_STATE(L);
    if (!st->wired && st->loop != NULL && st->loop->attached)
        nl_patch(L, st);
    st->wired = 1;
    return 0;
}

/* For neap/wrap.lua: the second half of a suspended function: what it kept, and which. */
static int resumed(lua_State *L) {
    nl_cont k = (nl_cont)lua_touserdata(L, 2);
    lua_settop(L, 1);
    return k(L);
}

void nl_open_run(lua_State *L, nl_state *st) {
    static const luaL_Reg functions[] = {{"run", lua_run},         {"run_command", run_command},
                                         {"wired", wired},         {"resumed", resumed},
                                         {"trace", nl_trace_here}, {NULL, NULL}};
    static const luaL_Reg waits[] = {{"exit", lua_exit}, {NULL, NULL}};
    nl_functions(L, st, functions);
    nl_functions(L, st, nl_signal_calls);
    nl_waits(L, st, waits);
    lua_pushlightuserdata(L, NL_TOKEN);
    lua_setfield(L, -2, "token");
}

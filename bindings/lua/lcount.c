/* lcount.c: the hook that engines call after so many instructions.  It takes tasks off that have a slice of time and had it,
   and interrupts who runs on when the grace of a shutdown is over: the loop, which would do so, does not get its turn.

   Where each thread has a hook of its own, those that a thread makes begin with the same; where all have one (LuaJIT), it is
   called by interpreted code only.  A hook of somebody else's, a debugger's, is left alone. */
#include "lneap.h"

#include <stdlib.h>

enum {
    EVERY = 1000,          /* instructions */
    OVERTIME_NS = 50000000 /* so that the loop, where it turns, is first */
};

struct nl_slice {
    int64_t ns;
    int64_t began; /* when the hook saw the step first, in ns of the system's clock */
    uint64_t step; /* its number */
};

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* ---- The hook ---- */

static void on_count(lua_State *L, lua_Debug *ar);

static void put(lua_State *co) {
    if (lua_gethook(co) == NULL)
        lua_sethook(co, on_count, LUA_MASKCOUNT, EVERY);
}

/* Gives the thread, which is about to run, the hook if it needs it. */
void nl_count_in(const nl_state *st, lua_State *co) {
    if (st->overtime != 0 || (st->task != NULL && st->task->slice != NULL))
        put(co);
}

/* The thread has ended.  The engine's only hook stays. */
void nl_count_end(lua_State *co) {
    if (NL_OWN_HOOKS && lua_gethook(co) == on_count)
        lua_sethook(co, NULL, 0, 0);
}

/* From a signal handler on the loop's thread, as the stock interpreter does it: interrupts what runs now. */
void nl_count_now(nl_state *st) {
    lua_State *L = st->chain != NULL ? st->chain->inner : st->task != NULL ? st->task->co.L : st->R;
    st->counts = 1;
    st->overtime = 1;
    if (L != NULL)
        lua_sethook(L, on_count, LUA_MASKCOUNT, 1);
}

/* ---- Interrupting ---- */

/* Who runs on in so many ns, and those, is interrupted. */
void nl_overtime(nl_state *st, int64_t ns, int64_t more) {
    int never = ns >= NL_NEVER || more >= NL_NEVER;
    if (st->overtime != 0)
        st->overtime = never ? INT64_MAX : now_ns() + ns + more + OVERTIME_NS;
}

/* Who hears of it has time to do so. */
static void report(nl_state *st, nl_task *t) {
    int64_t due = st->overtime;
    neap_loop *loop = neap_future_loop(t->o.future);
    neap_report r = {.size = sizeof r,
                     .kind = NEAP_REPORT_ABORTED,
                     .code = NEAP_ETIMEOUT,
                     .message = "the task ran on after its grace and was interrupted",
                     .task = nl_core_task(t),
                     .future = t->o.future};
    nl_loop *l = nl_find_loop(st, loop);
    nl_overtime(st, NL_CLOSING_NS, 0);
    if (l != NULL)
        nl_report(loop, &r, l);
    st->overtime = due;
}

/* Who catches the error is interrupted again, and so are the resumers of who does not. */
static int interrupt(lua_State *L, nl_state *st) {
    nl_task *t = st->task;
    for (nl_link *link = st->chain; link != NULL; link = link->up)
        put(link->outer);
    if (t != NULL && !t->interrupted) {
        t->interrupted = 1;
        report(st, t);
        nl_back(L);
    }
    nl_push_cancelled(L, st, "interrupted: its grace is over");
    return lua_error(L);
}

/* ---- Slices ---- */

static int is_over(nl_task *t) {
    nl_slice *slice = t->slice;
    uint64_t step = neap_task_steps(nl_core_task(t));
    int64_t now = now_ns();
    if (slice->step != step) {
        slice->step = step;
        slice->began = now;
    }
    return now - slice->began >= slice->ns;
}

static void on_count(lua_State *L, lua_Debug *ar) {
    nl_state *st = nl_state_of(L);
    nl_task *t = st->task;
    (void)ar;
    if (st->overtime != 0 && now_ns() >= st->overtime)
        interrupt(L, st);
    else if (t != NULL && t->slice != NULL && t->wait.mode == NL_WAIT_NOT && nl_can_wait(L, st) &&
             is_over(t))
        nl_take_off(L, st);
}

/* Raises where tasks cannot be taken off. */
void nl_check_slice(lua_State *L, nl_state *st) {
    if (!NL_CAN_SLICE)
        nl_throw(L, st, NEAP_ENOTSUP,
                 "this engine cannot take a task off in the middle of a function "
                 "(call neap.yield now and then)");
}

/* Steps of the task, which has not ended, last about so long; ns < 0: as long as they like. */
void nl_set_slice(lua_State *L, nl_task *t, int64_t ns) {
    nl_state *st = t->o.node.st;
    if (ns < 0) {
        free(t->slice);
        t->slice = NULL;
        return;
    }
    if (t->slice == NULL)
        t->slice = nl_alloc(L, sizeof *t->slice);
    t->slice->ns = ns;
    st->counts = 1;
    put(t->co.L);
}

/* ---- Shutdowns ---- */

static int32_t begin_in(neap_task *task, void *user) {
    nl_state *st = user;
    if (neap_task_get_ops(task) != &nl_task_ops)
        return 0;
    nl_task *t = neap_task_user(task);
    if (t->o.node.st == st && t->co.L != NULL)
        put(t->co.L);
    return 0;
}

static int32_t end_in(neap_task *task, void *user) {
    nl_task *t = neap_task_user(task);
    if (neap_task_get_ops(task) == &nl_task_ops && t->o.node.st == user && t->co.L != NULL &&
        t->slice == NULL)
        nl_count_end(t->co.L);
    return 0;
}

/* From now on nl_overtime counts. */
void nl_overtime_begin(nl_state *st, neap_loop *loop) {
    st->compiles = nl_interpret(st->R) != 0;
    st->overtime = INT64_MAX;
    st->counts = 1;
    put(st->R);
    neap_task_walk(loop, begin_in, st);
}

void nl_overtime_end(nl_state *st, neap_loop *loop) {
    if (st->overtime == 0)
        return;
    st->overtime = 0;
    neap_task_walk(loop, end_in, st);
    if (lua_gethook(st->R) == on_count)
        lua_sethook(st->R, NULL, 0, 0);
    if (st->compiles)
        nl_compile(st->R);
    st->compiles = 0;
}

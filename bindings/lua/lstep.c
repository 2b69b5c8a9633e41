/* lstep.c: the step function of Lua tasks: resumes the coroutine and tells the core how that ended. */
#include "lneap.h"

#include <stdlib.h>

_Thread_local nl_here nl_running_step;

/* ---- The end of a task ---- */

static void finish_values(lua_State *L, nl_state *st, void *arg) {
    nl_task *t = arg;
    int n = t->nargs;
    nl_anchored(L, t->o.node.ref);
    luaL_checkstack(L, n, "too many results");
    lua_xmove(t->co.L, L, n);
    nl_settle(L, st, &t->o, 1, 2, n);
}

/* The value on top of the thread stays with the userdata when the core's task goes. */
static void leave_value(nl_state *st, nl_task *t) {
    nl_anchored(st->R, t->o.node.ref);
    lua_pushvalue(t->co.L, -1);
    lua_xmove(t->co.L, st->R, 1);
    nl_setslot(st->R, -2, NL_VALUE);
    lua_pop(st->R, 1);
    if ((t->o.node.flags & NL_SHARED) == 0)
        t->o.node.form = NL_ONE;
}

static int32_t end_values(nl_task *t, int n) {
    nl_state *st = t->o.node.st;
    int32_t code = 0;
    if (n == 1 && nl_settle_plain(t->co.L, t->o.future, lua_gettop(t->co.L), &code)) {
        if (code >= 0)
            leave_value(st, t);
        else
            neap_future_set_error(t->o.future, code, NULL);
    } else if (n > 0) { /* without values the core's task needs no outcome but its end */
        t->nargs = n;
        if (nl_enter(st, finish_values, t) != LUA_OK) {
            neap_future_set_error(t->o.future, NEAP_ENOMEM, NULL);
            lua_pop(st->R, 1);
        }
    }
    nl_thread_give(t, 1);
    return NEAP_STEP_DONE;
}

/* An error object gets the traceback of the first task that it ended. */
static void add_traceback(lua_State *L, nl_state *st, int error, int record) {
    if (nl_error_code(L, st, error) == NEAP_EFOREIGN)
        return;
    lua_getfield(L, error, "traceback");
    if (lua_isnil(L, -1)) {
        lua_getfield(L, record, "traceback");
        lua_setfield(L, error, "traceback");
    }
    lua_pop(L, 1);
}

typedef struct failing {
    nl_task *t;
    int32_t step;
} failing;

/* Pushes the record of the failure: the message handler has made it, where there is one. */
static void push_record(lua_State *L, nl_task *t) {
    nl_getslot(L, 1, NL_VALUE);
    if (lua_istable(L, -1)) {
        lua_getfield(L, -1, "stack");
        int made = lua_istable(L, -1);
        lua_pop(L, 1);
        if (made)
            return;
    }
    lua_pop(L, 1);
    nl_record_failure(L, t, t->co.L, 0, 2);
    nl_getslot(L, 1, NL_VALUE);
}

/* The error is on top of the thread. */
static void finish_error(lua_State *L, nl_state *st, void *arg) {
    failing *f = arg;
    nl_task *t = f->t;
    nl_anchored(L, t->o.node.ref);
    lua_xmove(t->co.L, L, 1);
    push_record(L, t);
    nl_thread_give(t, lua_status(t->co.L) == LUA_OK || nl_reset(t->co.L));
    lua_pushvalue(L, 3);
    nl_setslot(L, 1, NL_LINK);
    if (neap_task_scope(nl_core_task(t)) != NULL)
        nl_share(L, st, 1); /* a group may keep the failure */
    nl_keep(L, t, t->o.future, 1);
    if (nl_is_cancelled(L, st, 2)) {
        f->step = NEAP_STEP_CANCELLED;
    } else {
        add_traceback(L, st, 2, 3);
        nl_settle_error(L, st, 1, 2);
        nl_note_failure(L, &t->o, 1);
    }
}

static int32_t end_error(nl_task *t) {
    nl_state *st = t->o.node.st;
    failing f = {t, NEAP_STEP_DONE};
    if (nl_enter(st, finish_error, &f) != LUA_OK) {
        lua_pop(st->R, 1);
        neap_future_set_error(t->o.future, NEAP_ENOMEM, NULL);
        if (t->co.L != NULL)
            nl_thread_give(t, 0);
    }
    return f.step;
}

static int32_t ended(nl_task *t, int status, int nres) {
    lua_State *co = t->co.L;
    nl_wait_end(t);
    t->ended = 1;
    if (status == LUA_OK && nres == 2 && lua_touserdata(co, -2) == NL_FAILURE)
        status = LUA_ERRRUN;
    return status == LUA_OK ? end_values(t, nres) : end_error(t);
}

/* ---- A suspension ---- */

/* Whether a yield of nres values is the wait that the running task began: from there to its yield no script runs. */
int nl_is_wait(nl_state *st, int nres) {
    nl_task *t = st->task;
    return nres == 0 && t != NULL && t->wait.mode != NL_WAIT_NOT && !t->wait.woken;
}

/* The core did not take the wait: that is raised in the next tick. */
static int32_t refused(nl_task *t, int32_t code) {
    t->wait.error = code;
    if (t->wait.future != NULL && !t->wait.owned) {
        neap_future_ref(t->wait.future);
        t->wait.owned = 1;
    }
    return NEAP_STEP_YIELD;
}

static int32_t fall_asleep(neap_task *task, nl_task *t) {
    int64_t delay = t->wait.delay;
    t->wait.delay = 0; /* and so no future */
    int32_t code = neap_task_sleep(task, delay);
    return code >= 0 ? NEAP_STEP_AWAIT : refused(t, code);
}

static int32_t suspended(neap_task *task, nl_task *t) {
    if (t->wait.mode == NL_WAIT_FUTURE) {
        int32_t code = neap_task_await(task, t->wait.future);
        return code >= 0 ? NEAP_STEP_AWAIT : refused(t, code);
    }
    if (t->wait.mode == NL_WAIT_SLEEP)
        return fall_asleep(task, t);
    if (t->wait.mode == NL_WAIT_SLICE)
        return NEAP_STEP_PREEMPT;
    nl_note_spent(t);
    return NEAP_STEP_YIELD;
}

/* ---- The step ---- */

static int32_t step(neap_task *task, neap_future *awaited, int32_t wake, void *user) {
    nl_task *t = user;
    nl_state *st = t->o.node.st;
    (void)awaited;
    if (st->closed || t->co.L == NULL)
        return NEAP_STEP_CANCELLED;
    if (st->dead != NULL || st->failed != NULL)
        nl_tidy(st);
    if ((wake == NEAP_WAKE_CANCEL && !t->started) || t->exiting)
        return NEAP_STEP_CANCELLED;
    t->started = 1;
    t->wait.woken = 1;
    t->wait.wake = (uint8_t)wake;
    if (t->wait.mode >= NL_WAIT_RAW)
        nl_raw_wake(t);
    nl_task *outer = st->task;
    nl_link *chain = st->chain;
    nl_here here = nl_running_step;
    int nres = 0, nargs = t->nargs;
    t->nargs = 0;
    t->credit = NL_CREDIT;
    st->task = t;
    st->chain = NULL;
    nl_running_step = (nl_here){t->co.L, st};
    int status = nl_resume(t->co.L, st->R, nargs, &nres);
    int waits = status == LUA_YIELD && nl_is_wait(st, nres);
    st->task = outer;
    st->chain = chain;
    nl_running_step = here;
    nl_takeback(st);
    if (status != LUA_YIELD)
        return ended(t, status, nres);
    return waits ? suspended(task, t) : nl_raw_yield(task, t, nres);
}

/* ---- The core lets go ---- */

/* Closes what was handed to a task that never started, in a protected call each. */
static void close_owned(lua_State *L, nl_state *st, nl_task *t) {
    nl_anchored(L, t->owns);
    nl_unanchor(st, t->owns);
    t->owns = LUA_NOREF;
    int list = lua_gettop(L);
    for (int i = 1; i <= (int)lua_rawlen(L, list); i++) {
        lua_rawgeti(L, list, i);
        if (!luaL_getmetafield(L, -1, "__close"))
            lua_getfield(L, -1, "close");
        lua_insert(L, -2);
        if (lua_pcall(L, 1, 0, 0) != LUA_OK)
            lua_pop(L, 1);
    }
    lua_settop(L, list - 1);
}

static void bury(lua_State *L, nl_state *st, void *arg) {
    nl_task *t = arg;
    if (t->owns >= 0 && !t->started)
        close_owned(L, st, t);
    if (t->co.L != NULL)
        nl_thread_give(t, nl_reset(t->co.L));
    if (t->o.future == NULL || (t->o.node.flags & NL_KEPT))
        return;
    nl_anchored(L, t->o.node.ref);
    nl_keep(L, t, t->o.future, lua_gettop(L));
}

static void let_go(nl_task *t) {
    nl_unanchor(t->o.node.st, t->owns);
    t->owns = LUA_NOREF;
    nl_release(&t->o);
}

/* Closes the Lua side of tasks that did not end with values, and gives them their keepers.  Those that find no memory for it
   have to wait. */
void nl_bury(nl_state *st) {
    nl_task *task = st->task;
    nl_object *left = st->dead;
    st->dead = NULL;
    st->task = NULL;
    while (left != NULL) {
        nl_task *t = (nl_task *)left;
        left = t->o.queued;
        if (nl_enter(st, bury, t) == LUA_OK) {
            let_go(t);
        } else {
            lua_pop(st->R, 1);
            t->o.queued = st->dead;
            st->dead = &t->o;
        }
    }
    st->task = task;
}

/* Whether nothing but its values is left to know of a task. */
static int is_plain_end(const nl_task *t) {
    return t->ended && (t->o.node.flags & NL_SHARED) == 0 &&
           neap_future_state(t->o.future) == NEAP_STATE_RESULT;
}

static void end_plainly(nl_task *t) {
    neap_task *task = nl_core_task(t);
    t->o.future = NULL;
    t->past.id = neap_task_id(task);
    t->past.loop = neap_future_loop(neap_task_future(task));
    let_go(t);
    neap_task_unref(task);
}

/* Called from inside the core: no Lua runs here. */
static void destroy(void *user) {
    nl_task *t = user;
    nl_state *st = t->o.node.st;
    nl_wait_end(t);
    free(t->slice);
    t->slice = NULL;
    if (!st->closed && is_plain_end(t)) {
        end_plainly(t);
    } else if (!st->closed && (t->o.node.flags & NL_KEPT)) {
        let_go(t);
    } else {
        t->ended = 1;
        t->o.queued = st->dead;
        st->dead = st->closed ? NULL : &t->o;
    }
}

const neap_task_ops nl_task_ops = {sizeof nl_task_ops, step,          nl_write_where, destroy,
                                   nl_write_site,      nl_write_stack};

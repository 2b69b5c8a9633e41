/* lpark.c: suspending.  A waiting function checks that every coroutine up to the task can be suspended, notes in the
   task what it waits for, and yields no values; the task's step hands the wait to the core. */
#include "lneap.h"

#include <string.h>

/* ---- May we wait here? ---- */

/* The name under which the module at `module` has the function at `fn`. */
static int push_field_name(lua_State *L, int module, int fn) {
    for (lua_pushnil(L); lua_next(L, module); lua_pop(L, 1)) {
        if (lua_type(L, -2) == LUA_TSTRING && lua_rawequal(L, -1, fn)) {
            lua_pop(L, 1);
            return 1;
        }
    }
    return 0;
}

/* The name under which a loaded module has the function at `fn`, as "table.sort": of several, the plainest. */
static int push_global_name(lua_State *L, int fn) {
    lua_getfield(L, LUA_REGISTRYINDEX, "_LOADED");
    int loaded = lua_gettop(L);
    lua_getfield(L, loaded, "_G");
    if (lua_istable(L, -1) && push_field_name(L, loaded + 1, fn))
        return 1;
    lua_settop(L, loaded);
    lua_pushnil(L);
    lua_pushnil(L); /* at loaded + 1: the best so far */
    for (; lua_next(L, loaded); lua_pop(L, 1)) {
        if (!lua_istable(L, -1) || lua_type(L, -2) != LUA_TSTRING)
            continue;
        const char *module = lua_tostring(L, -2);
        if (!push_field_name(L, lua_gettop(L), fn))
            continue;
        lua_pushfstring(L, "%s.%s", module, lua_tostring(L, -1));
        if (lua_isnil(L, loaded + 1) || lua_rawlen(L, -1) < lua_rawlen(L, loaded + 1))
            lua_replace(L, loaded + 1);
        else
            lua_pop(L, 1);
        lua_pop(L, 1);
    }
    return !lua_isnil(L, loaded + 1);
}

/* The name of a function of the engine that the run has replaced. */
static int push_replaced_name(lua_State *L, nl_state *st, int fn) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, st->patched);
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        if (lua_rawequal(L, -1, fn)) {
            lua_pushvalue(L, -2);
            return 1;
        }
    }
    return 0;
}

/* Whether the function on top lets waits through: one of ours, pcall and the like.  Where the frames have to tell whether a
   thread can be suspended one of ours is none: it calls nothing but the message handler of its error. */
static int is_passer(lua_State *L, nl_state *st) {
    lua_CFunction fn = lua_tocfunction(L, -1);
    if (fn != NULL && (fn == nl_wrap_call || fn == nl_body_bottom))
        return 1;
    lua_rawgeti(L, LUA_REGISTRYINDEX, st->passers);
    lua_pushvalue(L, -2);
    lua_rawget(L, -2);
    int found = NL_FRAMES_TELL ? lua_isboolean(L, -1) : lua_toboolean(L, -1);
    lua_pop(L, 2);
    return found;
}

/* Names the C function on top, which runs at this level of the thread. */
static const char *name_c(lua_State *L, nl_state *st, lua_State *at, int level,
                          const lua_Debug *ar) {
    lua_Debug caller;
    int fn = lua_gettop(L);
    if (push_global_name(L, fn) || push_replaced_name(L, st, fn))
        return lua_pushfstring(L, "'%s'", lua_tostring(L, -1));
    if (ar->name != NULL && strcmp(ar->namewhat, "for iterator") != 0)
        return lua_pushfstring(L, "'%s'", ar->name);
    if (lua_getstack(at, level + 1, &caller) && lua_getinfo(at, "Sl", &caller) &&
        caller.currentline > 0)
        return lua_pushfstring(L, "a C function called at %s:%d", caller.short_src,
                               caller.currentline);
    return "a C function";
}

/* What of the thread cannot be suspended, from inside: a C function, or what the engine calls by itself. */
static const char *blame(lua_State *L, nl_state *st, lua_State *at) {
    lua_Debug ar;
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    for (int level = 1; lua_getstack(at, level, &ar); level++) { /* at 0 ours waits or resumes */
        lua_getinfo(at, "Snf", &ar);
        if (at != L)
            lua_xmove(at, L, 1);
        if (*ar.what == 'C' && !is_passer(L, st))
            return name_c(L, st, at, level, &ar);
        lua_pop(L, 1);
        if (strcmp(ar.namewhat, "hook") == 0)
            return "a hook";
        if (ar.name != NULL && strcmp(ar.name, "__gc") == 0)
            return "a finalizer";
    }
    return NL_UNSUSPENDABLE;
}

/* Whether no C function of the thread is known to be in the way. */
static int is_clear(lua_State *L, nl_state *st, lua_State *at) {
    lua_Debug ar;
    for (int level = 1; lua_getstack(at, level, &ar); level++) {
        lua_getinfo(at, "Sf", &ar);
        if (at != L)
            lua_xmove(at, L, 1);
        int blocks = *ar.what == 'C' && !is_passer(L, st);
        lua_pop(L, 1);
        if (blocks)
            return 0;
    }
    return 1;
}

static int can_suspend(lua_State *L, nl_state *st, lua_State *at) {
    return NL_FRAMES_TELL ? is_clear(L, st, at) : nl_isyieldable(L, at);
}

static const char *cure_for(const char *name) {
    if (NL_PROTECTS && (strcmp(name, "'pcall'") == 0 || strcmp(name, "'xpcall'") == 0))
        return "it is the engine's own: use neap's";
    if (NL_PUC51 && strcmp(name, NL_UNSUSPENDABLE) == 0)
        return "not in Lua 5.1: an iterator can be called in a loop with 'while'";
    return "wait before, or spawn a task";
}

static int refuse_here(lua_State *L, nl_state *st) {
    if (nl_in_job(L) && st->running == NULL)
        return nl_throw(L, st, NEAP_ENO_LOOP,
                        "cannot wait in a function that runs on a thread of a pool: there is no "
                        "loop (neap.run makes one)");
    if (st->running == NULL && (st->loop == NULL || !neap_loop_is_running(st->loop->loop)))
        return nl_throw_code(L, st, NEAP_ENO_LOOP);
    return nl_throw_code(L, st, NEAP_ENO_TASK);
}

static int refuse_thread(lua_State *L, nl_state *st, lua_State *at) {
    const char *name = blame(L, st, at);
    return nl_throw(L, st, NEAP_ENO_YIELD, "cannot wait inside %s: it cannot be suspended (%s)",
                    name, cure_for(name));
}

static int refuse_resumer(lua_State *L, nl_state *st) {
    return nl_throw(
        L, st, NEAP_ENO_YIELD,
        "cannot wait in a coroutine that neap's coroutine.resume or wrap did not resume "
        "(a copy of the original functions was kept: use neap.coroutine)");
}

/* Whether the running coroutine and all its resumers up to the task can be suspended. */
int nl_can_wait(lua_State *L, const nl_state *st) {
    lua_State *at = L;
    for (const nl_link *link = st->chain;; at = link->outer, link = link->up) {
        if (!nl_isyieldable(L, at))
            return 0;
        if (at == st->task->co.L)
            return 1;
        if (link == NULL || link->inner != at)
            return 0;
    }
}

/* As nl_check_wait, looking at each of them. */
void nl_check_chain(lua_State *L, nl_state *st) {
    nl_task *t = st->task;
    lua_State *at = L;
    nl_link *link = st->chain;
    if (t == NULL)
        refuse_here(L, st);
    for (;; at = link->outer, link = link->up) {
        if (!can_suspend(L, st, at))
            refuse_thread(L, st, at);
        if (at == t->co.L)
            return;
        if (link == NULL || link->inner != at)
            refuse_resumer(L, st);
    }
}

/* ---- The wait of a task ---- */

void nl_wait_end(nl_task *t) {
    if (t->wait.owned)
        neap_future_unref(t->wait.future);
    memset(&t->wait, 0, sizeof t->wait);
}

/* What was lent to the wait before goes back while its memory is there. */
static void wait_begin(lua_State *L, nl_state *st, int mode, neap_future *future, int owned) {
    nl_task *t = st->task;
    nl_takeback(st);
    nl_wait_end(t);
    t->wait.mode = (uint8_t)mode;
    t->wait.future = future;
    t->wait.owned = (uint8_t)owned;
    t->wait.thread = L;
}

/* Waits for a future of the core: `k` goes on with the value that is now at index 1.  `owned`: a reference is handed
   over.  nl_check_wait came before. */
int nl_park(lua_State *L, nl_state *st, neap_future *future, int owned, nl_cont k) {
    wait_begin(L, st, NL_WAIT_FUTURE, future, owned);
    return nl_suspend(L, k);
}

/* Waits for the next tick. */
int nl_park_tick(lua_State *L, nl_state *st, nl_cont k) {
    wait_begin(L, st, NL_WAIT_TICK, NULL, 0);
    return nl_suspend(L, k);
}

/* Waits for some ns. */
int nl_park_sleep(lua_State *L, nl_state *st, int64_t delay, nl_cont k) {
    wait_begin(L, st, NL_WAIT_SLEEP, NULL, 0);
    st->task->wait.delay = delay;
    return nl_suspend(L, k);
}

/* From a hook: lets the others have their turn.  The thread goes on in the middle of its function. */
void nl_take_off(lua_State *L, nl_state *st) {
    wait_begin(L, st, NL_WAIT_SLICE, NULL, 0);
    lua_yield(L, 0);
}

/* ---- Fairness ---- */

/* The core hears of operations in lots, the first of a step when it is used up. */
int nl_ask_credit(nl_task *t) {
    if (neap_loop_spend(neap_future_loop(t->o.future), NL_CREDIT) == 0)
        return 0;
    t->credit = NL_CREDIT;
    return 1;
}

/* The step ends in a yield: the core hears of the rest. */
void nl_note_spent(nl_task *t) {
    if (t->credit < NL_CREDIT)
        neap_loop_spend(neap_future_loop(t->o.future), NL_CREDIT - t->credit);
}

static int again_end(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_woken(L, st);
    nl_wait_end(st->task);
    lua_getfield(L, 1, "call");
    lua_CFunction fn = (lua_CFunction)lua_touserdata(L, -1);
    lua_settop(L, 1);
    nl_unpack(L, 1);
    lua_remove(L, 1);
    return fn(L);
}

/* Calls the function, which is the running one, with its present arguments again in the next tick. */
int nl_again(lua_State *L, nl_state *st, lua_CFunction fn) {
    nl_pack(L, 1, lua_gettop(L));
    lua_pushlightuserdata(L, (void *)fn);
    lua_setfield(L, -2, "call");
    lua_insert(L, 1);
    return nl_park_tick(L, st, again_end);
}

/* ---- Waking up ---- */

static int stray(lua_State *L, nl_state *st) {
    return nl_throw(
        L, st, NEAP_EBAD_YIELD,
        "this coroutine waits for neap and was resumed by somebody else: its wait is cancelled");
}

static int raise_cancelled(lua_State *L, nl_state *st, nl_task *t) {
    neap_future *future = t->wait.future;
    int64_t partial = future != NULL ? neap_future_partial(future) : 0;
    nl_push_delivered(L, st, t, future != NULL ? neap_future_message(future) : NULL);
    if (future != NULL && neap_future_task(future) != NULL)
        nl_add_wait_of(L, st, 1);
    nl_wait_end(t);
    if (partial > 0) {
        lua_pushinteger(L, (lua_Integer)partial);
        lua_setfield(L, -2, "partial");
    }
    return lua_error(L);
}

/* The core did not take the wait. */
static int refuse_wait(lua_State *L, nl_state *st, nl_task *t) {
    int32_t error = t->wait.error;
    if (error == NEAP_EOTHER_LOOP) {
        const char *own = neap_loop_name(neap_future_loop(t->o.future));
        const char *other = neap_loop_name(neap_future_loop(t->wait.future));
        nl_wait_end(t);
        return nl_throw(L, st, error, "a task of loop '%s' cannot wait for a future of loop '%s'",
                        own, other);
    }
    nl_wait_end(t);
    return nl_throw_code(L, st, error);
}

/* The wait was ended by a cancellation, refused by the core, or is nobody's who may go on here. */
static void raise_unusual(lua_State *L, nl_state *st) {
    nl_task *t = st->task;
    if (t == NULL || t->wait.mode == NL_WAIT_NOT || t->wait.thread != L)
        stray(L, st);
    if (!t->wait.woken) {
        if (t->wait.future != NULL)
            neap_future_cancel(t->wait.future, NULL);
        nl_wait_end(t);
        stray(L, st);
    }
    neap_future *future = t->wait.future;
    int ended = future != NULL && neap_future_state(future) == NEAP_STATE_CANCELLED;
    if (t->wait.wake == NEAP_WAKE_CANCEL || ended)
        raise_cancelled(L, st, t);
    if (t->wait.error < 0)
        refuse_wait(L, st, t);
}

/* Whether the core has ended the wait of the running thread, and nothing speaks against its outcome. */
static int is_usual(const lua_State *L, const nl_task *t) {
    return t != NULL && t->wait.thread == L && t->wait.woken && t->wait.wake != NEAP_WAKE_CANCEL &&
           t->wait.error == 0;
}

/* What each continuation calls first: raises a cancellation, or what made the wait impossible; else the wait's future,
   which is there until nl_wait_end. */
neap_future *nl_woken(lua_State *L, nl_state *st) {
    nl_task *t = st->task;
    if (!is_usual(L, t) ||
        (t->wait.future != NULL && neap_future_state(t->wait.future) != NEAP_STATE_RESULT))
        raise_unusual(L, st);
    return st->task->wait.future;
}

/* ---- Waiting for a future that Lua holds ---- */

/* Raises the error on top, which is that of the future at `ud`. */
int nl_raise_of(lua_State *L, nl_state *st, int ud) {
    nl_note_cause(L, st, ud, lua_gettop(L));
    return lua_error(L);
}

/* Tells the awaited value if nothing speaks against it: answers its kind, else less than 0. */
static int32_t woken_value(lua_State *L, nl_state *st, neap_value *ret_value) {
    if (!is_usual(L, st->task))
        return -1;
    return neap_future_value(st->task->wait.future, ret_value, sizeof *ret_value);
}

static int await_end(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_value value;
    int32_t kind = woken_value(L, st, &value);
    neap_future *future = kind >= 0 ? st->task->wait.future : nl_woken(L, st);
    int n = nl_push_value(L, st, future, 1, kind, &value);
    nl_wait_end(st->task);
    return n < 0 ? nl_raise_of(L, st, 1) : n;
}

/* The userdata has nothing to say about an integer: it need not be asked for. */
static int await_plain_end(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_value value;
    if (woken_value(L, st, &value) != NEAP_KIND_INT)
        return await_end(L);
    nl_wait_end(st->task);
    lua_pushinteger(L, (lua_Integer)value.i);
    return 1;
}

/* Answers the values of the future or task at `ud`, now or later, or raises its error. */
int nl_await(lua_State *L, nl_state *st, int ud) {
    nl_object *o = nl_check_object(L, st, ud);
    nl_check_wait(L, st);
    if (nl_state_of_object(o) != NEAP_STATE_PENDING && !nl_is_spent(st)) {
        int n = nl_push_own_outcome(L, st, ud);
        return n < 0 ? nl_raise_of(L, st, ud) : n;
    }
    if (o->future == NULL)
        nl_revive(L, st, ud);
    nl_reach(L, o, ud);
    if (ud != 1) {
        lua_pushvalue(L, ud);
        lua_replace(L, 1);
    }
    int plain = (o->node.flags & (NL_RECEIVED | NL_DERIVED)) == 0;
    return nl_park(L, st, o->future, 0, plain ? await_plain_end : await_end);
}

static int raise_kept(lua_State *L) {
    nl_woken(L, NL_STATE(L));
    nl_wait_end(NL_STATE(L)->task);
    lua_settop(L, 1);
    return lua_error(L);
}

/* Raises the error on top, in the next tick. */
int nl_raise_next_tick(lua_State *L, nl_state *st) {
    lua_replace(L, 1);
    return nl_park_tick(L, st, raise_kept);
}

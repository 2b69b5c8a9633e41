/* lfuture.c: the userdata of futures: states, outcomes, what keeps them alive, and how others find them. */
#include "lneap.h"

#include <stdio.h>
#include <string.h>

/* ---- Staying alive ---- */

/* Keeps the userdata at `ud` until as many releases.  A task's is in the state's list as long: it has no finalizer that
   would take it out. */
void nl_hold(lua_State *L, nl_object *o, int ud) {
    if (o->holds == 0) {
        lua_pushvalue(L, ud);
        o->node.ref = nl_anchor(L, o->node.st);
        if (o->node.kind == NL_TASK)
            nl_track(&o->node);
    }
    o->holds++;
}

void nl_release(nl_object *o) {
    if (--o->holds > 0)
        return;
    if (o->node.kind == NL_TASK)
        nl_untrack(&o->node);
    nl_unanchor(o->node.st, o->node.ref);
    o->node.ref = LUA_NOREF;
}

/* A failure may be reported at the end of its tick: until then its userdata stays findable. */
static uint64_t tick_of(nl_object *o) {
    neap_metrics m;
    m.ticks = 0;
    neap_loop_metrics(neap_future_loop(o->future), &m, sizeof m.size + sizeof m.ticks);
    return m.ticks;
}

void nl_note_failure(lua_State *L, nl_object *o, int ud) {
    nl_state *st = o->node.st;
    nl_hold(L, o, ud);
    o->node.flags |= NL_FAILED;
    o->queued = st->failed;
    st->failed = o;
    st->failed_at = tick_of(o);
}

void nl_drop_failures(nl_state *st) {
    nl_object *o = st->failed;
    st->failed = NULL;
    while (o != NULL) {
        nl_object *next = o->queued;
        o->node.flags &= (uint8_t)~NL_FAILED;
        nl_release(o);
        o = next;
    }
}

/* What can wait until Lua may be called: close the Lua side of aborted tasks, forget failures of former ticks. */
void nl_tidy(nl_state *st) {
    if (st->failed != NULL && tick_of(st->failed) != st->failed_at)
        nl_drop_failures(st);
    if (st->dead != NULL)
        nl_bury(st);
}

/* Nothing of the core points at the userdata afterwards. */
static void drop(nl_node *node) {
    nl_object *o = (nl_object *)node;
    nl_forget_callbacks(o);
    neap_future *future = o->future;
    o->future = NULL;
    neap_future_unref(future);
}

/* ---- Making and finding ---- */

nl_object *nl_new_object(lua_State *L, nl_state *st) {
    return nl_make(L, st, NL_FUTURE, sizeof(nl_object), NL_SLOTS);
}

/* The future or task at index, or NULL. */
nl_object *nl_to_object(lua_State *L, nl_state *st, int index) {
    nl_node *node = nl_node_at(L, st, index);
    return node != NULL && node->kind <= NL_TASK ? (nl_object *)(void *)node : NULL;
}

nl_object *nl_check_object(lua_State *L, nl_state *st, int index) {
    nl_object *o = nl_to_object(L, st, index);
    if (o == NULL)
        nl_refuse(L, st, index, "a future or task");
    int gone = o->node.flags & NL_KEPT ? !nl_is_kept(L, index)
                                       : o->future == NULL && o->node.kind != NL_TASK;
    if (st->closed || gone)
        nl_throw_code(L, st, NEAP_ECLOSED);
    return o;
}

/* The core's future of what is at index, for those who hand it to the core. */
neap_future *nl_check_future(lua_State *L, nl_state *st, int index) {
    nl_object *o = nl_check_object(L, st, index);
    if (o->future == NULL)
        nl_revive(L, st, index);
    return o->future;
}

/* A task that let go of the core has ended with values. */
int32_t nl_state_of_object(const nl_object *o) {
    return o->future != NULL ? neap_future_state(o->future) : NEAP_STATE_RESULT;
}

/* In debug mode a future remembers the line that made it. */
static void note_site(lua_State *L, neap_loop *loop, neap_future *future) {
    char site[LUA_IDSIZE + 16];
    if (neap_loop_debug(loop, -1) > 0)
        neap_future_set_site(future, nl_site(L, site, sizeof site));
}

/* Pushes a pending future of the loop. */
nl_object *nl_new_future(lua_State *L, nl_state *st, nl_loop *loop) {
    nl_object *o = nl_new_object(L, st);
    nl_check_code(L, st, neap_future_new(loop->loop, &o->future));
    note_site(L, loop->loop, o->future);
    return o;
}

/* Pushes a userdata for a future of the core, whose reference it takes. */
static nl_object *wrap_future(lua_State *L, nl_state *st, neap_future *future) {
    nl_object *o = nl_new_object(L, st);
    o->future = future;
    o->node.flags = NL_INTERNAL;
    return o;
}

static int push_failed(lua_State *L, nl_state *st, neap_future *future) {
    for (nl_object *o = st->failed; o != NULL; o = o->queued) {
        if (o->future == future) {
            nl_anchored(L, o->node.ref);
            return 1;
        }
    }
    return 0;
}

/* A task that let go of the core may still be noted under the address of its former future. */
static int push_shared(lua_State *L, nl_state *st, neap_future *future) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, st->shared);
    lua_pushlightuserdata(L, future);
    lua_rawget(L, -2);
    lua_replace(L, -2);
    nl_object *o = nl_block(L, -1);
    if (o != NULL && o->future == future)
        return 1;
    lua_pop(L, 1);
    return 0;
}

/* Makes the userdata at `ud` findable by its future, which hosts may hold too. */
static void note_shared(lua_State *L, nl_state *st, neap_future *future, int ud) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, st->shared);
    lua_pushlightuserdata(L, future);
    lua_pushvalue(L, ud);
    lua_rawset(L, -3);
    lua_pop(L, 1);
}

/* The future of the userdata at `ud` gets known outside of Lua. */
void nl_share(lua_State *L, nl_state *st, int ud) {
    ud = lua_absindex(L, ud);
    nl_object *o = nl_check_object(L, st, ud);
    if (o->future == NULL)
        nl_revive(L, st, ud);
    if (o->node.flags & NL_SHARED)
        return;
    note_shared(L, st, o->future, ud);
    nl_reach(L, o, ud);
    if (o->node.form != NL_NONE)
        nl_hold(L, o, ud); /* its value hangs from the userdata */
    o->node.flags |= NL_SHARED;
}

/* Pushes the Lua object of a future, the known one if there is one. */
void nl_push_object(lua_State *L, nl_state *st, neap_future *future) {
    neap_task *task = neap_future_task(future);
    if (push_failed(L, st, future) || push_shared(L, st, future))
        return;
    if (task != NULL)
        nl_push_task(L, st, task);
    else
        wrap_future(L, st, neap_future_ref(future));
    note_shared(L, st, future, lua_gettop(L));
}

/* ---- Methods ---- */

static int future_done(lua_State *L) {
    nl_object *o = nl_check_object(L, NL_STATE(L), 1);
    lua_pushboolean(L, nl_state_of_object(o) != NEAP_STATE_PENDING);
    return 1;
}

static int future_cancelled(lua_State *L) {
    nl_object *o = nl_check_object(L, NL_STATE(L), 1);
    lua_pushboolean(L, nl_state_of_object(o) == NEAP_STATE_CANCELLED);
    return 1;
}

static int future_result(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_check_object(L, st, 1);
    return nl_push_result(L, st, 1);
}

/* The error of a failed future, nil of one with a result. */
static int future_exception(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_object *o = nl_check_object(L, st, 1);
    int32_t state = nl_state_of_object(o);
    if (state == NEAP_STATE_RESULT) {
        lua_pushnil(L);
        return 1;
    }
    nl_push_failure(L, st, o->future, 1);
    return state == NEAP_STATE_ERROR ? 1 : lua_error(L);
}

static int future_cancel(lua_State *L) {
    nl_object *o = nl_check_object(L, NL_STATE(L), 1);
    const char *message = luaL_optstring(L, 2, NULL);
    nl_reach(L, o, 1);
    int32_t code = o->future != NULL ? neap_future_cancel(o->future, message) : 0;
    nl_check_code(L, o->node.st, code);
    lua_pushboolean(L, code);
    return 1;
}

static nl_object *check_plain(lua_State *L, nl_state *st) {
    nl_object *o = nl_check(L, st, 1, NL_FUTURE, "a future");
    if (o->future == NULL)
        nl_throw_code(L, st, NEAP_ECLOSED);
    return o;
}

static int future_set_result(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_object *o = check_plain(L, st);
    nl_reach(L, o, 1);
    nl_check_code(L, st, nl_settle(L, st, o, 1, 2, lua_gettop(L) - 1));
    return 0;
}

static int future_set_exception(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_object *o = check_plain(L, st);
    lua_settop(L, 2);
    nl_reach(L, o, 1);
    nl_check_code(L, st, nl_settle_error(L, st, 1, 2));
    nl_note_failure(L, o, 1);
    return 0;
}

static int future_ignore(lua_State *L) {
    nl_object *o = nl_check_object(L, NL_STATE(L), 1);
    if (o->future != NULL)
        neap_future_ignore(o->future);
    lua_settop(L, 1);
    return 1;
}

static int future_waiters(lua_State *L) {
    nl_object *o = nl_check_object(L, NL_STATE(L), 1);
    lua_pushinteger(L, o->future != NULL ? neap_future_waiters(o->future) : 0);
    return 1;
}

static const char *state_name(nl_object *o) {
    static const char *const names[] = {"pending", "done", "failed", "cancelled"};
    int32_t state = o->future != NULL ? neap_future_state(o->future) : -1;
    return state >= 0 && state <= NEAP_STATE_CANCELLED ? names[state] : "closed";
}

static int future_tostring(lua_State *L) {
    nl_object *o = nl_check_object(L, NL_STATE(L), 1);
    lua_pushfstring(L, "neap.future: %p (%s)", (void *)o, state_name(o));
    return 1;
}

static int future_gc(lua_State *L) {
    nl_object *o = nl_finalized(L);
    if (o == NULL)
        return 0;
    if (o->holds > 0)
        nl_closing(o->node.st);
    else
        nl_drop(L, &o->node);
    return 0;
}

/* ---- Module functions ---- */

static int new_future(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_new_future(L, st, nl_loop_now(L, st));
    return 1;
}

static int await_object(lua_State *L) {
    return nl_await(L, NL_STATE(L), 1);
}

/* Waits for a future or task, or for what nl_ensure makes of the value. */
static int await_any(lua_State *L) {
    nl_state *st = NL_STATE(L);
    lua_settop(L, 1);
    if (nl_to_object(L, st, 1) == NULL) {
        nl_check_wait(L, st);
        nl_ensure(L, st, nl_loop_now(L, st), 1);
    }
    return nl_await(L, st, 1);
}

static int ensure_future(lua_State *L) {
    nl_state *st = NL_STATE(L);
    lua_settop(L, 1);
    nl_ensure(L, st, NULL, 1);
    return 1;
}

/* What futures and tasks share. */
static const luaL_Reg methods[] = {
    {"done", future_done},
    {"cancelled", future_cancelled},
    {"result", future_result},
    {"exception", future_exception},
    {"cancel", future_cancel},
    {"ignore", future_ignore},
    {"waiters", future_waiters},
    {"add_done_callback", nl_add_done_callback},
    {"remove_done_callback", nl_remove_done_callback},
    {NULL, NULL},
};

static const luaL_Reg waits[] = {{"await", await_object}, {NULL, NULL}};

void nl_object_class(lua_State *L, nl_state *st, nl_kind kind, const char *name,
                     const luaL_Reg *metas) {
    nl_class(L, st, kind, name, methods, waits, metas);
}

void nl_open_future(lua_State *L, nl_state *st) {
    static const luaL_Reg metas[] = {
        {"__tostring", future_tostring}, {"__gc", future_gc}, {NULL, NULL}};
    static const luaL_Reg setters[] = {
        {"set_result", future_set_result}, {"set_exception", future_set_exception}, {NULL, NULL}};
    static const luaL_Reg functions[] = {
        {"future", new_future}, {"ensure_future", ensure_future}, {NULL, NULL}};
    static const luaL_Reg awaits[] = {{"await", await_any}, {NULL, NULL}};
    st->drops[NL_FUTURE] = drop;
    nl_object_class(L, st, NL_FUTURE, "neap.future", metas);
    nl_functions(L, st, setters);
    lua_pop(L, 1);
    nl_functions(L, st, functions);
    nl_waits(L, st, awaits);
}

/* lkeeper.c: keepers of tasks: a future's userdata that hangs from a task's, with the reference to the core's task where that did
   not end with values, or to a future of the core that somebody needed later. */
#include "lneap.h"

/* Pushes a userdata for a future of the core, which hangs from the task's at `ud` and goes with it. */
static nl_object *push_keeper(lua_State *L, nl_state *st, int ud) {
    nl_object *keeper = nl_new_object(L, st);
    nl_getslot(L, ud, NL_LINK);
    if (lua_istable(L, -1)) {
        lua_pushvalue(L, -2);
        lua_setfield(L, -2, "keeper");
        lua_pop(L, 1);
    } else {
        lua_pop(L, 1);
        lua_pushvalue(L, -1);
        nl_setslot(L, ud, NL_LINK);
    }
    return keeper;
}

/* Whether the keeper of the task at `ud` has not been finalized: a finalizer of the script that runs later may still see the
   task. */
int nl_is_kept(lua_State *L, int ud) {
    int top = lua_gettop(L);
    nl_getslot(L, ud, NL_LINK);
    if (lua_istable(L, -1))
        lua_getfield(L, -1, "keeper");
    nl_object *keeper = nl_block(L, -1);
    lua_settop(L, top);
    return keeper != NULL && keeper->future != NULL;
}

/* The task at `ud` has ended: its reference of the core's task, with this future, becomes the keeper's. */
void nl_keep(lua_State *L, nl_task *t, neap_future *future, int ud) {
    nl_object *keeper = push_keeper(L, t->o.node.st, ud);
    keeper->future = t->o.future = future;
    keeper->node.flags = NL_INTERNAL;
    t->o.node.flags |= NL_KEPT;
    lua_pop(L, 1);
}

/* The loop for a future of a task that has ended: where somebody can wait for it now, else where the task ran. */
static nl_loop *loop_of_ended(lua_State *L, nl_state *st, const nl_task *t) {
    nl_loop *l = st->task == NULL ? nl_find_loop(st, t->past.loop) : NULL;
    return l != NULL && !neap_loop_is_closed(l->loop) ? l : nl_loop_now(L, st);
}

/* The task at `ud` let go of the core, which now needs a future with its outcome. */
void nl_revive(lua_State *L, nl_state *st, int ud) {
    ud = lua_absindex(L, ud);
    nl_object *o = nl_block(L, ud);
    nl_loop *l = loop_of_ended(L, st, (nl_task *)o);
    nl_object *keeper = push_keeper(L, st, ud);
    nl_check_code(L, st, neap_future_new(l->loop, &keeper->future));
    nl_check_code(L, st, nl_settle_again(L, st, o, ud, keeper->future));
    o->future = keeper->future;
    o->node.flags |= NL_KEPT;
    lua_pop(L, 1);
}

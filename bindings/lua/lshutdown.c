/* lshutdown.c: the end of a run as scripts see it: who wants to be told, whether it has come, and asking for it. */
#include "lneap.h"

/* Somebody wants to be told: tasks will have time to end by themselves. */
void nl_note_listener(nl_state *st) {
    st->heard = 1;
    if (st->signals != NULL)
        nl_signals_heard(st->signals);
}

static int add(lua_State *L, nl_state *st, nl_loop *l, int first) {
    nl_handle *h = nl_new_handle(L, st, l->loop, first);
    nl_check_code(L, st,
                  neap_loop_on_shutdown(l->loop, nl_handle_fire, h, nl_handle_gone, &h->handle));
    nl_note_listener(st);
    return 1;
}

/* loop:on_shutdown(fn, ...): calls fn(...) when the loop's shutdown begins. */
int nl_on_shutdown(lua_State *L) {
    nl_state *st = NL_STATE(L);
    return add(L, st, nl_check_loop(L, st, 1), 2);
}

static int on_shutdown(lua_State *L) {
    nl_state *st = NL_STATE(L);
    if (lua_gettop(L) == 0)
        lua_pushnil(L);
    return add(L, st, nl_loop_now(L, st), 1);
}

static int shutting_down(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_loop *l = nl_running_loop(st);
    lua_pushboolean(L, l != NULL && neap_loop_shutting_down(l->loop) > 0);
    return 1;
}

static int wait_end(lua_State *L) {
    nl_state *st = NL_STATE(L);
    int32_t code = neap_future_error(nl_woken(L, st));
    nl_wait_end(st->task);
    nl_check_code(L, st, code);
    return 0;
}

/* Waits until the shutdown begins. */
static int wait_shutdown(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_future *future = NULL;
    nl_check_wait(L, st);
    if (nl_is_spent(st))
        return nl_again(L, st, wait_shutdown);
    int32_t code = neap_loop_shutdown_begun(neap_future_loop(st->task->o.future), &future);
    if (code == NEAP_PENDING) {
        nl_note_listener(st);
        return nl_park(L, st, future, 1, wait_end);
    }
    nl_check_code(L, st, code);
    return 0;
}

/* Begins the shutdown, unless it has begun; a run that waits for its main task goes over to it.  Answers whether it had
   not, or an error. */
int32_t nl_begin_shutdown(nl_state *st, neap_loop *loop, const char *reason) {
    int32_t code = neap_loop_begin_shutdown(loop, reason);
    if (code > 0 && st->in_main)
        neap_loop_raise(loop, NL_RAISE_SHUTDOWN);
    return code;
}

static int begin_shutdown(lua_State *L) {
    nl_state *st = NL_STATE(L);
    const char *reason = luaL_optstring(L, 1, NULL);
    nl_loop *l = nl_running_loop(st);
    if (l == NULL)
        nl_throw_code(L, st, NEAP_ENO_LOOP);
    int32_t code = nl_begin_shutdown(st, l->loop, reason);
    nl_check_code(L, st, code);
    lua_pushboolean(L, code);
    return 1;
}

/* Raises the cancellation that a wait here would raise. */
static int check(lua_State *L) {
    nl_state *st = NL_STATE(L);
    if (st->task == NULL)
        nl_throw_code(L, st, NEAP_ENO_TASK);
    int32_t code = neap_task_check(nl_core_task(st->task));
    nl_check_code(L, st, code);
    if (code == 0)
        return 0;
    nl_push_delivered(L, st, st->task, NULL);
    return lua_error(L);
}

void nl_open_shutdown(lua_State *L, nl_state *st) {
    static const luaL_Reg functions[] = {{"on_shutdown", on_shutdown},
                                         {"shutting_down", shutting_down},
                                         {"shutdown", begin_shutdown},
                                         {"check", check},
                                         {NULL, NULL}};
    static const luaL_Reg waits[] = {{"wait_shutdown", wait_shutdown}, {NULL, NULL}};
    nl_functions(L, st, functions);
    nl_waits(L, st, waits);
}

/* lscope.c: scopes and groups: what neap/scope.lua builds its regions from, and the object that scripts see.  A region that
   no script sees is a light userdata: the task inside holds the core's scope. */
#include "lneap.h"

#include <string.h>

typedef struct nl_scope {
    nl_node node;
    neap_scope *scope;    /* a reference */
    neap_future *failure; /* taken out of it and not told yet; a reference, or NULL */
    uint8_t races;        /* the first of its tasks is asked for its values */
} nl_scope;

static const char cause_key = 0; /* in the error of a cancellation: the core's scope */

/* ---- Finding ---- */

static nl_scope *check_scope(lua_State *L, nl_state *st) {
    return nl_check(L, st, 1, NL_SCOPE, "a scope");
}

static nl_scope *self(lua_State *L) {
    return check_scope(L, NL_STATE(L));
}

/* Makes the userdata on top findable by its scope. */
static void note(lua_State *L, nl_state *st, neap_scope *scope) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, st->scopes);
    lua_pushlightuserdata(L, scope);
    lua_pushvalue(L, -3);
    lua_rawset(L, -3);
    lua_pop(L, 1);
}

/* Pushes the userdata of a scope that a script has made, else nil. */
static void push_known(lua_State *L, nl_state *st, neap_scope *scope) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, st->scopes);
    lua_pushlightuserdata(L, scope);
    lua_rawget(L, -2);
    lua_replace(L, -2);
}

static void note_cause(lua_State *L, nl_state *st, neap_scope *scope) {
    lua_pushlightuserdata(L, (void *)&cause_key);
    lua_pushlightuserdata(L, scope);
    lua_rawset(L, -3);
    push_known(L, st, scope);
    lua_setfield(L, -2, "scope");
}

/* Whether the error at index is a cancellation that this scope has caused. */
static int is_by(lua_State *L, nl_state *st, int index, const neap_scope *scope) {
    if (!nl_is_cancelled(L, st, index))
        return 0;
    lua_pushlightuserdata(L, (void *)&cause_key);
    lua_rawget(L, index);
    int by = lua_touserdata(L, -1) == scope;
    lua_pop(L, 1);
    return by;
}

/* Pushes the cancellation that the running step was woken with; it names the scope that caused it.  message NULL: that of
   the request. */
void nl_push_delivered(lua_State *L, nl_state *st, nl_task *t, const char *message) {
    neap_task *task = nl_core_task(t);
    neap_scope *scope = neap_task_cancelled_by(task);
    if (message == NULL || *message == '\0')
        message = scope != NULL ? neap_scope_message(scope) : neap_task_cancel_message(task);
    nl_push_cancelled(L, st, message);
    if (scope != NULL)
        note_cause(L, st, scope);
}

static void drop(nl_node *node) {
    nl_scope *s = (nl_scope *)node;
    neap_scope *scope = s->scope;
    neap_future *failure = s->failure;
    s->scope = NULL;
    s->failure = NULL;
    neap_future_unref(failure);
    neap_scope_unref(scope);
}

/* ---- For neap/scope.lua ---- */

typedef struct kind {
    const char *name;
    uint32_t flags;
    uint8_t shown; /* to the script */
} kind;

static const kind *find_kind(lua_State *L, nl_state *st, const char *name) {
    static const kind kinds[] = {
        {"(region)", 0, 0},
        {"(shield)", NEAP_SCOPE_SHIELD, 0},
        {"(scope)", 0, 1},
        {"(select)", NEAP_SCOPE_GROUP, 1},
        {"all", NEAP_SCOPE_GROUP | NEAP_SCOPE_KEEP | NEAP_SCOPE_FAIL_FAST, 1},
        {"any", NEAP_SCOPE_GROUP | NEAP_SCOPE_KEEP | NEAP_SCOPE_ANY, 1},
        {"collect", NEAP_SCOPE_GROUP | NEAP_SCOPE_KEEP, 1},
        {"supervise", NEAP_SCOPE_GROUP, 1},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i].name, name) == 0)
            return &kinds[i];
    nl_throw(L, st, NEAP_EVALUE,
             "the policies are \"all\", \"any\", \"collect\" and \"supervise\", not \"%s\"", name);
    return NULL;
}

/* A deadline at index, in seconds from now or, if `absolute`, of the loop's clock; -1 if there is none. */
static int64_t deadline_at(lua_State *L, neap_loop *loop, int index, int absolute) {
    int64_t delay = lua_isnoneornil(L, index) ? NL_NEVER : nl_seconds(L, index);
    if (delay == NL_NEVER)
        return -1;
    return absolute ? delay : neap_loop_time(loop) + delay;
}

/* Pushes a new scope: its userdata, which has the reference, or the scope as light userdata; then the reference is the
   caller's to end once the task is inside. */
static neap_scope *push_new(lua_State *L, nl_state *st, neap_loop *loop, const kind *k) {
    neap_scope *scope;
    if (!k->shown) {
        nl_check_code(L, st, neap_scope_new(loop, NULL, k->flags, &scope));
        lua_pushlightuserdata(L, scope);
        return scope;
    }
    nl_scope *s = nl_make(L, st, NL_SCOPE, sizeof *s, 0);
    s->races = (k->flags & NEAP_SCOPE_ANY) != 0;
    nl_check_code(L, st, neap_scope_new(loop, NULL, k->flags, &s->scope));
    note(L, st, s->scope);
    return s->scope;
}

/* enter(kind, function[, seconds[, absolute]]): a new scope, which the running task is inside of from now on. */
static int enter(lua_State *L) {
    nl_state *st = NL_STATE(L);
    const kind *k = find_kind(L, st, luaL_checkstring(L, 1));
    if (!lua_isfunction(L, 2) && !nl_is_callable(L, 2))
        nl_throw(L, st, NEAP_ETYPE, "a function is needed, not a %s", luaL_typename(L, 2));
    nl_check_wait(L, st);
    neap_loop *loop = neap_future_loop(st->task->o.future);
    int64_t deadline = deadline_at(L, loop, 3, lua_toboolean(L, 4));
    if (k->flags == NEAP_SCOPE_SHIELD && deadline < 0)
        nl_throw(L, st, NEAP_EVALUE, "a shield needs a deadline");
    neap_scope *scope = push_new(L, st, loop, k);
    int32_t code = deadline >= 0 ? neap_scope_set_deadline(scope, deadline) : 0;
    if (code >= 0)
        code = neap_scope_enter(scope, nl_core_task(st->task));
    if (!k->shown)
        neap_scope_unref(scope);
    nl_check_code(L, st, code);
    return 1;
}

/* leave(scope[, error]): the running task leaves the scope.  Answers "timeout" or "cancelled" if that is what the error
   is, of this scope's making. */
static int leave(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_task *task = st->task != NULL ? nl_core_task(st->task) : NULL;
    neap_scope *scope =
        lua_islightuserdata(L, 1) ? lua_touserdata(L, 1) : check_scope(L, st)->scope;
    if (task == NULL || neap_task_scope(task) != scope)
        nl_throw(L, st, NEAP_EINVALID_STATE,
                 "scopes are left in the order in which they were entered, by the same task");
    const char *verdict = NULL;
    if (lua_gettop(L) > 1 && is_by(L, st, 2, scope))
        verdict = neap_scope_state(scope) == NEAP_SCOPE_TIMED_OUT ? "timeout" : "cancelled";
    nl_check_code(L, st, neap_scope_leave(scope, task));
    lua_pushstring(L, verdict);
    return 1;
}

/* Whether the running task's waits are cancelled where it stands. */
static int reached(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_scope *scope = st->task != NULL ? neap_task_scope(nl_core_task(st->task)) : NULL;
    lua_pushboolean(L, scope != NULL && neap_scope_cancelled(scope) > 0);
    return 1;
}

/* innermost(): the scope that what the running task starts belongs to, as enter answered it; nil where it is in none, or in one
   that a host has made. */
static int innermost(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_task *task = st->task != NULL ? nl_core_task(st->task) : NULL;
    neap_scope *scope = task != NULL ? neap_task_scope(task) : NULL;
    if (scope == NULL)
        return 0;
    push_known(L, st, scope);
    if (lua_isnil(L, -1) && neap_scope_owner(scope) == task)
        lua_pushlightuserdata(L, scope);
    return 1;
}

static int join_end(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_woken(L, st);
    nl_wait_end(st->task);
    return 0;
}

/* Waits until no member is left; only a request to the task itself ends this. */
static int join(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_scope *s = check_scope(L, st);
    neap_future *future;
    nl_check_wait(L, st);
    nl_check_code(L, st, neap_scope_join(s->scope, &future));
    return nl_park(L, st, future, 1, join_end);
}

/* The list of the failures that the group has kept. */
static int failures(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_scope *s = check_scope(L, st);
    lua_settop(L, 1);
    lua_newtable(L);
    for (int n = 1; s->failure != NULL || neap_scope_next_failure(s->scope, &s->failure) > 0; n++) {
        nl_push_object(L, st, s->failure);
        nl_push_failure(L, st, s->failure, 3);
        lua_rawseti(L, 2, n);
        lua_settop(L, 2);
        neap_future_unref(s->failure); /* the userdata had its own */
        s->failure = NULL;
    }
    return 1;
}

/* true and the values of the member that was first, or nothing. */
static int winner(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_future *future = neap_scope_winner(check_scope(L, st)->scope);
    if (future == NULL)
        return 0;
    lua_settop(L, 1);
    nl_push_object(L, st, future);
    lua_replace(L, 1);
    lua_pushboolean(L, 1);
    return 1 + nl_push_own_outcome(L, st, 1);
}

/* The error for a body that its own deadline has ended. */
static int timeout_error(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_push_error(L, st, NEAP_ETIMEOUT, NULL);
    nl_set_where(L, -1);
    return 1;
}

/* The error that keeps the list of errors. */
static int group_error(lua_State *L) {
    nl_state *st = NL_STATE(L);
    lua_settop(L, 1);
    nl_push_group_error(L, st, 1);
    return 1;
}

/* ---- Methods ---- */

static int scope_cancel(lua_State *L) {
    nl_scope *s = self(L);
    int32_t code = neap_scope_cancel(s->scope, luaL_optstring(L, 2, NULL));
    nl_check_code(L, s->node.st, code);
    lua_pushboolean(L, code);
    return 1;
}

static int scope_cancelled(lua_State *L) {
    lua_pushboolean(L, neap_scope_cancelled(self(L)->scope) > 0);
    return 1;
}

static int scope_timed_out(lua_State *L) {
    lua_pushboolean(L, neap_scope_state(self(L)->scope) == NEAP_SCOPE_TIMED_OUT);
    return 1;
}

static int scope_members(lua_State *L) {
    lua_pushinteger(L, neap_scope_members(self(L)->scope));
    return 1;
}

/* deadline() answers it, or nil; deadline(when) sets it, in seconds of the loop's clock, math.huge: none. */
static int scope_deadline(lua_State *L) {
    nl_scope *s = self(L);
    int64_t when;
    if (lua_gettop(L) > 1)
        nl_check_code(L, s->node.st, neap_scope_set_deadline(s->scope, deadline_at(L, NULL, 2, 1)));
    if (neap_scope_deadline(s->scope, &when) <= 0)
        lua_pushnil(L);
    else
        lua_pushnumber(L, (lua_Number)when / 1e9);
    return 1;
}

static int scope_spawn(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_scope *s = check_scope(L, st);
    nl_spawn_into(L, st, s->scope, 2);
    if (s->races)
        nl_share(L, st, -1);
    return 1;
}

static int scope_tostring(lua_State *L) {
    static const char *const states[] = {"open", "cancelled", "timed out"};
    nl_scope *s = self(L);
    int32_t state = neap_scope_state(s->scope);
    lua_pushfstring(L, "neap.scope: %p (%s)", (void *)s, states[state < 0 ? 0 : state]);
    return 1;
}

void nl_open_scope(lua_State *L, nl_state *st) {
    static const luaL_Reg metas[] = {{"__tostring", scope_tostring}, {"__gc", nl_gc}, {NULL, NULL}};
    static const luaL_Reg methods[] = {{"cancel", scope_cancel},
                                       {"cancelled", scope_cancelled},
                                       {"deadline", scope_deadline},
                                       {"timed_out", scope_timed_out},
                                       {"members", scope_members},
                                       {"spawn", scope_spawn},
                                       {NULL, NULL}};
    static const luaL_Reg functions[] = {{"enter", enter},
                                         {"leave", leave},
                                         {"reached", reached},
                                         {"innermost", innermost},
                                         {"failures", failures},
                                         {"winner", winner},
                                         {"timeout_error", timeout_error},
                                         {"group_error", group_error},
                                         {"keep_trace", nl_keep_trace},
                                         {NULL, NULL}};
    static const luaL_Reg waits[] = {{"join", join}, {NULL, NULL}};
    lua_newtable(L);
    nl_functions(L, st, functions);
    nl_waits(L, st, waits);
    lua_setfield(L, -2, "scopes");
    lua_getfield(L, -1, "methods");
    st->drops[NL_SCOPE] = drop;
    nl_class(L, st, NL_SCOPE, "neap.scope", methods, NULL, metas);
    lua_setfield(L, -2, "scope");
    lua_pop(L, 1);
}

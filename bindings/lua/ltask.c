/* ltask.c: tasks as scripts see them: spawning, finding, names, stacks. */
#include "lneap.h"

#include <stdio.h>
#include <string.h>

#define PASS_FUNCTION "expected a function or future: pass the function, not its result"

/* ---- What can be a task ---- */

int nl_is_callable(lua_State *L, int index) {
    if (lua_isfunction(L, index))
        return 1;
    if (lua_isnoneornil(L, index) || !luaL_getmetafield(L, index, "__call"))
        return 0;
    lua_pop(L, 1);
    return 1;
}

int nl_has_await(lua_State *L, int index) {
    if (!lua_istable(L, index) && !lua_isuserdata(L, index))
        return 0;
    if (!luaL_getmetafield(L, index, "__await"))
        return 0;
    lua_pop(L, 1);
    return 1;
}

/* Whether the thread at index waits for its first or next resume. */
static int is_resumable(lua_State *co) {
    lua_Debug ar;
    int status = lua_status(co);
    if (status != LUA_OK)
        return status == LUA_YIELD;
    return !lua_getstack(co, 0, &ar) && lua_gettop(co) > 0;
}

static void check_thread(lua_State *L, nl_state *st, int index) {
    if (nl_thread_owned(L, st, index))
        nl_throw_code(L, st, NEAP_EALREADY_OWNED);
    if (!is_resumable(lua_tothread(L, index)))
        nl_arg_error(L, st, index, NEAP_EVALUE, "the coroutine is running or dead");
}

void nl_check_body(lua_State *L, nl_state *st, int index) {
    if (lua_isthread(L, index))
        check_thread(L, st, index);
    else if (lua_isnoneornil(L, index))
        nl_arg_error(L, st, index, NEAP_ETYPE, PASS_FUNCTION);
    else if (!nl_is_callable(L, index))
        nl_type_error(L, st, index, "a function or coroutine");
}

/* Raises unless nl_ensure can make a future of the value at index. */
void nl_check_ensure(lua_State *L, nl_state *st, int index) {
    if (nl_to_object(L, st, index) != NULL || nl_has_await(L, index))
        return;
    if (!lua_isnoneornil(L, index) && !lua_isthread(L, index) && !nl_is_callable(L, index))
        nl_type_error(L, st, index, "a function or future");
    nl_check_body(L, st, index);
}

/* Puts a future or task in the place of the value at index, which must be positive: futures stay, functions and
   coroutines become tasks, an object with __await becomes a task of that.  loop NULL: the present one. */
void nl_ensure(lua_State *L, nl_state *st, nl_loop *loop, int index) {
    static const nl_spawning plain;
    nl_check_ensure(L, st, index);
    if (nl_to_object(L, st, index) != NULL)
        return;
    if (loop == NULL)
        loop = nl_loop_now(L, st);
    int at = lua_gettop(L) + 1;
    if (nl_has_await(L, index)) {
        luaL_getmetafield(L, index, "__await");
        nl_check_body(L, st, at);
        lua_pushvalue(L, index);
    } else {
        lua_pushvalue(L, index);
    }
    nl_spawn(L, st, loop, at, &plain);
    lua_replace(L, index);
}

/* ---- Spawning ---- */

static nl_task *new_task(lua_State *L, nl_state *st) {
    nl_task *t = nl_make(L, st, NL_TASK, sizeof *t, NL_SLOTS);
    t->o.node.flags = NL_INTERNAL;
    t->owns = LUA_NOREF;
    return t;
}

/* Notes the function that spawns, and its line: the text is made when it is wanted. */
static void note_site(lua_State *L, nl_task *t, int ud, const nl_spawning *how) {
    lua_Debug ar;
    int wrapped =
        NL_WRAPPED || how->scope != NULL || how->name != NULL; /* asking for the source costs */
    for (int level = 1; lua_getstack(L, level, &ar); level++) {
        lua_getinfo(L, wrapped ? "Slf" : "lf", &ar);
        if (ar.currentline > 0 && !(wrapped && nl_is_wrapper(&ar))) {
            nl_setslot(L, ud, NL_NOTES);
            t->line = ar.currentline;
            return;
        }
        lua_pop(L, 1);
    }
    lua_pushnil(L);
    nl_setslot(L, ud,
               NL_NOTES); /* makes room for the others, which may be set where nothing may fail */
}

/* Gives the task, whose userdata is at `ud`, its thread, with the body and n arguments that lie above. */
static void load_thread(lua_State *L, nl_state *st, nl_task *t, int ud, int n) {
    if (lua_isthread(L, ud + 1)) {
        nl_thread_own(L, st, ud + 1);
        lua_pushvalue(L, ud + 1);
        t->co.ref = nl_anchor(L, st);
        t->co.L = lua_tothread(L, ud + 1);
    } else {
        nl_thread_take(L, st, t);
    }
    if (n > LUA_MINSTACK - 4 && !lua_checkstack(t->co.L, n + 4))
        nl_throw(L, st, NEAP_E2BIG, "too many arguments");
    t->nargs = n;
    if (t->pooled)
        t->nargs += nl_push_body(L, ud + 1, t->co.L, st->bottom);
    lua_xmove(L, t->co.L, t->pooled ? n + 1 : n);
    lua_settop(L, ud);
    if (st->overtime != 0)
        nl_count_in(st, t->co.L);
}

/* Keeps a name for the time when the core's task is gone. */
static void note_name(lua_State *L, int ud, const char *name) {
    ((nl_task *)nl_block(L, ud))->named = 1;
    nl_push_notes(L, ud);
    lua_pushstring(L, name);
    lua_setfield(L, -2, "name");
    lua_pop(L, 1);
}

/* Makes a task of the function or coroutine at `first` and the arguments above it, which nl_check_body has seen; its
   userdata takes their place. */
nl_task *nl_spawn(lua_State *L, nl_state *st, nl_loop *loop, int first, const nl_spawning *how) {
    int nargs = lua_gettop(L) - first;
    nl_task *t = new_task(L, st);
    lua_insert(L, first);
    load_thread(L, st, t, first, nargs);
    note_site(L, t, first, how);
    if (how->name != NULL)
        note_name(L, first, how->name);
    nl_hold(L, &t->o, first);
    if (how->owns != 0) {
        lua_pushvalue(L, how->owns);
        t->owns = nl_anchor(L, st);
    }
    neap_task_options options = {sizeof options, how->name, NULL, how->scope, how->flags};
    int plain = how->name == NULL && how->scope == NULL && how->flags == 0;
    neap_task *task = NULL;
    nl_check_code(L, st,
                  neap_task_spawn(loop->loop, &nl_task_ops, t, plain ? NULL : &options, &task));
    t->o.future = neap_task_future(task);
    if (how->slice != 0)
        nl_set_slice(L, t, how->slice - 1);
    return t;
}

/* The one-table form {fn, args..., option = ...}: a table that is nothing else. */
static int is_options(lua_State *L, nl_state *st, int index) {
    return lua_istable(L, index) && !nl_is_callable(L, index) && !nl_has_await(L, index) &&
           nl_to_object(L, st, index) == NULL;
}

/* If the value at `at` is the one-table form, pushes function and arguments behind it, past `reserve` empty places.
   Answers where the function is. */
int nl_expand_options(lua_State *L, nl_state *st, int at, int reserve) {
    if (!is_options(L, st, at))
        return at;
    lua_settop(L, at + reserve);
    int n = (int)lua_rawlen(L, at);
    lua_getfield(L, at, "n");
    if (lua_type(L, -1) == LUA_TNUMBER)
        n = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    luaL_checkstack(L, n + 1, "too many arguments");
    for (int i = 1; i <= (n > 0 ? n : 1); i++)
        lua_rawgeti(L, at, i);
    return at + 1 + reserve;
}

static void read_spawning(lua_State *L, nl_state *st, int at, nl_spawning *how) {
    static const char *const names[] = {"n", "name", "owns", "slice", "background", NULL};
    nl_check_options(L, st, at, names);
    how->name = nl_push_text_option(L, st, at, "name");
    lua_replace(L, at + 1);
    lua_getfield(L, at, "owns");
    if (!lua_isnil(L, -1) && !lua_istable(L, -1))
        nl_throw(L, st, NEAP_ETYPE, "the option 'owns' must be a list");
    how->owns = lua_isnil(L, -1) ? 0 : at + 2;
    lua_replace(L, at + 2);
    lua_getfield(L, at, "slice");
    if (!lua_isnil(L, -1)) {
        nl_check_slice(L, st);
        how->slice = nl_seconds(L, lua_gettop(L)) + 1;
    }
    lua_pop(L, 1);
    lua_getfield(L, at, "background");
    how->flags = lua_toboolean(L, -1) ? NEAP_TASK_BACKGROUND : 0;
    lua_pop(L, 1);
}

static int spawn_at(lua_State *L, nl_state *st, nl_loop *loop, neap_scope *scope, int at) {
    nl_spawning how = {NULL, 0, scope, 0, 0};
    int first = at;
    if (!lua_isfunction(L, at)) {
        first = nl_expand_options(L, st, at, 2);
        if (first > at)
            read_spawning(L, st, at, &how);
        nl_check_body(L, st, first);
    }
    nl_spawn(L, st, loop != NULL ? loop : nl_loop_now(L, st), first, &how);
    return 1;
}

/* Spawns what is at `at` and behind on the loop (NULL: the present one); answers the task. */
int nl_spawn_call(lua_State *L, nl_state *st, nl_loop *loop, int at) {
    return spawn_at(L, st, loop, NULL, at);
}

/* The same, as a member of the scope. */
int nl_spawn_into(lua_State *L, nl_state *st, neap_scope *scope, int at) {
    return spawn_at(L, st, NULL, scope, at);
}

static int spawn(lua_State *L) {
    return nl_spawn_call(L, NL_STATE(L), NULL, 1);
}

/* ---- Finding ---- */

/* Pushes a userdata for a task that is none of this state's, or ended long ago. */
static void push_wrapped(lua_State *L, nl_state *st, neap_task *task) {
    nl_task *t = new_task(L, st);
    t->ended = 1;
    nl_keep(L, t, neap_task_future(task), lua_gettop(L));
    neap_task_ref(task);
}

/* Pushes the task's userdata.  While the task lives, the core's pointer to it is good. */
void nl_push_task(lua_State *L, nl_state *st, neap_task *task) {
    if (neap_task_get_ops(task) == &nl_task_ops && !neap_future_done(neap_task_future(task))) {
        nl_task *t = neap_task_user(task);
        if (t->o.node.st == st && t->o.holds > 0) {
            nl_anchored(L, t->o.node.ref);
            return;
        }
    }
    push_wrapped(L, st, task);
}

static int current_task(lua_State *L) {
    nl_state *st = NL_STATE(L);
    if (st->task != NULL)
        nl_anchored(L, st->task->o.node.ref);
    else
        lua_pushnil(L);
    return 1;
}

typedef struct listing {
    lua_State *L;
    nl_state *st;
    int n;
} listing;

static int32_t list_task(neap_task *task, void *user) {
    listing *list = user;
    nl_push_object(list->L, list->st, neap_task_future(task));
    lua_rawseti(list->L, -2, ++list->n);
    return 0;
}

/* The live tasks of the present loop in order of creation. */
static int all_tasks(lua_State *L) {
    nl_state *st = NL_STATE(L);
    listing list = {L, st, 0};
    nl_loop *l = nl_loop_now(L, st);
    lua_newtable(L);
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    nl_check_code(L, st, neap_task_walk(l->loop, list_task, &list));
    return 1;
}

/* ---- Methods ---- */

static nl_task *check_task(lua_State *L) {
    nl_task *t = nl_check(L, NL_STATE(L), 1, NL_TASK, "a task");
    nl_check_object(L, t->o.node.st, 1);
    return t;
}

/* Pushes what the task's notes have under the name, or nil. */
static void push_note(lua_State *L, int ud, const char *name) {
    nl_getslot(L, ud, NL_NOTES);
    if (lua_istable(L, -1))
        lua_getfield(L, -1, name);
    else
        lua_pushnil(L);
    lua_replace(L, -2);
}

/* Pushes the name of the task at 1. */
static const char *push_name(lua_State *L, nl_task *t) {
    neap_task *task = nl_core_task(t);
    if (task != NULL)
        return lua_pushstring(L, neap_task_name(task)), lua_tostring(L, -1);
    push_note(L, 1, "name");
    if (lua_isnil(L, -1)) {
        char made[32];
        snprintf(made, sizeof made, "task-%llu", (unsigned long long)t->past.id);
        lua_pop(L, 1);
        lua_pushstring(L, made);
    }
    return lua_tostring(L, -1);
}

static int task_name(lua_State *L) {
    push_name(L, check_task(L));
    return 1;
}

static int task_set_name(lua_State *L) {
    nl_task *t = check_task(L);
    const char *name = luaL_checkstring(L, 2);
    note_name(L, 1, name);
    neap_task *task = nl_core_task(t);
    if (task != NULL)
        nl_check_code(L, t->o.node.st, neap_task_set_name(task, name));
    lua_settop(L, 1);
    return 1;
}

/* Writes where the task was spawned; its notes are on top and popped. */
static void write_site(lua_State *L, const nl_task *t, char *buf, size_t cap) {
    lua_Debug ar;
    if (lua_istable(L, -1)) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, t->o.node.st->key_site);
        lua_rawget(L, -2);
        lua_replace(L, -2);
    }
    buf[0] = '\0';
    if (lua_isfunction(L, -1)) {
        lua_getinfo(L, ">S", &ar);
        snprintf(buf, cap, "%s:%d", ar.short_src, t->line);
    } else {
        lua_pop(L, 1);
    }
}

/* For the core: runs inside of it, so no Lua runs here. */
void nl_write_site(neap_task *task, void *user, char *buf, size_t cap) {
    nl_task *t = user;
    nl_state *st = t->o.node.st;
    (void)task;
    buf[0] = '\0';
    if (st->closed || t->o.holds == 0)
        return;
    nl_anchored(st->R, t->o.node.ref);
    nl_getslot(st->R, -1, NL_NOTES);
    write_site(st->R, t, buf, cap);
    lua_pop(st->R, 1);
}

/* Of a task that this state did not spawn only the core knows. */
static int task_site(lua_State *L) {
    char site[LUA_IDSIZE + 16];
    nl_task *t = check_task(L);
    neap_task *task = nl_core_task(t);
    nl_getslot(L, 1, NL_NOTES);
    write_site(L, t, site, sizeof site);
    lua_pushstring(L, site[0] == '\0' && task != NULL ? neap_task_site(task) : site);
    return 1;
}

/* The frames of a live task, or those of the error of a failed one. */
static int task_stack(lua_State *L) {
    nl_task *t = check_task(L);
    if (t->co.L != NULL) {
        nl_push_stack(L, t->co.L);
        return 1;
    }
    nl_getslot(L, 1, NL_LINK);
    if (lua_istable(L, -1))
        lua_getfield(L, -1, "stack");
    else
        lua_newtable(L);
    return 1;
}

static int task_traceback(lua_State *L) {
    nl_task *t = check_task(L);
    if (t->co.L != NULL) {
        luaL_traceback(L, t->co.L, NULL, 0);
        return 1;
    }
    nl_getslot(L, 1, NL_LINK);
    if (lua_istable(L, -1))
        lua_getfield(L, -1, "traceback");
    else
        lua_pushnil(L);
    return 1;
}

/* Its steps last at most about so many seconds; nil: as long as they like. */
static int task_set_slice(lua_State *L) {
    nl_task *t = check_task(L);
    nl_state *st = t->o.node.st;
    int64_t slice = -1;
    if (!lua_isnoneornil(L, 2)) {
        nl_check_slice(L, st);
        slice = nl_seconds(L, 2);
    }
    if (t->co.L != NULL)
        nl_set_slice(L, t, slice);
    lua_settop(L, 1);
    return 1;
}

static int task_owned(lua_State *L) {
    check_task(L);
    return nl_throw_code(L, NL_STATE(L), NEAP_ETASK_OWNED);
}

static int task_tostring(lua_State *L) {
    static const char *const names[] = {"pending", "done", "failed", "cancelled"};
    nl_task *t = check_task(L);
    const char *name = push_name(L, t);
    lua_pushfstring(L, "neap.task: %s (%s)", name, names[nl_state_of_object(&t->o) & 3]);
    return 1;
}

/* ---- Letting go of the core ---- */

/* The state closes: nothing of the core points at the userdata afterwards. */
static void drop(nl_node *node) {
    nl_task *t = (nl_task *)node;
    int kept = t->o.node.flags & NL_KEPT; /* and the keeper may have gone before */
    neap_task *task = kept ? NULL : nl_core_task(t);
    nl_forget_callbacks(&t->o);
    t->o.future = NULL;
    if (task == NULL)
        return;
    if (!t->ended)
        neap_task_abort(task);
    neap_task_unref(task);
}

void nl_open_task(lua_State *L, nl_state *st) {
    static const luaL_Reg metas[] = {{"__tostring", task_tostring}, {NULL, NULL}};
    static const luaL_Reg methods[] = {
        {"name", task_name},        {"set_name", task_set_name},   {"site", task_site},
        {"stack", task_stack},      {"traceback", task_traceback}, {"set_slice", task_set_slice},
        {"set_result", task_owned}, {"set_exception", task_owned}, {NULL, NULL},
    };
    static const luaL_Reg functions[] = {
        {"spawn", spawn}, {"current_task", current_task}, {"all_tasks", all_tasks}, {NULL, NULL}};
    st->drops[NL_TASK] = drop;
    nl_object_class(L, st, NL_TASK, "neap.task", metas);
    nl_functions(L, st, methods);
    nl_functions(L, st, nl_tree_methods);
    lua_pop(L, 1);
    nl_functions(L, st, functions);
}

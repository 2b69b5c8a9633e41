/* ltree.c: a look at the program: all tasks as a tree, one task with all that it waits for, and where a task stands. */
#include "lneap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Where a task stands: from inside the core, so no Lua runs here ---- */

/* The innermost coroutine of the task: who waits, or who runs; NULL once it has ended. */
static lua_State *innermost(const nl_task *t) {
    nl_state *st = t->o.node.st;
    if (st->closed || t->co.L == NULL)
        return NULL;
    if (st->task == t)
        return st->chain != NULL ? st->chain->inner : t->co.L;
    int waits = t->wait.mode != NL_WAIT_NOT && !t->wait.woken && t->wait.thread != NULL;
    return waits ? t->wait.thread : t->co.L;
}

static int is_script(lua_State *co, lua_Debug *ar, const char *what) {
    lua_getinfo(co, what, ar);
    return ar->currentline > 0 && !nl_is_wrapper(ar);
}

/* Its innermost Lua frame, as "file:line". */
void nl_write_where(neap_task *task, void *user, char *buf, size_t cap) {
    nl_task *t = user;
    lua_State *co = innermost(t);
    lua_Debug ar;
    (void)task;
    if (cap == 0)
        return;
    buf[0] = '\0';
    for (int level = 0; co != NULL && lua_getstack(co, level, &ar); level++) {
        if (is_script(co, &ar, "Sl")) {
            snprintf(buf, cap, "%s:%d", ar.short_src, ar.currentline);
            return;
        }
    }
}

static int frame_text(const lua_Debug *ar, char *buf, size_t cap) {
    if (ar->name != NULL)
        return snprintf(buf, cap, "%s:%d: in '%s'", ar->short_src, ar->currentline, ar->name);
    if (ar->linedefined == 0)
        return snprintf(buf, cap, "%s:%d: in the main chunk", ar->short_src, ar->currentline);
    return snprintf(buf, cap, "%s:%d: in the function at line %d", ar->short_src, ar->currentline,
                    ar->linedefined);
}

static void write_frames(lua_State *co, neap_write_fn write, void *to) {
    lua_Debug ar;
    char line[LUA_IDSIZE + 128];
    for (int level = 0; level < NL_FRAMES_SHOWN && lua_getstack(co, level, &ar); level++) {
        if (!is_script(co, &ar, "Snl"))
            continue;
        int n = frame_text(&ar, line, sizeof line);
        write(line, n < (int)sizeof line ? (size_t)n : sizeof line - 1, to);
    }
}

/* The frames of the coroutine that waits, then those of the task's own. */
void nl_write_stack(neap_task *task, void *user, neap_write_fn write, void *to) {
    nl_task *t = user;
    lua_State *co = innermost(t);
    (void)task;
    if (co == NULL)
        return;
    write_frames(co, write, to);
    if (co != t->co.L)
        write_frames(t->co.L, write, to);
}

/* ---- Text ---- */

typedef struct text {
    char *bytes;
    size_t len, cap;
    int lost; /* memory was out */
} text;

static void add(const char *bytes, size_t len, void *user) {
    text *t = user;
    if (t->len + len > t->cap) {
        size_t cap = 2 * (t->len + len);
        char *grown = realloc(t->bytes, cap);
        t->lost |= grown == NULL;
        if (grown == NULL)
            return;
        t->bytes = grown;
        t->cap = cap;
    }
    memcpy(t->bytes + t->len, bytes, len);
    t->len += len;
}

static int text_to_string(lua_State *L) {
    const text *t = lua_touserdata(L, 1);
    lua_pushlstring(L, t->bytes, t->len);
    return 1;
}

/* Pushes what a function of the core has written, and frees it whether or not there is memory for a string. */
static int push_text(lua_State *L, nl_state *st, text *t, int32_t code) {
    lua_pushlightuserdata(L, t);
    int status = lua_pcall(L, 1, 1, 0);
    int lost = t->lost;
    free(t->bytes);
    if (status != LUA_OK)
        return lua_error(L);
    nl_check_code(L, st, code < 0 || !lost ? code : NEAP_ENOMEM);
    return 1;
}

/* ---- As data ---- */

static void set_number(lua_State *L, const char *name, lua_Number value) {
    lua_pushnumber(L, value);
    lua_setfield(L, -2, name);
}

static void set_integer(lua_State *L, const char *name, uint64_t value) {
    lua_pushinteger(L, (lua_Integer)value);
    lua_setfield(L, -2, name);
}

static void set_text(lua_State *L, const char *name, const char *value) {
    if (*value == '\0')
        return;
    lua_pushstring(L, value);
    lua_setfield(L, -2, name);
}

static void set_flag(lua_State *L, const char *name, int value) {
    lua_pushboolean(L, value);
    lua_setfield(L, -2, name);
}

static void push_scope(lua_State *L, neap_scope *scope, int64_t now) {
    int64_t when;
    uint32_t flags = (uint32_t)neap_scope_flags(scope);
    lua_createtable(L, 0, 5);
    set_flag(L, "group", (flags & NEAP_SCOPE_GROUP) != 0);
    set_flag(L, "shield", (flags & NEAP_SCOPE_SHIELD) != 0);
    set_flag(L, "cancelled", neap_scope_cancelled(scope) > 0);
    set_integer(L, "members", (uint64_t)neap_scope_members(scope));
    if (neap_scope_deadline(scope, &when) > 0)
        set_number(L, "left", (lua_Number)(when - now) / 1e9);
}

/* The scopes that the task is inside of, innermost first. */
static void add_scopes(lua_State *L, neap_task *task, int64_t now) {
    int n = 0;
    lua_newtable(L);
    for (neap_scope *s = neap_task_scope(task); s != NULL && neap_scope_owner(s) == task;
         s = neap_scope_parent(s)) {
        push_scope(L, s, now);
        lua_rawseti(L, -2, ++n);
    }
    lua_setfield(L, -2, "scopes");
}

/* The tasks with a reference each: what is built of them may raise, and finalizers may run meanwhile. */
typedef struct listing {
    neap_loop *loop;
    neap_task **tasks;
    size_t n, cap;
} listing;

static int32_t keep(neap_task *task, void *user) {
    listing *list = user;
    if (list->n == list->cap) {
        size_t cap = list->cap == 0 ? 64 : 2 * list->cap;
        neap_task **grown = realloc(list->tasks, cap * sizeof *grown);
        if (grown == NULL)
            return NEAP_ENOMEM;
        list->tasks = grown;
        list->cap = cap;
    }
    list->tasks[list->n++] = neap_task_ref(task);
    return 0;
}

static void let_go(listing *list) {
    for (size_t i = 0; i < list->n; i++)
        neap_task_unref(list->tasks[i]);
    free(list->tasks);
}

static void push_task(lua_State *L, neap_task *task, int64_t now) {
    char buf[512] = "";
    int64_t since = neap_task_waiting_since(task);
    const neap_task_ops *ops = neap_task_get_ops(task);
    lua_createtable(L, 0, 12);
    set_text(L, "name", neap_task_name(task));
    set_integer(L, "id", neap_task_id(task));
    set_integer(L, "steps", neap_task_steps(task));
    set_number(L, "time", (lua_Number)neap_task_step_time(task) / 1e9);
    set_text(L, "site", neap_task_site(task));
    neap_task_describe_wait(task, buf, sizeof buf);
    set_text(L, "doing", buf);
    if (neap_task_waits_for(task) != 0)
        set_integer(L, "waits_for", neap_task_waits_for(task));
    if (since >= 0)
        set_number(L, "since", (lua_Number)(now - since) / 1e9);
    if (ops->describe != NULL) {
        ops->describe(task, neap_task_user(task), buf, sizeof buf);
        set_text(L, "where", buf);
    }
    add_scopes(L, task, now);
    lua_newtable(L);
    lua_setfield(L, -2, "tasks");
}

enum {
    LIST = 1,
    TREE,
    ROOTS,
    BY_ID
};

static void push_by_id(lua_State *L, neap_task *task) {
    lua_pushnumber(L, (lua_Number)neap_task_id(task));
    lua_rawget(L, BY_ID);
}

/* Puts the task's table into the list of its parent, or of the roots. */
static void place_task(lua_State *L, neap_task *task) {
    neap_task *parent = neap_task_parent(task);
    lua_pushvalue(L, ROOTS);
    if (parent != NULL) {
        push_by_id(L, parent);
        if (lua_istable(L, -1))
            lua_getfield(L, -1, "tasks");
        else
            lua_pop(L, 1);
    }
    push_by_id(L, task);
    lua_rawseti(L, -2, (int)lua_rawlen(L, -2) + 1);
    lua_settop(L, BY_ID);
}

/* {name = of the loop, tasks = {{name =, id =, ..., tasks = {...}}, ...}} */
static int build_tree(lua_State *L) {
    const listing *list = lua_touserdata(L, LIST);
    int64_t now = neap_loop_time(list->loop);
    lua_createtable(L, 0, 2);
    lua_newtable(L);
    lua_newtable(L);
    for (size_t i = 0; i < list->n; i++) {
        lua_pushnumber(L, (lua_Number)neap_task_id(list->tasks[i]));
        push_task(L, list->tasks[i], now);
        lua_rawset(L, BY_ID);
    }
    for (size_t i = 0; i < list->n; i++)
        place_task(L, list->tasks[i]);
    lua_settop(L, ROOTS);
    lua_setfield(L, TREE, "tasks");
    set_text(L, "name", neap_loop_name(list->loop));
    return 1;
}

static int push_tree(lua_State *L, nl_state *st, nl_loop *l) {
    listing list = {l->loop, NULL, 0, 0};
    lua_pushcfunction(L, build_tree);
    int32_t code = neap_task_walk(l->loop, keep, &list);
    int status = LUA_OK;
    if (code == 0) {
        lua_pushlightuserdata(L, &list);
        status = lua_pcall(L, 1, 1, 0);
    }
    let_go(&list);
    if (status != LUA_OK)
        return lua_error(L);
    nl_check_code(L, st, code);
    return 1;
}

/* ---- For scripts ---- */

static int is_set(lua_State *L, const char *name) {
    lua_getfield(L, 1, name);
    int set = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return set;
}

/* Whether the options at 1 want a table; fills the flags for text. */
static int read_options(lua_State *L, nl_state *st, uint32_t *flags) {
    static const char *const names[] = {"stacks", "background", "format", NULL};
    if (lua_isnoneornil(L, 1))
        return 0;
    if (!lua_istable(L, 1))
        nl_type_error(L, st, 1, "a table of options");
    nl_check_options(L, st, 1, names);
    *flags = (is_set(L, "stacks") ? NEAP_TREE_STACKS : 0) |
             (is_set(L, "background") ? NEAP_TREE_BACKGROUND : 0);
    lua_getfield(L, 1, "format");
    const char *format = lua_isnil(L, -1) ? "text" : lua_tostring(L, -1);
    if (format == NULL || (strcmp(format, "text") != 0 && strcmp(format, "table") != 0))
        nl_throw(L, st, NEAP_EVALUE, "the option 'format' is \"text\" or \"table\"");
    return strcmp(format, "table") == 0;
}

static int tree(lua_State *L) {
    nl_state *st = NL_STATE(L);
    uint32_t flags = 0;
    int as_table = read_options(L, st, &flags);
    nl_loop *l = nl_loop_now(L, st);
    if (as_table)
        return push_tree(L, st, l);
    text t = {NULL, 0, 0, 0};
    lua_pushcfunction(L, text_to_string);
    return push_text(L, st, &t, neap_loop_write_tree(l->loop, flags, add, &t));
}

static int task_explain(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_task *t = nl_check(L, st, 1, NL_TASK, "a task");
    neap_task *task = nl_core_task(t);
    if (task == NULL) {
        lua_getfield(L, 1, "name");
        lua_pushvalue(L, 1);
        lua_call(L, 1, 1);
        lua_pushfstring(L, "%s has ended\n", lua_tostring(L, -1));
        return 1;
    }
    text to = {NULL, 0, 0, 0};
    lua_pushcfunction(L, text_to_string);
    return push_text(L, st, &to, neap_task_explain(task, add, &to));
}

const luaL_Reg nl_tree_methods[] = {{"explain", task_explain}, {NULL, NULL}};

void nl_open_tree(lua_State *L, nl_state *st) {
    static const luaL_Reg functions[] = {{"tree", tree}, {NULL, NULL}};
    nl_functions(L, st, functions);
}

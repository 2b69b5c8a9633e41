/* lcoro.c: coroutine.resume and wrap that let waits pass.  When the inner coroutine yields for a wait of its task, the
   resumer suspends itself likewise, and resumes the inner one when it is resumed.  And what of the engine a run
   replaces: these, and `require` (neap/require.lua). */
#include "lneap.h"

#include <string.h>

enum {
    PASSED = -2,
    FAILED = -1
};

#define IN_WAIT "cannot resume a coroutine that waits in a task"

/* What a run replaces, where a loaded module has it and we have something better. */
static const struct {
    const char *module, *name;
} replaced[] = {{"coroutine", "yield"}, {"coroutine", "resume"}, {"coroutine", "wrap"},
                {"_G", "require"},      {"_G", "pcall"},         {"_G", "xpcall"},
                {"_G", "assert"}};
enum {
    REPLACED = sizeof replaced / sizeof *replaced
};

static int is_dead(lua_State *co) {
    lua_Debug ar;
    int status = lua_status(co);
    if (status == LUA_YIELD)
        return 0;
    return status != LUA_OK || (!lua_getstack(co, 0, &ar) && lua_gettop(co) == 0);
}

static void push_thread(lua_State *L, lua_State *co) {
    lua_pushthread(co);
    lua_xmove(co, L, 1);
}

/* Coroutines inside a wait that went outward: only their own resumer may go on with them. */
static void mark_waiting(lua_State *L, nl_state *st, lua_State *co, int waiting) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, st->waiting);
    push_thread(L, co);
    if (waiting)
        lua_pushboolean(L, 1);
    else
        lua_pushnil(L);
    lua_rawset(L, -3);
    lua_pop(L, 1);
    st->passed += waiting ? 1 : -1;
}

static int is_waiting(lua_State *L, nl_state *st, int index) {
    if (st->passed == 0)
        return 0;
    lua_rawgeti(L, LUA_REGISTRYINDEX, st->waiting);
    lua_pushvalue(L, index);
    lua_rawget(L, -2);
    int waiting = lua_toboolean(L, -1);
    lua_pop(L, 2);
    return waiting;
}

static int refuse(lua_State *L, int nargs, const char *text) {
    lua_pop(L, nargs);
    lua_pushstring(L, text);
    return FAILED;
}

/* Resumes co with the nargs values on top of L; `through`: for a protected call.  Answers how many results are on top now,
   FAILED with the error there, or PASSED if the wait has to go outward. */
static int advance(lua_State *L, nl_state *st, lua_State *co, int nargs, int through) {
    if (is_dead(co))
        return refuse(L, nargs, "cannot resume dead coroutine");
    if (!lua_checkstack(co, nargs + 1))
        return refuse(L, nargs, "too many arguments to resume");
    nl_link link = {L, co, st->chain, st->chain != NULL ? st->chain->depth + 1 : 0,
                    (uint8_t)through};
    if (link.depth > NL_DEPTH_MAX)
        return refuse(L, nargs, "too many coroutines inside each other (stack overflow)");
    lua_xmove(L, co, nargs);
    int nres = 0;
    if (st->counts)
        nl_count_in(st, co);
    st->chain = &link;
    int status = nl_resume(co, L, nargs, &nres);
    st->chain = link.up;
    if (status != LUA_OK && status != LUA_YIELD) {
        nl_back(L);
        lua_xmove(co, L, 1);
        if (st->task != NULL)
            nl_note_death(L, st, co);
        return FAILED;
    }
    if (status == LUA_YIELD && nl_is_wait(st, nres)) {
        mark_waiting(L, st, co, 1);
        return PASSED;
    }
    if (!lua_checkstack(L, nres + 1)) {
        lua_pop(co, nres);
        return refuse(L, 0, "too many results to resume");
    }
    lua_xmove(co, L, nres);
    return nres;
}

/* ---- coroutine.resume ---- */

static int resume_again(lua_State *L);

static int resume_answer(lua_State *L, int n, nl_cont again) {
    if (n == PASSED)
        return nl_suspend(L, again);
    lua_pushboolean(L, n >= 0);
    if (n < 0)
        n = 1;
    lua_insert(L, -n - 1);
    return n + 1;
}

static int go_on(lua_State *L, lua_State *co, int through) {
    mark_waiting(L, NL_STATE(L), co, 0);
    return advance(L, NL_STATE(L), co, 0, through);
}

/* Resumes the coroutine at 1 with the values behind it. */
static int resume_first(lua_State *L, int through, nl_cont again) {
    lua_State *co = lua_tothread(L, 1);
    luaL_argcheck(L, co != NULL, 1, "coroutine expected");
    if (is_waiting(L, NL_STATE(L), 1))
        return resume_answer(L, refuse(L, 0, IN_WAIT), again);
    return resume_answer(L, advance(L, NL_STATE(L), co, lua_gettop(L) - 1, through), again);
}

static int resume_again(lua_State *L) {
    return resume_answer(L, go_on(L, lua_tothread(L, 1), 0), resume_again);
}

static int co_resume(lua_State *L) {
    return resume_first(L, 0, resume_again);
}

/* ---- Protected calls, where those of the engine let no wait through ---- */

static int protect_again(lua_State *L) {
    return resume_answer(L, go_on(L, lua_tothread(L, 1), 1), protect_again);
}

/* As resume, of a coroutine in which neap/wrap.lua runs a protected call. */
static int protect(lua_State *L) {
    return resume_first(L, 1, protect_again);
}

/* Whether L runs protected calls of the running task's own thread, and so yields for the task. */
int nl_is_protected(const nl_state *st, const lua_State *L) {
    for (const nl_link *link = st->chain; L != st->task->co.L; L = link->outer, link = link->up)
        if (link == NULL || link->inner != L || !link->through)
            return 0;
    return 1;
}

/* ---- coroutine.wrap ---- */

static int wrap_again(lua_State *L);

static int wrap_answer(lua_State *L, lua_State *co, int n) {
    if (n >= 0)
        return n;
    if (n == PASSED) {
        lua_settop(L, 0);
        push_thread(L, co);
        return nl_suspend(L, wrap_again);
    }
    if (lua_status(co) > LUA_YIELD) {
        lua_pushvalue(L, -1);
        lua_xmove(L, co, 1); /* what a handler of a variable to be closed gets */
        nl_reset(co);
        if (lua_gettop(co) > 0) {
            lua_pop(L, 1);
            lua_xmove(co, L, 1);
        }
    }
    char site[LUA_IDSIZE + 16];
    if (lua_type(L, -1) == LUA_TSTRING && *nl_site(L, site, sizeof site) != '\0') {
        lua_pushfstring(L, "%s: ", site);
        lua_insert(L, -2);
        lua_concat(L, 2);
        nl_renote_death(L, NL_STATE(L));
    }
    return lua_error(L);
}

static int wrap_again(lua_State *L) {
    lua_State *co = lua_tothread(L, 1); /* kept: behind a wrapper this is another closure */
    return wrap_answer(L, co, go_on(L, co, 0));
}

int nl_wrap_call(lua_State *L) {
    lua_State *co = lua_tothread(L, lua_upvalueindex(2));
    if (is_waiting(L, NL_STATE(L), lua_upvalueindex(2)))
        return luaL_error(L, IN_WAIT);
    return wrap_answer(L, co, advance(L, NL_STATE(L), co, lua_gettop(L), 0));
}

static int co_wrap(lua_State *L) {
    luaL_checktype(L, 1, LUA_TFUNCTION);
    luaL_argcheck(L, !(NL_PUC51 && lua_iscfunction(L, 1)), 1, "Lua function expected");
    lua_pushlightuserdata(L, NL_STATE(L));
    lua_State *co = lua_newthread(L);
    lua_pushvalue(L, 1);
    lua_xmove(L, co, 1);
    lua_pushcclosure(L, nl_wrap_call, 2);
    return 1;
}

/* ---- assert with an error that is no string ---- */

static int assert_any(lua_State *L) {
    luaL_checkany(L, 1);
    if (lua_toboolean(L, 1))
        return lua_gettop(L);
    if (lua_isnoneornil(L, 2))
        return luaL_error(L, "assertion failed!");
    lua_settop(L, 2);
    return lua_error(L);
}

/* ---- Replacing the functions of the engine ---- */

static void push_module(lua_State *L, const char *name) {
    lua_getfield(L, LUA_REGISTRYINDEX, "_LOADED");
    lua_getfield(L, -1, name);
    lua_replace(L, -2);
}

/* Pushes our function for this one, or nil. */
static void push_ours(lua_State *L, nl_state *st, int i) {
    int is_coroutine = strcmp(replaced[i].module, "coroutine") == 0;
    lua_rawgeti(L, LUA_REGISTRYINDEX, is_coroutine ? st->coroutine : st->module);
    lua_getfield(L, -1, replaced[i].name);
    lua_replace(L, -2);
}

/* Whether the value on top may be replaced.  A global that is no function is the script's.  Our `require` calls the one
   that was there when the module was loaded: one that came later stays. */
static int is_replaceable(lua_State *L, nl_state *st, int i) {
    if (strcmp(replaced[i].name, "require") != 0)
        return strcmp(replaced[i].module, "_G") != 0 || lua_isfunction(L, -1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, st->patched);
    lua_getfield(L, -1, "require");
    int same = lua_rawequal(L, -1, -3);
    lua_pop(L, 2);
    return same;
}

static void replace(lua_State *L, nl_state *st, int i) {
    int top = lua_gettop(L);
    const char *name = replaced[i].name;
    push_module(L, replaced[i].module);
    push_ours(L, st, i);
    if (lua_istable(L, top + 1) && lua_isfunction(L, top + 2)) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, st->patched);
        lua_getfield(L, top + 1, name);
        if (is_replaceable(L, st, i)) {
            lua_setfield(L, top + 3, name);
            lua_pushvalue(L, top + 2);
            lua_setfield(L, top + 1, name);
        }
    }
    lua_settop(L, top);
}

/* Puts ours in; the engine's own are kept. */
void nl_patch(lua_State *L, nl_state *st) {
    if (st->patches++ > 0)
        return;
    for (int i = 0; i < REPLACED; i++)
        replace(L, st, i);
}

/* Puts the engine's back, where nobody has replaced ours meanwhile. */
static void restore(lua_State *L, nl_state *st, void *arg) {
    (void)arg;
    for (int i = 0; i < REPLACED; i++) {
        const char *name = replaced[i].name;
        lua_settop(L, 0);
        push_module(L, replaced[i].module);
        push_ours(L, st, i);
        if (!lua_istable(L, 1) || lua_isnil(L, 2))
            continue;
        lua_getfield(L, 1, name);
        if (!lua_rawequal(L, -1, 2))
            continue;
        lua_rawgeti(L, LUA_REGISTRYINDEX, st->patched);
        lua_getfield(L, -1, name);
        lua_setfield(L, 1, name);
    }
}

void nl_unpatch(nl_state *st) {
    if (--st->patches > 0)
        return;
    if (nl_enter(st, restore, NULL) != LUA_OK)
        lua_pop(st->R, 1);
}

/* neap.coroutine: the engine's table with ours in it. */
void nl_open_coroutine(lua_State *L, nl_state *st) {
    static const luaL_Reg waits[] = {{"yield", nl_yield}, {"resume", co_resume}, {NULL, NULL}};
    static const luaL_Reg makers[] = {{"wrap", co_wrap}, {NULL, NULL}};
    static const luaL_Reg protects[] = {{"protect", protect}, {NULL, NULL}};
    static const luaL_Reg asserts[] = {{"assert", assert_any}, {NULL, NULL}};
    if (NL_PROTECTS)
        nl_waits(L, st, protects);
    if (NL_ASSERTS_STRINGS)
        nl_functions(L, st, asserts);
    lua_newtable(L);
    push_module(L, "coroutine");
    for (lua_pushnil(L); lua_istable(L, -2) && lua_next(L, -2);) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, -5);
    }
    lua_pop(L, 1);
    nl_waits(L, st, waits);
    nl_functions(L, st, makers);
    lua_pushvalue(L, -1);
    st->coroutine = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_setfield(L, -2, "coroutine");
    nl_waits(L, st, nl_yield_calls);
    lua_rawgeti(L, LUA_REGISTRYINDEX, st->patched);
    lua_getglobal(L, "require");
    lua_setfield(L, -2, "require");
    lua_pop(L, 1);
}

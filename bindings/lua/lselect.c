/* lselect.c: the cases of a select.  neap/select.lua spawns the functions among them. */
#include "lneap.h"

/* One case, whose object lies at `at`, the value to send and its priority behind it. */
typedef struct choice {
    const nl_case *ops; /* NULL: a future, or what becomes one */
    int sends;
    int at;
} choice;

static const nl_case *ops_of(lua_State *L, nl_state *st, int index) {
    nl_node *node = nl_node_at(L, st, index);
    return node != NULL ? st->cases[node->kind] : NULL;
}

static int can_become_future(lua_State *L, nl_state *st, int at) {
    return nl_to_object(L, st, at) != NULL || nl_has_await(L, at) || lua_isthread(L, at) ||
           nl_is_callable(L, at);
}

/* Pushes what case i of the list at 1 consists of: an object, or {channel, value[, priority]}. */
static choice push_case(lua_State *L, nl_state *st, int i) {
    choice c = {NULL, 0, lua_gettop(L) + 1};
    lua_rawgeti(L, 1, i);
    c.ops = ops_of(L, st, c.at);
    if (c.ops != NULL)
        return c;
    if (lua_istable(L, c.at)) {
        for (int part = 1; part <= 3; part++)
            lua_rawgeti(L, c.at, part);
        c.ops = ops_of(L, st, c.at + 1);
        c.sends = c.ops != NULL && c.ops->begin_send != NULL;
    }
    if (c.sends && lua_isnil(L, c.at + 2))
        nl_throw(L, st, NEAP_EVALUE, "case %d: nil cannot be sent: it is the end of a channel", i);
    if (c.sends) {
        lua_remove(L, c.at);
        return c;
    }
    c.ops = NULL;
    lua_settop(L, c.at);
    if (!can_become_future(L, st, c.at))
        nl_throw(L, st, NEAP_ETYPE,
                 "case %d: something to wait for is needed (a function, future, channel, lock, "
                 "event ... or {channel, value}), not a %s",
                 i, luaL_typename(L, c.at));
    nl_check_ensure(L, st, c.at);
    return c;
}

static int32_t begin(lua_State *L, nl_state *st, const choice *c, neap_future **ret_future,
                     neap_value *ret_value) {
    return c->sends ? c->ops->begin_send(L, st, c->at, ret_future)
                    : c->ops->begin(L, st, c->at, ret_future, ret_value);
}

static int answer(lua_State *L, nl_state *st, const choice *c, int32_t code,
                  const neap_value *value) {
    return c->sends ? c->ops->answer_sent(L, st, code) : c->ops->answer(L, st, code, value);
}

/* Whether something is there already: then its values are pushed. */
static int is_there(lua_State *L, nl_state *st, const choice *c, int *ret_n) {
    neap_value value;
    if (c->ops == NULL) {
        nl_object *o = nl_to_object(L, st, c->at);
        if (o == NULL || nl_state_of_object(o) == NEAP_STATE_PENDING)
            return 0;
        *ret_n = nl_push_own_outcome(L, st, c->at);
        return *ret_n < 0 ? nl_raise_of(L, st, c->at) : 1;
    }
    int32_t code = begin(L, st, c, NULL, &value);
    if (code == NEAP_EAGAIN)
        return 0;
    *ret_n = answer(L, st, c, code, &value);
    if (code == NEAP_KIND_PTR && value.ptr.tag == st)
        nl_cell_gone(value.ptr.ptr);
    return 1;
}

/* now(cases): the index and the values of the first case that need not wait, or nothing. */
static int now(lua_State *L) {
    nl_state *st = NL_STATE(L);
    if (!lua_istable(L, 1))
        nl_type_error(L, st, 1, "a list of cases");
    lua_settop(L, 1);
    nl_check_wait(L, st);
    if (nl_is_spent(st))
        return nl_again(L, st, now);
    int n = (int)lua_rawlen(L, 1), values;
    if (n == 0)
        nl_throw(L, st, NEAP_EVALUE, "nothing to select from: the list is empty");
    for (int i = 1; i <= n; i++, lua_settop(L, 1))
        (void)push_case(L, st, i);
    for (int i = 1; i <= n; i++, lua_settop(L, 1)) {
        choice c = push_case(L, st, i);
        lua_pushinteger(L, i);
        if (is_there(L, st, &c, &values))
            return 1 + values;
    }
    return 0;
}

/* Keeps the list at index 1. */
static int select_end(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_future *future = nl_woken(L, st);
    neap_value value;
    nl_check_code(L, st, neap_future_value(future, &value, sizeof value));
    int i = (int)value.i;
    neap_future *chosen = neap_future_list_get(future, (size_t)i);
    choice c = push_case(L, st, i + 1);
    lua_pushinteger(L, i + 1);
    if (c.ops == NULL) {
        nl_wait_end(st->task);
        int n = nl_push_own_outcome(L, st, c.at);
        return n < 0 ? nl_raise_of(L, st, c.at) : 1 + n;
    }
    int32_t code = neap_future_value(chosen, &value, sizeof value);
    int n = answer(L, st, &c, code, &value);
    nl_wait_end(st->task);
    return 1 + n;
}

/* The futures of the cases that have begun. */
typedef struct members {
    int n;
    uint8_t *own; /* begun for the select */
    neap_future *futures[];
} members;

static members *push_members(lua_State *L, int room) {
    size_t size = sizeof(members) + (size_t)room * (sizeof(neap_future *) + 1);
    members *m = lua_newuserdata(L, size);
    m->n = 0;
    m->own = (uint8_t *)&m->futures[room];
    return m;
}

static void give_up(members *m) {
    for (int i = 0; i < m->n; i++) {
        if (m->own[i])
            neap_future_cancel(m->futures[i], NULL);
        neap_future_unref(m->futures[i]);
    }
}

static void begin_member(lua_State *L, nl_state *st, members *m) {
    neap_future *future = NULL;
    neap_value value;
    choice c = push_case(L, st, m->n + 1);
    if (c.ops == NULL) {
        future = neap_future_ref(nl_check_future(L, st, c.at));
    } else {
        int32_t code = begin(L, st, &c, &future, &value);
        if (code != NEAP_PENDING) {
            nl_check_code(L, st, code);
            nl_throw(L, st, NEAP_EVALUE, "a select cannot send to itself");
        }
    }
    m->own[m->n] = c.ops != NULL;
    m->futures[m->n++] = future;
    if (c.ops == NULL)
        nl_reach(L, nl_check_object(L, st, c.at), c.at);
    lua_settop(L, 2);
}

/* Begins all cases of the list at 1, in a protected call: what was begun before one that cannot be is given up. */
static int begin_all(lua_State *L) {
    nl_state *st = NL_STATE(L);
    members *m = lua_touserdata(L, 2);
    for (int n = (int)lua_rawlen(L, 1); m->n < n;)
        begin_member(L, st, m);
    return 0;
}

/* await(cases): the index and the values of the first case that comes; functions have become tasks. */
static int await(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_future *future = NULL;
    lua_settop(L, 1);
    nl_check_wait(L, st);
    lua_pushlightuserdata(L, st);
    lua_pushcclosure(L, begin_all, 1);
    lua_pushvalue(L, 1);
    members *m = push_members(L, (int)lua_rawlen(L, 1));
    lua_pushvalue(L, -1);
    lua_insert(L, 2); /* stays while it is used */
    int failed = lua_pcall(L, 2, 0, 0) != LUA_OK;
    int32_t code = failed ? 0
                          : neap_select(neap_future_loop(st->task->o.future), m->futures,
                                        (size_t)m->n, &future);
    if (failed || code < 0)
        give_up(m);
    if (failed)
        return lua_error(L);
    nl_check_code(L, st, code);
    for (int i = 0; i < m->n; i++)
        neap_future_unref(m->futures[i]);
    return nl_park(L, st, future, 1, select_end);
}

/* futures(list): a list of futures for the values of the list; nothing is spawned if one of them can be none. */
static int futures(lua_State *L) {
    nl_state *st = NL_STATE(L);
    if (!lua_istable(L, 1))
        nl_type_error(L, st, 1, "a list of functions and futures");
    lua_settop(L, 1);
    nl_push_members(L, st, 1, (int)lua_rawlen(L, 1), 0);
    return 1;
}

/* sort_of(case): "body" of what is spawned, "task" of what was, else nothing. */
static int sort_of(lua_State *L) {
    nl_state *st = NL_STATE(L);
    if (ops_of(L, st, 1) != NULL)
        return 0;
    if (nl_to_object(L, st, 1) == NULL) {
        lua_pushstring(L, can_become_future(L, st, 1) ? "body" : NULL);
        return 1;
    }
    lua_pushstring(L, nl_test(L, st, 1, NL_TASK) != NULL ? "task" : NULL);
    return 1;
}

/* dropped(i): says that the values of case i went. */
static int dropped(lua_State *L) {
    nl_state *st = NL_STATE(L);
    lua_pushfstring(L,
                    "case %d of a select completed although another was first: its values are "
                    "dropped (take them with late = function(i, ...) end)",
                    (int)lua_tointeger(L, 1));
    neap_loop_fail(neap_future_loop(st->task->o.future), NEAP_EINVALID_STATE, lua_tostring(L, -1),
                   NULL, NULL);
    return 0;
}

void nl_open_select(lua_State *L, nl_state *st) {
    static const luaL_Reg waits[] = {{"now", now}, {"await", await}, {NULL, NULL}};
    static const luaL_Reg functions[] = {
        {"futures", futures}, {"sort_of", sort_of}, {"dropped", dropped}, {NULL, NULL}};
    lua_newtable(L);
    nl_functions(L, st, functions);
    nl_waits(L, st, waits);
    lua_setfield(L, -2, "selects");
}

/* llocal.c: task-local values.  The core carries a cell from task to task; the cell anchors the value, and the key with
   it, so that a key's address is not used again while somebody sees a value under it. */
#include "lneap.h"

#include <stdlib.h>

typedef struct cell {
    nl_life *life;
    int ref; /* {key, value} */
} cell;

static void cell_gone(void *user) {
    cell *c = user;
    if (c->life->st != NULL)
        nl_unanchor(c->life->st, c->ref);
    nl_life_unref(c->life);
    free(c);
}

static void *self(lua_State *L, nl_state *st) {
    return nl_check(L, st, 1, NL_LOCAL, "a task-local");
}

/* A new key, with the value that is seen where none was set. */
static int task_local(lua_State *L) {
    nl_state *st = NL_STATE(L);
    lua_settop(L, 1);
    nl_make(L, st, NL_LOCAL, sizeof(nl_node), 1);
    lua_pushvalue(L, 1);
    nl_setslot(L, 2, 1);
    return 1;
}

static int local_get(lua_State *L) {
    nl_state *st = NL_STATE(L);
    void *key = self(L, st), *value;
    nl_loop *l = nl_loop_now(L, st);
    int32_t found = neap_local_get(l->loop, key, &value);
    nl_check_code(L, st, found);
    if (found == 0 || value == NULL) {
        nl_getslot(L, 1, 1);
        return 1;
    }
    nl_anchored(L, ((cell *)value)->ref);
    lua_rawgeti(L, -1, 2);
    return 1;
}

static int local_set(lua_State *L) {
    nl_state *st = NL_STATE(L);
    void *key = self(L, st);
    nl_loop *l = nl_loop_now(L, st);
    lua_settop(L, 2);
    lua_createtable(L, 2, 0);
    lua_pushvalue(L, 1);
    lua_rawseti(L, 3, 1);
    lua_pushvalue(L, 2);
    lua_rawseti(L, 3, 2);
    int ref = nl_anchor(L, st);
    cell *c = nl_alloc_with(L, st, sizeof *c, ref);
    c->life = nl_life_ref(st);
    c->ref = ref;
    nl_check_code(L, st, neap_local_set(l->loop, key, c, cell_gone));
    return 0;
}

void nl_open_local(lua_State *L, nl_state *st) {
    static const luaL_Reg methods[] = {{"get", local_get}, {"set", local_set}, {NULL, NULL}};
    static const luaL_Reg functions[] = {{"task_local", task_local}, {NULL, NULL}};
    nl_class(L, st, NL_LOCAL, "neap.task_local", methods, NULL, NULL);
    lua_pop(L, 1);
    nl_functions(L, st, functions);
}

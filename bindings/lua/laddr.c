/* laddr.c: addresses as strings: "1.2.3.4:80", "[::1]:80", a path, "@abstract". */
#include "lneap.h"

/* Reads the address at index; answers a negative code if it is none that can be used. */
int32_t nl_address(lua_State *L, nl_state *st, int index, neap_addr *addr) {
    if (lua_type(L, index) != LUA_TSTRING)
        nl_type_error(L, st, index, "an address (a string)");
    return neap_addr_parse(lua_tostring(L, index), addr);
}

void nl_push_address(lua_State *L, const neap_addr *addr) {
    char text[256];
    if (addr->len == 0)
        text[0] = '\0';
    else
        neap_addr_format(addr, text, sizeof text);
    lua_pushstring(L, text);
}

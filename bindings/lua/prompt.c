/* prompt.c: the keyboard of the command's prompt.  Nothing here waits: neap/prompt.lua does so, for the descriptor, and then
   takes what is there, byte by byte, so that what follows a line is left to whoever reads next. */
#include "prompt.h"

#include "edit.h"

#include <errno.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    HISTORY_PATH_MAX = 4096
};

static struct {
    int open;
    int editing;                    /* by nl_edit_key; else the terminal, or nobody */
    char history[HISTORY_PATH_MAX]; /* its file, or "" */
    char *line;                     /* what was read of a line that is not edited */
    size_t len, cap;
} keyboard;

/* ---- The history's file ---- */

static int join(char *buf, const char *directory, const char *name) {
    int n = snprintf(buf, HISTORY_PATH_MAX, "%s%s", directory, name);
    return n > 0 && n < HISTORY_PATH_MAX;
}

/* $XDG_STATE_HOME/neap/history, or ~/.neap_history. */
static void find_history(void) {
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    if (state != NULL && *state == '/') {
        if (join(keyboard.history, state, "/neap"))
            mkdir(keyboard.history, 0700);
        if (join(keyboard.history, state, "/neap/history"))
            return;
    } else if (home != NULL && *home == '/' && join(keyboard.history, home, "/.neap_history")) {
        return;
    }
    keyboard.history[0] = '\0';
}

/* ---- Opening and closing ---- */

static void shut(void) {
    if (!keyboard.open)
        return;
    keyboard.open = 0;
    if (keyboard.editing && keyboard.history[0] != '\0')
        nl_edit_save(keyboard.history);
    if (keyboard.editing)
        nl_edit_close();
    free(keyboard.line);
    keyboard.line = NULL;
    keyboard.len = keyboard.cap = 0;
}

static void open_keyboard(const char *program) {
    keyboard.open = 1;
    keyboard.editing = isatty(STDIN_FILENO) && nl_edit_open(program);
    atexit(shut); /* whoever ends the program: the terminal is to be as it was */
    if (!keyboard.editing)
        return;
    find_history();
    if (keyboard.history[0] != '\0')
        nl_edit_load(keyboard.history);
}

/* Standard input without a buffer: a line that reads from it gets what follows the line. */
void nl_prompt_prepare(void) {
    setvbuf(stdin, NULL, _IONBF, 0);
}

static int keyboard_close(lua_State *L) {
    (void)L;
    shut();
    return 0;
}

/* ---- Reading ---- */

/* begin(prompt): the prompt must stay until the line has come. */
static int keyboard_begin(lua_State *L) {
    const char *prompt = luaL_checkstring(L, 1);
    fflush(stdout);
    keyboard.len = 0;
    if (keyboard.editing) {
        nl_edit_begin(prompt);
    } else {
        fputs(prompt, stdout);
        fflush(stdout);
    }
    return 0;
}

static void add(lua_State *L, char byte) {
    if (keyboard.len == keyboard.cap) {
        size_t cap = keyboard.cap == 0 ? 256 : 2 * keyboard.cap;
        char *line = realloc(keyboard.line, cap);
        if (line == NULL)
            luaL_error(L, "not enough memory");
        keyboard.line = line;
        keyboard.cap = cap;
    }
    keyboard.line[keyboard.len++] = byte;
}

static int push_line(lua_State *L) {
    size_t len;
    if (keyboard.editing) {
        const char *text = nl_edit_text(&len);
        lua_pushlstring(L, text, len);
    } else {
        lua_pushlstring(L, keyboard.line != NULL ? keyboard.line : "", keyboard.len);
    }
    return 1;
}

static int take(lua_State *L, char byte) {
    nl_edit state = NL_EDIT_MORE;
    if (keyboard.editing)
        state = nl_edit_key(byte);
    else if (byte == '\n')
        state = NL_EDIT_LINE;
    else
        add(L, byte);
    if (state == NL_EDIT_LINE)
        return push_line(L);
    if (state == NL_EDIT_END)
        lua_pushboolean(L, 0);
    else
        lua_pushnil(L);
    return 1;
}

/* key(): takes a byte.  Answers the line if that has ended it, false at the end of the input, else nil. */
static int keyboard_key(lua_State *L) {
    char byte;
    ssize_t n = read(STDIN_FILENO, &byte, 1);
    if (n > 0)
        return take(L, byte);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) {
        lua_pushnil(L);
        return 1;
    }
    if (!keyboard.editing && keyboard.len > 0)
        return push_line(L);
    lua_pushboolean(L, 0);
    return 1;
}

/* stop(): the line is given up. */
static int keyboard_stop(lua_State *L) {
    (void)L;
    if (keyboard.editing)
        nl_edit_end();
    return 0;
}

static int keyboard_hide(lua_State *L) {
    (void)L;
    if (keyboard.editing)
        nl_edit_hide();
    return 0;
}

static int keyboard_show(lua_State *L) {
    (void)L;
    fflush(stdout);
    if (keyboard.editing)
        nl_edit_show();
    return 0;
}

static int keyboard_remember(lua_State *L) {
    if (keyboard.editing)
        nl_edit_remember(luaL_checkstring(L, 1));
    return 0;
}

void nl_push_keyboard(lua_State *L, const char *program) {
    static const luaL_Reg functions[] = {{"begin", keyboard_begin}, {"key", keyboard_key},
                                         {"stop", keyboard_stop},   {"hide", keyboard_hide},
                                         {"show", keyboard_show},   {"remember", keyboard_remember},
                                         {"close", keyboard_close}, {NULL, NULL}};
    open_keyboard(program);
    lua_newtable(L);
    for (const luaL_Reg *f = functions; f->name != NULL; f++) {
        lua_pushcfunction(L, f->func);
        lua_setfield(L, -2, f->name);
    }
}

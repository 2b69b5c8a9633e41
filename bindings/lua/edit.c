/* edit.c: editing with libedit (see edit.h).  libedit reads by itself until a key is complete, some of its commands until
   they are; that would stop the loop.  So it gets whole keys only, from memory, and the commands that read on are
   bound to nothing. */
#include "edit.h"

#include <histedit.h>
#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>
#include <wchar.h>

enum {
    ESCAPE = 27,
    KEY_MAX = 32
};

static struct {
    EditLine *el;
    History *history;
    const char *prompt;
    char key[KEY_MAX]; /* the bytes of the next key, so far */
    size_t key_len;
    size_t taken; /* how many of them libedit has */
    char end;     /* the byte that ends the input on an empty line */
    const char *text;
    size_t text_len;
    int editing;
} editor;

/* ---- Keys ---- */

/* How many bytes a character has, by its first. */
static size_t char_length(unsigned char first) {
    if (MB_CUR_MAX == 1 || first < 0xc2 || first > 0xf4)
        return 1;
    return first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

/* Whether the bytes are a whole key: a character, or escape and one, or the sequence of a function key. */
static int is_key(const char *key, size_t len) {
    if (key[0] != ESCAPE)
        return len >= char_length((unsigned char)key[0]);
    if (len == 1)
        return 0;
    if (key[1] == 'O')
        return len > 2;
    if (key[1] == '[')
        return len > 2 && key[len - 1] >= '@' && key[len - 1] <= '~';
    return len - 1 >= char_length((unsigned char)key[1]);
}

/* Keys of terminals that libedit does not know, and what is to be done without reading on. */
static const char *const bindings[][2] = {{"\\e[3~", "ed-delete-next-char"},
                                          {"\\e[1~", "ed-move-to-beg"},
                                          {"\\e[7~", "ed-move-to-beg"},
                                          {"\\e[H", "ed-move-to-beg"},
                                          {"\\eOH", "ed-move-to-beg"},
                                          {"\\e[4~", "ed-move-to-end"},
                                          {"\\e[8~", "ed-move-to-end"},
                                          {"\\e[F", "ed-move-to-end"},
                                          {"\\eOF", "ed-move-to-end"},
                                          {"\\e[A", "ed-prev-history"},
                                          {"\\eOA", "ed-prev-history"},
                                          {"\\e[B", "ed-next-history"},
                                          {"\\eOB", "ed-next-history"},
                                          {"\\e[C", "ed-next-char"},
                                          {"\\eOC", "ed-next-char"},
                                          {"\\e[D", "ed-prev-char"},
                                          {"\\eOD", "ed-prev-char"},
                                          {"\\e[1;5C", "em-next-word"},
                                          {"\\e[1;5D", "ed-prev-word"},
                                          {"^R", "ed-search-prev-history"},
                                          {"^S", "ed-search-next-history"},
                                          {"^W", "ed-delete-prev-word"},
                                          {"^I", "ed-insert"},
                                          {"^V", "ed-unassigned"},
                                          {"^X", "ed-unassigned"},
                                          {"\\ex", "ed-unassigned"},
                                          {"\\eX", "ed-unassigned"}};

enum {
    BINDINGS = sizeof bindings / sizeof *bindings
};

/* libedit drops nothing of a sequence that it does not know but its head: the rest would be typed. */
static int is_bound(const char *key, size_t len) {
    if (key[0] != ESCAPE || len < 3)
        return 1;
    for (int i = 0; i < BINDINGS; i++)
        if (strncmp(bindings[i][0], "\\e", 2) == 0 && strlen(bindings[i][0] + 2) == len - 1 &&
            memcmp(bindings[i][0] + 2, key + 1, len - 1) == 0)
            return 1;
    return 0;
}

/* libedit reads here. */
static int next_char(EditLine *el, wchar_t *ret_char) {
    (void)el;
    mbstate_t state;
    memset(&state, 0, sizeof state);
    if (editor.taken == editor.key_len)
        return -1;
    size_t n = mbrtowc(ret_char, editor.key + editor.taken, editor.key_len - editor.taken, &state);
    if (n == 0 || n > editor.key_len) {
        *ret_char = (unsigned char)editor.key[editor.taken];
        n = 1;
    }
    editor.taken += n;
    return 1;
}

/* ---- Opening and closing ---- */

static const char *get_prompt(EditLine *el) {
    (void)el;
    return editor.prompt;
}

static int open_editor(const char *program) {
    editor.el = el_init(program, stdin, stdout, stderr);
    if (editor.el == NULL)
        return 0;
    el_set(editor.el, EL_PROMPT, get_prompt);
    el_set(editor.el, EL_EDITOR, "emacs");
    el_set(editor.el, EL_SIGNAL, 0);
    el_set(editor.el, EL_GETCFN, next_char);
    for (int i = 0; i < BINDINGS; i++)
        el_set(editor.el, EL_BIND, bindings[i][0], bindings[i][1], NULL);
    return 1;
}

static void open_history(void) {
    HistEvent event;
    editor.history = history_init();
    if (editor.history == NULL)
        return;
    history(editor.history, &event, H_SETSIZE, NL_HISTORY_MAX);
    history(editor.history, &event, H_SETUNIQUE, 1);
    el_set(editor.el, EL_HIST, history, editor.history);
}

int nl_edit_open(const char *program) {
    struct termios now;
    if (tcgetattr(STDIN_FILENO, &now) != 0 || !isatty(STDOUT_FILENO))
        return 0;
    editor.end = (char)now.c_cc[VEOF];
    setlocale(LC_CTYPE, ""); /* libedit edits the characters of the locale */
    if (strcmp(nl_langinfo(CODESET), "ANSI_X3.4-1968") == 0)
        setlocale(LC_CTYPE, "C.UTF-8");
    editor.prompt = "";
    if (!open_editor(program))
        return 0;
    open_history();
    return 1;
}

void nl_edit_close(void) {
    if (editor.el == NULL)
        return;
    nl_edit_end();
    el_end(editor.el);
    if (editor.history != NULL)
        history_end(editor.history);
    editor.el = NULL;
    editor.history = NULL;
}

/* ---- A line ---- */

void nl_edit_begin(const char *prompt) {
    nl_edit_end();
    editor.prompt = prompt;
    editor.key_len = 0;
    editor.editing = 1;
    el_resize(editor.el);
    el_set(editor.el, EL_UNBUFFERED, 1);
}

static int is_empty(void) {
    const LineInfo *line = el_line(editor.el);
    return line->lastchar == line->buffer;
}

static nl_edit take_key(void) {
    int n = 0;
    const char *text = el_gets(editor.el, &n);
    editor.key_len = 0;
    if (text == NULL || n <= 0 || text[n - 1] != '\n')
        return NL_EDIT_MORE;
    editor.text = text;
    editor.text_len = (size_t)n - 1;
    nl_edit_end();
    return NL_EDIT_LINE;
}

nl_edit nl_edit_key(char byte) {
    if (editor.key_len == 0 && byte == editor.end && is_empty())
        return NL_EDIT_END;
    editor.key[editor.key_len++] = byte;
    editor.taken = 0;
    if (!is_key(editor.key, editor.key_len) && editor.key_len < KEY_MAX)
        return NL_EDIT_MORE;
    if (is_bound(editor.key, editor.key_len))
        return take_key();
    editor.key_len = 0;
    return NL_EDIT_MORE;
}

const char *nl_edit_text(size_t *ret_len) {
    *ret_len = editor.text_len;
    return editor.text;
}

void nl_edit_end(void) {
    if (!editor.editing)
        return;
    editor.editing = 0;
    el_set(editor.el, EL_UNBUFFERED, 0);
}

void nl_edit_hide(void) {
    char *clear = NULL;
    if (!editor.editing)
        return;
    el_get(editor.el, EL_GETTC, "cd", &clear);
    fputs(clear != NULL ? "\r" : "\r\n", stdout);
    if (clear != NULL)
        fputs(clear, stdout);
}

void nl_edit_show(void) {
    if (editor.editing)
        el_set(editor.el, EL_REFRESH);
}

/* ---- History ---- */

void nl_edit_remember(const char *line) {
    HistEvent event;
    if (editor.history != NULL)
        history(editor.history, &event, H_ENTER, line);
}

void nl_edit_load(const char *path) {
    HistEvent event;
    if (editor.history != NULL)
        history(editor.history, &event, H_LOAD, path);
}

void nl_edit_save(const char *path) {
    HistEvent event;
    if (editor.history != NULL)
        history(editor.history, &event, H_SAVE, path);
}

/* edit.h: a line that is edited on the terminal, one byte of the keyboard at a time: nothing here waits.  edit.c does it
   with libedit; edit_none.c stands where that was not there, and the terminal's own editing has to do. */
#ifndef NEAP_LUA_EDIT_H
#define NEAP_LUA_EDIT_H

#include <stddef.h>

typedef enum nl_edit {
    NL_EDIT_MORE, /* the line is not complete */
    NL_EDIT_LINE,
    NL_EDIT_END /* of the input */
} nl_edit;

/* Prepares to edit on standard input and output.  Answers whether that can be done. */
int nl_edit_open(const char *program);

/* Ends it.  The terminal is as it was. */
void nl_edit_close(void);

/* Shows the prompt, which must stay, and an empty line; from here on the terminal hands over each key. */
void nl_edit_begin(const char *prompt);

/* Takes a byte that was read. */
nl_edit nl_edit_key(char byte);

/* The line without its end, until the next nl_edit_begin. */
const char *nl_edit_text(size_t *ret_len);

/* The terminal is as between two lines.  Without effect if it is so. */
void nl_edit_end(void);

/* Around what others print while a line is edited: takes it away, and draws it again. */
void nl_edit_hide(void);
void nl_edit_show(void);

/* The history, of at most so many lines. */
enum {
    NL_HISTORY_MAX = 1000
};
void nl_edit_remember(const char *line);
void nl_edit_load(const char *path);
void nl_edit_save(const char *path);

#endif

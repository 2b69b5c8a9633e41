/* edit_none.c: no editor: see edit.h. */
#include "edit.h"

int nl_edit_open(const char *program) {
    (void)program;
    return 0;
}

void nl_edit_close(void) {}

void nl_edit_begin(const char *prompt) {
    (void)prompt;
}

nl_edit nl_edit_key(char byte) {
    (void)byte;
    return NL_EDIT_END;
}

const char *nl_edit_text(size_t *ret_len) {
    *ret_len = 0;
    return "";
}

void nl_edit_end(void) {}

void nl_edit_hide(void) {}

void nl_edit_show(void) {}

void nl_edit_remember(const char *line) {
    (void)line;
}

void nl_edit_load(const char *path) {
    (void)path;
}

void nl_edit_save(const char *path) {
    (void)path;
}

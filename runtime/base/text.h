/* text.h: text that is put together piece by piece: cut where its buffer ends, or handed on whenever that is full. */
#ifndef NP_TEXT_H
#define NP_TEXT_H

#include "base.h"

typedef struct np_text {
    char *bytes;
    size_t cap;          /* of the buffer; with `write`, what is put at once should fit */
    size_t len;          /* in the buffer; a zero follows */
    neap_write_fn write; /* NULL: what does not fit is cut */
    void *user;
} np_text;

void np_text_put(np_text *t, const char *bytes, size_t n);
void np_text_add(np_text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Hands on what is left. */
void np_text_flush(np_text *t);

#endif

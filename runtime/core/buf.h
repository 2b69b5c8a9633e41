/* buf.h: bytes with a reference count. */
#ifndef NP_BUF_H
#define NP_BUF_H

#include "core/future.h"

/* A buffer with room for `cap` bytes and length 0, not from the loop's pool; NULL when there is no memory. */
neap_buf *np_buf_new(np_alloc *alloc, size_t cap);
/* The same with room for `cap` bytes, for who has the only reference; NULL when there is no memory, and nothing has changed. */
neap_buf *np_buf_resize(neap_buf *buf, size_t cap);
size_t np_buf_cap(const neap_buf *buf);
char *np_buf_bytes(neap_buf *buf);
bool np_buf_is_shared(const neap_buf *buf); /* others have references, too */
void np_buf_set_len(neap_buf *buf, size_t len);

#endif

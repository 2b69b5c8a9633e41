/* fsverb.h: what the files that implement operations on paths share. */
#ifndef NP_FSVERB_H
#define NP_FSVERB_H

#include "sys/filejob.h"

/* Of every operation on a path. */
int32_t np_fs_enter(neap_loop *loop, const char *path, size_t len, uint32_t flags, uint32_t known,
                    neap_future **ret_future);

/* A job of one call; NULL when there is no memory. */
np_filejob *np_fs_job(neap_loop *loop, const char *what, uint8_t kind, np_given path,
                      np_given other);

/* A job that only a thread can do. */
np_filejob *np_fs_call(neap_loop *loop, const char *what, int64_t (*call)(np_fileop *fo),
                       np_given path);

#endif

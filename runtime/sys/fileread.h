/* fileread.h: the job that reads until it has enough or the file ends: from an open file, or from a path, in one go. */
#ifndef NP_FILEREAD_H
#define NP_FILEREAD_H

#include "sys/filejob.h"

/* Reads `len` bytes or all there are (SIZE_MAX) of the file whose path is given, or (bytes NULL) that it is launched for. */
np_filejob *np_fileread_new(neap_loop *loop, const char *what, np_given path, size_t len);

#endif

/* options.h: option structs, which begin with their size and grow at their end. */
#ifndef NP_OPTIONS_H
#define NP_OPTIONS_H

#include "base.h"

/* Reads one of any age into one of `known` bytes: what the caller does not know is zero, what we do not know must be.  `from`
   may be NULL.  Errors: NEAP_EINVAL, NEAP_E2BIG. */
int32_t np_options_read(void *to, size_t known, const void *from);

#endif

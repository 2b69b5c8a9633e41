/* testhooks.h: what only tests may do; not part of the libraries that are installed. */
#ifndef NP_TESTHOOKS_H
#define NP_TESTHOOKS_H

#include "core/task.h"

/* Steps a task by hand.  Refused with NEAP_EINVALID_STATE if it has ended, with NEAP_EAWAIT_NOT_DONE if what it awaits is
   pending. */
int32_t np_test_step(neap_task *task);

#endif

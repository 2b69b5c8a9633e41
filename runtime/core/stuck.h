/* stuck.h: tasks that wait for each other. */
#ifndef NP_STUCK_H
#define NP_STUCK_H

#include "base/text.h"
#include "core/places.h"

/* Adds "BEFORE a -> b -> a AFTER" for each ring; NEAP_ENOMEM, and then none. */
int32_t np_rings_add(np_text *to, const np_places *all, const char *before, const char *after);

#endif

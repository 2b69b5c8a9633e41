/* waits.h: what a task waits for: for the computer, and as text for reports and the tree.  Nothing here allocates, or makes a
   name or site that was not there: looking changes nothing. */
#ifndef NP_WAITS_H
#define NP_WAITS_H

#include "base/text.h"
#include "core/places.h"

/* The number of the one task that has to go on before this one can, or 0: the awaited task, or who has what it awaits. */
uint64_t np_waits_for(const neap_task *t);

/* The same for waits for several: the place of the next one; *cursor is 0 at first.  NP_NO_PLACE behind the last. */
uint32_t np_waits_next(const np_places *all, uint32_t place, uint32_t *cursor);

/* "waits for a lock that OTHER has since 1.5 s", "sleeps for another 2 s", "runs".  all NULL: without OTHER. */
void np_wait_add(np_text *to, neap_task *t, const np_places *all);

/* "NAME waits for a lock that OTHER has at FILE:LINE". */
void np_line_add(np_text *to, neap_task *t, const np_places *all);

void np_name_add(np_text *to, const neap_task *t);

/* Where it is and where it was spawned, with something before it; nothing if nobody knows. */
void np_where_add(np_text *to, neap_task *t, const char *before);
void np_site_add(np_text *to, neap_task *t, const char *before);

#endif

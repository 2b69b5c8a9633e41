/* events.h: entries that were registered without a function wait here to be taken in batches. */
#ifndef NP_EVENTS_H
#define NP_EVENTS_H

#include "core/loop.h"

void np_events_add(neap_loop *loop, np_ready *node);
void np_events_forget_last(neap_loop *loop); /* what the last neap_loop_poll_completions lent */

#endif

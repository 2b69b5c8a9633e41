/* pin.h: keeps code loaded that a thread may still run after everybody else has forgotten it. */
#ifndef NP_PIN_H
#define NP_PIN_H

#include "base.h"

/* The library or program that contains this address stays until the process ends. */
void np_pin(const void *code);

#endif
